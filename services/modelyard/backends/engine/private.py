"""A folder that nobody but its owner can write, and files in it that appear whole or not at all.

    open the folder (no link, ours, closed to others) -> open a name in it (no link, a file, ours, closed) -> bytes

What was opened is what is checked, and every name is looked up in the opened folder: nothing can be exchanged between
the check and the read. Others may read; what others could have written is refused.
"""

import errno
import fcntl
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_FOREIGN_WRITE = stat.S_IWGRP | stat.S_IWOTH
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # NONBLOCK: a fifo is refused, not waited for
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_LOCK = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


class NotPrivate(OSError):
    """Somebody else could have written it. The text names the path and the reason."""


class PrivateFolder:
    """Missing folders and files raise FileNotFoundError, everything that others could have written NotPrivate."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def make(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            self.path.mkdir(0o700)

    def names(self) -> list[str]:
        with self._opened() as folder:
            return sorted(os.listdir(folder))  # noqa: PTH208  (of the folder that was checked, not of its path)

    def status(self, name: str) -> os.stat_result:
        with self._opened() as folder:
            return os.stat(name, dir_fd=folder, follow_symlinks=False)

    def size(self, name: str) -> int:
        """Of a file that `read` would read."""
        with self._opened() as folder:
            descriptor = self._open(name, _READ, folder)
            try:
                return os.fstat(descriptor).st_size
            finally:
                os.close(descriptor)

    def read(self, name: str) -> bytes:
        with self._opened() as folder:
            descriptor = self._open(name, _READ, folder)
            with os.fdopen(descriptor, "rb") as file:
                return file.read()

    def write(self, name: str, data: bytes, temporary: str = "") -> None:
        """Replace `name` in one step, on disk when this returns. `temporary` begins the name it has until then."""
        draft = f"{temporary or name}.{secrets.token_hex(4)}.tmp"
        with self._opened() as folder:
            try:
                with os.fdopen(os.open(draft, _CREATE, 0o600, dir_fd=folder), "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(draft, name, src_dir_fd=folder, dst_dir_fd=folder)
                os.fsync(folder)
            except BaseException:
                with suppress(OSError):
                    os.unlink(draft, dir_fd=folder)
                raise

    def touch(self, name: str) -> None:
        """Note that it was used. A folder that cannot be written is read all the same."""
        with suppress(OSError), self._opened() as folder:
            os.utime(name, dir_fd=folder, follow_symlinks=False)

    def unlink(self, name: str) -> bool:
        """True: it was there."""
        try:
            with self._opened() as folder:
                os.unlink(name, dir_fd=folder)
        except FileNotFoundError:
            return False
        return True

    @contextmanager
    def lock(self, name: str, waiting: Callable[[], None] | None = None) -> Iterator[None]:
        """Hold the file `name` alone, among all processes and threads; `waiting` is called once if it is not free.

        The kernel lets go when the holder dies, however it dies. The file exists only while somebody wants it.
        """
        descriptor = self._take(name, waiting or (lambda: None), wait=True)
        try:
            yield
        finally:
            self._let_go(name, descriptor)

    @contextmanager
    def try_lock(self, name: str) -> Iterator[bool]:
        """As `lock`, without waiting. False: another holds it."""
        try:
            descriptor = self._take(name, lambda: None, wait=False)
        except BlockingIOError:
            yield False
            return
        try:
            yield True
        finally:
            self._let_go(name, descriptor)

    def _take(self, name: str, waiting: Callable[[], None], wait: bool) -> int:
        while True:
            with self._opened() as folder:
                descriptor = self._open(name, _LOCK, folder)
            try:
                _flock(descriptor, waiting, wait)
                if self._is(name, descriptor):
                    return descriptor
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)  # its holder removed the file when it was done

    def _let_go(self, name: str, descriptor: int) -> None:
        with suppress(OSError):
            self.unlink(name)  # while it is held: whoever waits for this file finds that it is gone, and takes another
        os.close(descriptor)

    def _is(self, name: str, descriptor: int) -> bool:
        try:
            return os.path.samestat(self.status(name), os.fstat(descriptor))
        except FileNotFoundError:
            return False

    @contextmanager
    def _opened(self) -> Iterator[int]:
        try:
            descriptor = os.open(self.path, _FOLDER)
        except OSError as error:
            if error.errno in {errno.ELOOP, errno.ENOTDIR}:  # Linux says of a link, too, that it is no directory
                raise NotPrivate(f"{self.path} is no folder (a link is refused)") from None
            raise
        try:
            _check(descriptor, self.path)
            yield descriptor
        finally:
            os.close(descriptor)

    def _open(self, name: str, flags: int, folder: int) -> int:
        try:
            descriptor = os.open(name, flags, 0o600, dir_fd=folder)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise NotPrivate(f"{self.path / name} cannot be opened: a link is refused") from None
            raise OSError(error.errno, error.strerror, str(self.path / name)) from None
        try:
            _check(descriptor, self.path / name)
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise NotPrivate(f"{self.path / name} is no regular file")
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor


def _flock(descriptor: int, waiting: Callable[[], None], wait: bool) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if not wait:
            raise
        waiting()
        fcntl.flock(descriptor, fcntl.LOCK_EX)


def _check(descriptor: int, path: Path) -> None:
    status = os.fstat(descriptor)
    if status.st_uid != os.geteuid():
        raise NotPrivate(f"{path} belongs to user {status.st_uid}, this is user {os.geteuid()}")
    if status.st_mode & _FOREIGN_WRITE:
        raise NotPrivate(f"{path} can be written by others (mode {stat.S_IMODE(status.st_mode):o})")
