"""A local folder that has what is needed of a store: a repository like any other, for a server and for commands.

    model.yaml, aliases, versions in the store -> pull what a server would load -> aliases.json

The aliases are written last: what they name is here by then. A version that is refused (a changed object, say) is left
out, loudly, and tried again later; when the store itself fails nothing is changed. What is in the mirror is looked
through once in a process: what was damaged there is fetched anew.
"""

import logging
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from modelyard import choice
from modelyard.aliases import ALIASES_FILE, Aliases, locked, read_aliases, update
from modelyard.drafts import draft_folder, flush
from modelyard.errors import ConfigurationError
from modelyard.importing.bounded import Limits
from modelyard.manifest import MANIFEST, list_versions, read_manifest
from modelyard.members import with_members
from modelyard.spec import MODEL_YAML, ModelSpec, read_spec
from modelyard.store.fetching import Fetch
from modelyard.store.port import StoreError
from modelyard.store.pull import pull
from modelyard.store.remote import Remote, Sent

log = logging.getLogger("modelyard.store")

LOCK_SECONDS = 600.0
"""Another process may be fetching the same."""
RETRY_SECONDS = 10.0
"""After a version was refused; doubled up to MOST_RETRY_SECONDS."""
MOST_RETRY_SECONDS = 600.0
SPARE = 2
"""So many times the versions that a server loads are kept."""

Fault = Callable[[str], None]
"""Is called with a reason for each version or file that is refused."""


