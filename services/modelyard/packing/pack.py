"""A version that stands becomes one file: written beside its place, flushed to disk, renamed."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from modelyard.drafts import flush
from modelyard.errors import ConfigurationError
from modelyard.lifecycle.versions import Model
from modelyard.manifest import Manifest, read_manifest
from modelyard.packing import archive
from modelyard.receiving import MOST_TEXT, README, File, Readable, order

ENDING = ".modelyard.tar"
Progress = Callable[[int, int], None]
"""Is told the bytes done, of all."""


@dataclass(frozen=True, slots=True)
class Packed:
    file: Path
    manifest: Manifest
    files: int
    bytes: int


def pack(
    model: Model, version: str, to: Path | None, *, force: bool = False, progress: Progress | None = None
) -> Packed:
    """Write `version` to the file `to`, or into that folder. Raises ConfigurationError; then there is no new file."""
    manifest = read_manifest(model.path(version))
    if manifest.model != model.name:
        raise ConfigurationError(f"{model.path(version)} is a version of '{manifest.model}', not of '{model.name}'")
    name = f"{model.name}-{version}{ENDING}"
    target = to / name if to and to.is_dir() else to or Path(name)
    paths = order(manifest, readme=(model.folder / README).is_file())
    try:
        with _replaced(target, force=force) as file:
            archive.write(file, _files(model, paths, manifest, progress))
        return Packed(target, manifest, len(paths), target.stat().st_size)
    except OSError as error:
        raise ConfigurationError(f"{target} could not be written: {error.strerror or error}") from None


def _files(model: Model, paths: list[str], manifest: Manifest, progress: Progress | None) -> Iterator[File]:
    done, total = 0, sum(entry.bytes for entry in manifest.files.values())
    for path in paths:
        with (model.folder / path).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            listed = manifest.files.get(path.rpartition("/")[2]) if "/" in path else None
            if listed is None and size > MOST_TEXT:
                raise ConfigurationError(f"{model.folder / path} has {size} bytes; at most {MOST_TEXT} can be packed")
            yield f"{model.name}/{path}", listed.bytes if listed else size, Counted(file, progress, done, total)
            done += listed.bytes if listed else 0


class Counted:
    """A file that tells how far it was read: `done` bytes of `total` stand before it."""

    def __init__(self, content: Readable, progress: Progress | None, done: int, total: int) -> None:
        self._content, self._progress, self._done, self._total = content, progress, done, total

    def read(self, size: int, /) -> bytes:
        data = self._content.read(size)
        self._done += len(data)
        if self._progress:
            self._progress(min(self._done, self._total), self._total)
        return data


@contextmanager
def _replaced(target: Path, *, force: bool) -> Iterator[BinaryIO]:
    """A hidden file beside `target`, which takes its place at the end. One that a killed command left is used again."""
    _check_absent(target, force=force)
    draft = target.with_name(f".{target.name}.draft")
    if draft.is_symlink():
        raise ConfigurationError(f"{draft} is a link, no file that a pack left")
    with draft.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigurationError(f"another command is writing {target}") from None
        try:
            file.truncate(0)
            yield file
            file.flush()
            os.fsync(file.fileno())
            _check_absent(target, force=force)
            draft.replace(target)
            flush(target.parent)
        except BaseException:
            with suppress(OSError):
                draft.unlink(missing_ok=True)
            raise


def _check_absent(target: Path, *, force: bool) -> None:
    if target.is_dir():
        raise ConfigurationError(f"{target} is a folder")
    if not force and (target.exists() or target.is_symlink()):
        raise ConfigurationError(f"{target} stands already; --force replaces it")
