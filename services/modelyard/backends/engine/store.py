"""Built engines on disk. A plan is executable code: only what this store wrote, unchanged, is ever given out.

    <folder>/               0700, its files 0600
      <key>.json            manifest: the plan's file and sha256, the whole key, whose engine it is; touched at each use
      <key>.<token>.plan    the plan; a name is never used twice
      <key>.lock            held by the one process that builds it

    lock(key) -> find(key) -> build -> publish(key, plan, about)        find(key) alone needs no lock

The manifest is written last and is the commit: a plan that no manifest names does not exist, and is swept by whoever
locks its key next.
"""

import hashlib
import logging
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from pydantic import ValidationError

from modelyard.backends.engine.entry import FORMAT, About, EngineKey, Entry, Manifest, now
from modelyard.backends.engine.private import NotPrivate, PrivateFolder
from modelyard.backends.engine.records import Records

log = logging.getLogger("modelyard.engines")

_OURS = re.compile(r"([0-9a-f]{64})\.(?:lock|(?:json|[0-9a-f]+\.plan)(?:\.[0-9a-f]+\.tmp)?)")


class EngineStore(Records):
    """Shared by any number of processes. What raises OSError does so when the folder is not ours alone, or full."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        super().__init__(PrivateFolder(folder))
        self.folder, self.max_bytes = folder, max_bytes
        self._held: set[str] = set()

    def find(self, key: EngineKey) -> bytes | None:
        """The plan, verified; never raises. None: there is none, or it was refused, or corrupted and is deleted now."""
        digest = key.digest
        manifest = self._manifest(digest)
        plan = self._plan(manifest)
        if plan is None and manifest is not None:
            again = self._manifest(digest)  # another process may have replaced it between the two reads
            plan = self._plan(again) if again is not None and again.plan != manifest.plan else None
        if plan is not None:
            self._files.touch(f"{digest}.json")
        return plan

    @contextmanager
    def lock(self, key: EngineKey, waiting: Callable[[], None] | None = None) -> Iterator[None]:
        """Alone with this key among all processes; `waiting` is called once if another has it. Raises OSError.

        What a dead builder left of this engine is swept first.
        """
        digest = key.digest
        self._files.make()
        with self._files.lock(f"{digest}.lock", waiting):
            self._held.add(digest)
            try:
                self._sweep(digest)
                yield
            finally:
                self._held.discard(digest)

    def publish(self, key: EngineKey, plan: bytes, about: About) -> None:
        """Make room, then make this the plan of its key. Only under `lock(key)`. Raises OSError.

        One engine larger than the whole bound is kept alone: it would be built anew at every start.
        """
        digest = key.digest
        if digest not in self._held:
            raise RuntimeError("publish without the lock of the key")
        if len(plan) > self.max_bytes:
            log.warning("engine %s has %d bytes, the store's bound is %d", digest, len(plan), self.max_bytes)
        self.prune(max(0, self.max_bytes - len(plan)), keep=key)
        manifest = Manifest(
            format=FORMAT,
            key=key,
            plan=f"{digest}.{secrets.token_hex(8)}.plan",
            bytes=len(plan),
            sha256=hashlib.sha256(plan).hexdigest(),
            about=about,
            created=now(),
        )
        self._files.write(manifest.plan, plan)
        self._files.write(f"{digest}.json", manifest.model_dump_json(indent=1).encode() + b"\n")
        self._sweep(digest)

    def remove(self, key: EngineKey, plan: bytes | None = None) -> bool:
        """Forget an engine, with `plan` only if it is still that one. Raises OSError.

        False: there was none, or another process is building a new one just now.
        """
        return self._drop(key.digest, None if plan is None else hashlib.sha256(plan).hexdigest())

    def entries(self) -> list[Entry]:
        """Every engine that `find` would look at, the one used last first. Raises OSError."""
        found = []
        for digest in self._digests(".json"):
            manifest = self._manifest(digest)
            with suppress(FileNotFoundError):  # removed meanwhile, or its plan is missing
                if manifest is not None:
                    size = self._files.status(manifest.plan).st_size
                    used = self._files.status(f"{digest}.json").st_mtime
                    refused = self._refused(manifest)
                    found.append(Entry(manifest.key, manifest.about, size, manifest.created, used, refused))
        return sorted(found, key=lambda entry: entry.last_used, reverse=True)

    def prune(self, max_bytes: int | None = None, keep: EngineKey | None = None) -> list[Entry]:
        """Sweep what dead builders left, then remove the engines used longest ago until the rest fits.

        Returns what went. Engines that are being built just now stay, and `keep`, which is not counted. What
        somebody else put there is passed over: a stray name must not fail a build. Raises OSError.
        """
        spared = keep.digest if keep else ""
        for digest in sorted(self._digests() - {spared}):
            with _passing_over(digest), self._files.try_lock(f"{digest}.lock") as free:
                if free:
                    self._sweep(digest)
        kept = [entry for entry in self.entries() if entry.key.digest != spared]
        total, gone = sum(entry.bytes for entry in kept), []
        while kept and total > (self.max_bytes if max_bytes is None else max_bytes):
            oldest, dropped = kept.pop(), False
            with _passing_over(oldest.key.digest):
                dropped = self._drop(oldest.key.digest)
            if dropped:
                total -= oldest.bytes
                gone.append(oldest)
                log.info("engine %s of %s is removed to make room", oldest.key.digest, oldest.about.model)
        return gone

    def _drop(self, digest: str, sha256: str | None = None) -> bool:
        """Remove everything of this digest, unless a builder is at it. True: an engine was there."""
        try:
            with self._files.try_lock(f"{digest}.lock") as free:
                manifest = self._manifest(digest) if free else None
                if not free or (sha256 is not None and (manifest is None or manifest.sha256 != sha256)):
                    return False
                self._files.unlink(f"{digest}.json")
                self._sweep(digest)
                return manifest is not None
        except FileNotFoundError:  # no folder
            return False

    def _sweep(self, digest: str) -> None:
        """Remove what does not belong to the published engine. Only under the lock: nobody is writing then."""
        manifest = self._manifest(digest)
        keep = {f"{digest}.lock"}
        if manifest is not None and manifest.plan in self._files.names():
            keep |= {f"{digest}.json", manifest.plan}
        for name in self._files.names():
            matched = _OURS.fullmatch(name)
            if matched and matched[1] == digest and name not in keep:
                must = name == f"{digest}.json" and digest in self._held  # else it would fail after the build
                with nullcontext() if must else _passing_over(name):
                    self._files.unlink(name)
                    log.info("%s was left behind: removed", name)

    def _refused(self, manifest: Manifest) -> str:
        try:
            found = self._files.size(manifest.plan)
        except OSError as error:
            return str(error)
        return "" if found == manifest.bytes else f"it has {found} bytes, its manifest says {manifest.bytes}"

    def _digests(self, ending: str = "") -> set[str]:
        names = [name for name in self._names() if name.endswith(ending)]
        return {matched[1] for name in names if (matched := _OURS.fullmatch(name))}

    def _names(self) -> list[str]:
        try:
            return self._files.names()
        except FileNotFoundError:  # no folder yet
            return []

    def _manifest(self, digest: str) -> Manifest | None:
        try:
            manifest = Manifest.model_validate_json(self._files.read(f"{digest}.json"))
        except FileNotFoundError:
            if any(name.endswith(".plan") and name.startswith(digest) for name in self._names()):
                log.warning("engine %s is refused: its plan has no manifest", digest)
            return None
        except ValidationError as error:
            log.warning("engine %s is refused: its manifest is none (%d faults)", digest, error.error_count())
            return None
        except OSError as error:
            log.warning("engine %s is refused: %s", digest, error)
            return None
        if manifest.key.digest != digest or not manifest.plan.startswith(digest):
            log.warning("engine %s is refused: its manifest is of another engine", digest)
            return None
        return manifest

    def _plan(self, manifest: Manifest | None) -> bytes | None:
        if manifest is None:
            return None
        try:
            plan = self._files.read(manifest.plan)
            if hashlib.sha256(plan).hexdigest() == manifest.sha256:
                return plan
            log.error("the plan %s is corrupted: deleted", manifest.plan)
            self._files.unlink(manifest.plan)
        except FileNotFoundError:
            log.warning("the plan %s is missing", manifest.plan)
        except OSError as error:
            log.warning("the plan %s is refused: %s", manifest.plan, error)
        return None


@contextmanager
def _passing_over(name: str) -> Iterator[None]:
    """A file of somebody else, a link or a directory is not ours to remove: say so and go on."""
    try:
        yield
    except (NotPrivate, IsADirectoryError, PermissionError) as error:
        log.warning("%s is passed over: %s", name, error)