@dataclass(slots=True)
class _Seen:
    """Of one model, what was read last. Tags are empty before."""

    spec_tag: str = ""
    state_tag: str | None = None
    aliases: Aliases = field(default_factory=Aliases)
    good: dict[str, str] = field(default_factory=dict)
    """Version to its manifest's tag: it is here, and was looked through."""
    later: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Version that was refused to when it is tried again, and after which time then."""


class Mirror:
    def __init__(
        self,
        remote: Remote,
        folder: Path,
        most: int,
        limits: Limits,
        *,
        kept: int | None = None,
        fault: Fault = lambda _: None,
    ) -> None:
        """`most`: versions of a model that are brought, and what aliases name; `kept`: those that a server loads, as
        many if not given. `fault` is told the reason of each refusal."""
        self.remote, self.folder = remote, folder
        self._most, self._kept, self._limits, self.fault = most, kept or most, limits, fault
        self._seen: dict[str, _Seen] = {}

    def sync(self, names: Iterable[str], also: Iterable[str] = ()) -> list[str]:
        """Bring the models up to what the store says now, and with them those that they are made of. `also`: versions
        of the first that are wanted besides. Returns the models.

        Raises StoreError when the store fails, ConfigurationError for a model that cannot be mirrored; what is here
        stays.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        done: list[str] = []
        waiting, wanted = list(names), tuple(also)
        with locked(self.folder, seconds=LOCK_SECONDS):
            while waiting:
                name = waiting.pop(0)
                if name not in done:
                    done.append(name)
                    spec = self._sync(name, wanted)
                    waiting += [member.model for member in spec.ensemble]
                    wanted = ()
        return done

    def has(self, names: Iterable[str]) -> bool:
        """Could these models, and what they are made of, be served from what is here?"""
        try:
            return all(list_versions(self.folder / name) for name in with_members(self.folder, names))
        except ConfigurationError:
            return False

    def _sync(self, name: str, also: tuple[str, ...]) -> ModelSpec:
        seen = self._seen.setdefault(name, _Seen())
        spec = self._sync_spec(name, seen)
        state = self.remote.state(name, seen.state_tag or "")
        aliases = state.aliases if state else seen.aliases
        there = self.remote.versions(name)
        for version in self._wanted(there, aliases, also):
            if seen.good.get(version) != there[version] and self._due(seen, version, asked=version in also):
                self._bring(name, version, there[version], seen, asked=version in also)
        self._sync_aliases(name, aliases)
        if state:
            seen.aliases, seen.state_tag = aliases, state.tag
        self._prune(name, there, aliases, also)
        return spec

    def _wanted(self, there: dict[str, str], aliases: Aliases, also: tuple[str, ...]) -> list[str]:
        """As a server takes them from a repository: what aliases name, and the newest up to `most`."""
        ordered = [version for version in choice.in_order(there, aliases) if version in there]
        named = set(choice.named(aliases))
        chosen = [version for place, version in enumerate(ordered) if version in named or place < self._most]
        return [*dict.fromkeys([*chosen, *(version for version in also if version in there)])]

    def _due(self, seen: _Seen, version: str, *, asked: bool) -> bool:
        return asked or version not in seen.later or time.monotonic() >= seen.later[version][0]

    def _bring(self, name: str, version: str, tag: str, seen: _Seen, *, asked: bool) -> None:
        try:
            sent = self.remote.sent(name, version)
            if sent is None:
                return  # removed from the store in this moment
            if not self._is_here(name, sent):
                with Fetch(sent.manifest, self.remote.name) as fetch:
                    pull(self.remote, sent, self.folder, self._limits, told=fetch.told)
        except ConfigurationError as error:
            if isinstance(error, StoreError) and error.reason not in {"refused", "missing"}:
                raise
            if asked:
                raise
            self._refuse(name, version, error, seen)
        else:
            seen.good[version] = tag
            seen.later.pop(version, None)

    def _refuse(self, name: str, version: str, error: ConfigurationError, seen: _Seen) -> None:
        log.error("%s version %s is not taken from the store: %s", name, version, error)
        self.fault("refused")
        _, pause = seen.later.get(version, (0.0, RETRY_SECONDS / 2))
        pause = min(2 * pause, MOST_RETRY_SECONDS)
        seen.later[version] = time.monotonic() + pause, pause

    def _is_here(self, name: str, sent: Sent) -> bool:
        """Whole, and the same. What is damaged is removed. Raises ConfigurationError when it is another one."""
        folder = self.folder / name / "versions" / sent.manifest.version
        if not folder.exists():
            return False
        try:
            read_manifest(folder)
        except ConfigurationError as error:
            log.warning("the mirror is mended: %s", error)
            shutil.rmtree(folder, ignore_errors=True)
            return False
        if (folder / MANIFEST).read_bytes() != sent.content:
            raise ConfigurationError(
                f"version {sent.manifest.version} of '{name}' in {self.remote.name} is not the one that was taken from "
                f"there before: a version never changes; remove {folder} to take the new one"
            )
        return True

    def _sync_spec(self, name: str, seen: _Seen) -> ModelSpec:
        found = self.remote.spec(name, seen.spec_tag)
        if found is None:
            return read_spec(self.folder / name)
        spec, written = found
        target = self.folder / name / MODEL_YAML
        if not target.exists() or target.read_bytes() != written.content:
            with draft_folder(self.folder, name) as draft:
                (draft / MODEL_YAML).write_bytes(written.content)
                flush(draft / MODEL_YAML)
                target.parent.mkdir(exist_ok=True)
                (draft / MODEL_YAML).replace(target)
        seen.spec_tag = written.tag
        return spec

    def _sync_aliases(self, name: str, aliases: Aliases) -> None:
        folder = self.folder / name
        try:
            same = read_aliases(folder) == aliases
        except ConfigurationError as error:
            log.warning("the mirror is mended: %s", error)
            (folder / ALIASES_FILE).unlink()
            same = False
        if not same:
            update(folder, lambda _: aliases)

    def _prune(self, name: str, there: dict[str, str], aliases: Aliases, also: tuple[str, ...]) -> None:
        """What nobody wants any more goes, the one brought first before the others, down to a bound. Nothing goes while
        something named is not here: a server answers from what it had then.
        """
        folder, here = self.folder / name / "versions", list_versions(self.folder / name)
        keep = {*self._wanted(there, aliases, also), *choice.named(aliases)}
        if not keep.issubset(here):
            return
        spare = [version for version in here if version not in keep]
        spare.sort(key=lambda version: (folder / version).stat().st_mtime)
        for version in spare[: max(0, len(keep) + len(spare) - SPARE * self._kept)]:
            log.info("%s version %s leaves the mirror: no alias names it", name, version)
            self._seen[name].good.pop(version, None)
            shutil.rmtree(folder / version, ignore_errors=True)
