"""A store read and changed as a repository: its models, their versions, their aliases.

What is read may be hostile: names are held against what may name a model or a version, and the paths of files are made
from a checked manifest, never taken from a key.
"""

import random
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from modelyard.aliases import ALIASES_FILE, CANDIDATE, STABLE, Aliases, encode_aliases, parse_aliases
from modelyard.errors import ConfigurationError
from modelyard.manifest import MANIFEST, NAME, Manifest, check_version_name, parse_manifest, version_order
from modelyard.spec import MODEL_YAML, ModelSpec, parse_spec
from modelyard.store.port import Changed, Found, Missing, ObjectStore, Stream

README = "README.md"
MOST_VERSIONS = 10_000
TRIES = 10
"""Of a change of the aliases, while others change them too."""
PAUSE_SECONDS = 0.05
_VERSION = re.compile(rf"versions/({NAME.pattern})/{re.escape(MANIFEST)}")


@dataclass(frozen=True, slots=True)
class Sent:
    """The manifest of a version in the store: as it was written, and what it says."""

    content: bytes
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class State:
    aliases: Aliases
    tag: str
    """Of the object; empty: there is none."""


class Remote:
    """Every method raises ConfigurationError: StoreError where the store fails, else for what is wrong in it."""

    def __init__(self, store: ObjectStore) -> None:
        self.store = store

    @property
    def name(self) -> str:
        return self.store.name

    def models(self) -> list[str]:
        """Names of the models, of folders with another name nothing is said."""
        return sorted(name for name in self.store.folders() if NAME.fullmatch(name) and self._has_spec(name))

    def versions(self, name: str) -> dict[str, str]:
        """The versions that are whole, oldest first, and the tags of their manifests."""
        below = f"{_checked(name)}/"
        found: dict[str, str] = {}
        for key in self.store.keys(f"{below}versions/"):
            if match := _VERSION.fullmatch(key.path[len(below) :]):
                found[match[1]] = key.tag
            if len(found) > MOST_VERSIONS:
                raise ConfigurationError(f"{self.name}/{name} has more than {MOST_VERSIONS} versions")
        return dict(sorted(found.items(), key=lambda item: version_order(item[0])))

    def spec(self, name: str, unless: str = "") -> tuple[ModelSpec, Found] | None:
        """model.yaml, what it says and as it was written. None: its tag is still `unless`."""
        try:
            found = self.store.get(f"{_checked(name)}/{MODEL_YAML}", unless)
        except Missing:
            raise Missing(f"there is no model '{name}' in {self.name}") from None
        if found is None:
            return None
        return self._parsed_spec(name, found.content), found

    def spec_now(self, name: str) -> ModelSpec:
        found = self.spec(name)
        assert found  # noqa: S101 (without a tag nothing is left out)
        return found[0]

    def state_now(self, name: str) -> Aliases:
        state = self.state(name)
        return state.aliases if state else Aliases()

    def state(self, name: str, unless: str = "") -> State | None:
        """The aliases; none without an object. None: its tag is still `unless`."""
        path = f"{_checked(name)}/{ALIASES_FILE}"
        try:
            found = self.store.get(path, unless)
        except Missing:
            return State(Aliases(), "")
        return State(parse_aliases(found.content, f"{self.name}/{path}"), found.tag) if found else None

    def update(self, name: str, change: Callable[[Aliases], Aliases]) -> Aliases:
        """Put what `change` makes of the present aliases in their place, and return it: written only if nobody else
        has written meanwhile, else made again of what is there then. What `change` raises leaves everything as it was.
        """
        path = f"{_checked(name)}/{ALIASES_FILE}"
        for attempt in range(TRIES):
            state = self.state(name) or State(Aliases(), "")
            changed = change(state.aliases)
            if changed == state.aliases:
                return changed
            try:
                self.store.put(path, encode_aliases(changed, f"{self.name}/{path}"), state.tag or None)
            except (Changed, Missing):
                time.sleep(random.uniform(0, PAUSE_SECONDS * 2**attempt))  # noqa: S311 (apart from the others, no secret)
                continue
            return changed
        raise ConfigurationError(f"others keep changing the aliases of '{name}' in {self.name}: nothing was changed")

    def sent(self, name: str, version: str) -> Sent | None:
        """A version's manifest; None: there is no such version, or not yet the whole of it."""
        path = manifest_path(name, version)
        try:
            found = self.store.get(path)
        except Missing:
            return None
        content = found.content if found else b""
        manifest = parse_manifest(content, f"{self.name}/{path}")
        if (manifest.model, manifest.version) != (name, version):
            raise ConfigurationError(f"{self.name}/{path} is of '{manifest.model}' version {manifest.version}")
        return Sent(content, manifest)

    def meant(self, name: str, word: str) -> str:
        """The version that a name, an alias or nothing (the stable one, else the newest) means."""
        aliases = self.state_now(name)
        there = list(self.versions(name))
        if not there:
            self.spec_now(name)  # says so where there is no such model at all
            raise ConfigurationError(f"'{name}' has no version in {self.name}")
        chosen = {STABLE: aliases.stable or there[-1], CANDIDATE: aliases.candidate}
        version = chosen.get(word or STABLE, word)
        if version is None:
            raise ConfigurationError(f"'{name}' has no candidate in {self.name}")
        if version not in there:
            raise ConfigurationError(
                f"'{name}' has no version '{version[:80]}' in {self.name}; known are {', '.join(there)}"
            )
        return version

    def readme(self, name: str) -> Stream | None:
        try:
            return self.store.open(f"{_checked(name)}/{README}")
        except Missing:
            return None

    def files(self, manifest: Manifest) -> Iterator[tuple[str, Stream]]:
        """The files of a version by name, each opened when it is asked for. Their names are still to be checked."""
        for name, entry in sorted(manifest.files.items()):
            yield name, self.store.open(file_path(manifest, name, entry.sha256))

    def _has_spec(self, name: str) -> bool:
        return self.store.head(f"{name}/{MODEL_YAML}") is not None

    def _parsed_spec(self, name: str, content: bytes) -> ModelSpec:
        source = f"{self.name}/{name}/{MODEL_YAML}"
        try:
            spec = parse_spec(content.decode(), source)
        except UnicodeDecodeError:
            raise ConfigurationError(f"{source} is no text") from None
        if spec.name != name:
            raise ConfigurationError(f"{source} is of '{spec.name}'")
        return spec


def manifest_path(name: str, version: str) -> str:
    check_version_name(version)
    return f"{_checked(name)}/versions/{version}/{MANIFEST}"


def file_path(manifest: Manifest, name: str, sha256: str) -> str:
    """Of a file: its content is in its path, so that no writer ever replaces what another's manifest names."""
    if not NAME.fullmatch(name):
        raise ConfigurationError(
            f"the manifest of version {manifest.version} names the file '{name[:80]}', which is not allowed"
        )
    return f"{_checked(manifest.model)}/versions/{manifest.version}/{sha256}/{name}"


def _checked(name: str) -> str:
    if not NAME.fullmatch(name):
        raise ConfigurationError(f"'{name[:80]}' cannot name a model")
    return name
