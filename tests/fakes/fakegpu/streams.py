"""Streams, events and graphs of the fake device: work in order, done late.

    enqueue(operation) -> queue of the stream ... synchronize -> each operation runs, in the thread that waits

Late is what a real device may do, so whoever reads a result without waiting for it reads old bytes, every time. With
"eager" in the file of faults an operation runs when it is enqueued.
"""

import itertools
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

_handles = itertools.count(0x5A000000, 0x40)


def new_handle() -> int:
    """Never given twice, so that the use of a destroyed object is known for what it is."""
    return next(_handles)


class DeviceFault(Exception):
    """An operation failed on the device with this cudaError_t."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


@dataclass(slots=True, eq=False)
class Operation:
    name: str
    run: Callable[[], None]
    """Raises DeviceFault."""
    scratch: tuple[int, int] | None = None
    """First and last address of a context's working memory: no other stream may have the same one in use."""
    owner: Any = None
    """The context that runs it."""


@dataclass(slots=True, eq=False)
class Capture:
    mode: int
    thread: int
    operations: list[Operation] = field(default_factory=list)
    invalidated: bool = False


@dataclass(slots=True, eq=False)
class Event:
    handle: int = field(default_factory=new_handle)
    timing: bool = True
    stream: "Stream | None" = None
    """Where it was last recorded and has not passed yet."""
    passed_at: float | None = None
    mark: Operation | None = None


@dataclass(slots=True, eq=False)
class Graph:
    operations: list[Operation]
    handle: int = field(default_factory=new_handle)


class Stream:
    def __init__(self, handle: int | None = None) -> None:
        self.handle = new_handle() if handle is None else handle
        self.queue: deque[Operation] = deque()
        self.capture: Capture | None = None
        self.error = 0
        """Of an operation: who next waits for this stream is told."""
        self._running = threading.RLock()
        self.current: Operation | None = None

    @property
    def busy(self) -> bool:
        return bool(self.queue) or self.current is not None

    def drain(self, until: Operation | None = None) -> None:
        """Run what waits, all of it or up to `until`. An error stays until the stream's user takes it."""
        with self._running:
            while until is None or until in self.queue:
                try:
                    self.current = self.queue.popleft()
                except IndexError:  # done, or cleared by a sticky error of another stream
                    return
                try:
                    self.current.run()
                except DeviceFault as fault:
                    self.error = self.error or fault.code
                finally:
                    self.current = None

    def take_error(self) -> int:
        with self._running:
            error, self.error = self.error, 0
            return error

    def pending(self) -> list[Operation]:
        current = self.current
        return ([current] if current is not None else []) + list(self.queue)
