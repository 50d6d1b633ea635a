"""Ends this process with SIGKILL at its n-th touch of the files below a folder.

The functions through which Python changes a file system are replaced by ones that count. Each call has a point before
and a point after it; a write has one in its middle as well. What is not below the folder is not counted.
"""

from __future__ import annotations

import builtins
import fcntl
import io
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

_BY_PATH = ("open", "mkdir", "rename", "replace", "unlink", "remove", "rmdir", "link", "symlink", "truncate", "utime")
_BY_DESCRIPTOR = ("fsync", "fdatasync", "ftruncate", "close")
_WRITING = frozenset("wax+")


class KillPoints:
    """`install` in the process that is to die; `passed` counts the points that were survived."""

    def __init__(self, root: Path, at: int) -> None:
        self._root, self._at = f"{os.path.realpath(root)}{os.sep}", at
        self.passed = 0

    def install(self) -> None:
        for name in _BY_PATH:
            self._replace(os, name, self._path_of)
        for name in _BY_DESCRIPTOR:
            self._replace(os, name, lambda descriptor, *_, **__: _target(descriptor))
        self._replace(fcntl, "flock", lambda file, *_: _target(file if isinstance(file, int) else file.fileno()))
        self._replace_writes()
        opening = io.open
        builtins.open = io.open = lambda file, mode="r", *rest, **named: self._opened(opening, file, mode, rest, named)

    def point(self) -> None:
        """One more moment at which a process may be killed."""
        if self.passed == self._at:
            os.kill(os.getpid(), signal.SIGKILL)
        self.passed += 1

    def _replace(self, module: Any, name: str, path_of: Callable[..., str]) -> None:
        real = getattr(module, name)

        def counted(*arguments: Any, **named: Any) -> Any:
            if not self._concerned(path_of(*arguments, **named)):
                return real(*arguments, **named)
            self.point()
            try:
                return real(*arguments, **named)
            finally:
                self.point()

        setattr(module, name, counted)

    def _replace_writes(self) -> None:
        """The two that write through a descriptor: the half of it, then the rest."""
        write, sendfile = os.write, os.sendfile

        def half_write(descriptor: int, data: bytes) -> int:
            if not self._concerned(_target(descriptor)):
                return write(descriptor, data)
            self.point()
            done = write(descriptor, data[: len(data) // 2])
            self.point()
            return done + write(descriptor, data[done:])

        def half_sendfile(out: int, source: int, offset: int, count: int) -> int:
            if not self._concerned(_target(out)):
                return sendfile(out, source, offset, count)
            self.point()
            half = max(1, min(count, os.fstat(source).st_size) // 2)
            done = sendfile(out, source, offset, half)
            self.point()
            return done

        os.write = half_write  # type: ignore[assignment]
        os.sendfile = half_sendfile  # type: ignore[assignment]

    def _opened(self, opening: Callable[..., Any], file: Any, mode: str, rest: Any, named: Any) -> Any:
        if not _WRITING.intersection(mode) or isinstance(file, int) or not self._concerned(self._path_of(file)):
            return opening(file, mode, *rest, **named)
        self.point()
        opened = opening(file, mode, *rest, **named)
        self.point()
        return _Written(opened, self)

    def _path_of(self, path: Any, *_: Any, dir_fd: int | None = None, **__: Any) -> str:
        text = os.fsdecode(path)
        return os.path.join(_target(dir_fd), text) if dir_fd is not None else os.path.abspath(text)  # noqa: PTH100, PTH118 (pathlib itself calls what is replaced here)

    def _concerned(self, path: str) -> bool:
        return path.startswith(self._root)


class _Written:
    """A file that is open for writing: each write arrives on disk in two halves."""

    def __init__(self, file: Any, points: KillPoints) -> None:
        self._file, self._points = file, points

    def write(self, data: Any) -> int:
        half = len(data) // 2
        for part in (data[:half], data[half:]):
            self._points.point()
            self._file.write(part)
            self._file.flush()
        return len(data)

    def __enter__(self) -> _Written:
        return self

    def __exit__(self, *_: object) -> None:
        self._points.point()
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _target(descriptor: int) -> str:
    """What a descriptor refers to."""
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115 (pathlib itself calls what is replaced here)
    except OSError:
        return ""
