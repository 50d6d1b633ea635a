"""A folder that is filled under a hidden name and renamed when it is whole: `.draft-...` beside its later place.

Its writer holds a lock on it, which ends with the process, however it ends: a draft that nobody holds was left by a
writer that was killed, and the next one removes it.
"""

import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PREFIX = ".draft-"
LOST_SECONDS = 3600.0
"""A draft older than this is lost where the file system cannot lock a folder."""


@contextmanager
def draft_folder(parent: Path, name: str, prefix: str = PREFIX) -> Iterator[Path]:
    """A new, empty folder in `parent`; at the end it is removed, unless it was renamed. Drafts of the dead go first."""
    parent.mkdir(parents=True, exist_ok=True)
    for path in parent.glob(f"{prefix}*"):
        _remove_lost(path)
    draft, descriptor = _make(parent, prefix + name)
    try:
        yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        os.close(descriptor)


def flush(path: Path) -> None:
    """A file's content, or a folder's entries, are on disk: they survive a loss of power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make(parent: Path, name: str) -> tuple[Path, int]:
    """A draft and the descriptor that holds it; again, when another took it for lost before it was held."""
    while True:
        draft = parent / f"{name}-{secrets.token_hex(4)}"
        draft.mkdir()
        try:
            descriptor = os.open(draft, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue
        if _lock(descriptor) is not False and draft.exists():
            return draft, descriptor
        os.close(descriptor)


def _lock(descriptor: int) -> bool | None:
    """Is the folder ours now? None: this file system has no such lock."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _remove_lost(path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return  # gone meanwhile, or no folder: nothing of ours
    try:
        ours = _lock(descriptor)
        old = time.time() - os.fstat(descriptor).st_mtime > LOST_SECONDS
        if ours or (ours is None and old):
            shutil.rmtree(path, ignore_errors=True)
    finally:
        os.close(descriptor)
