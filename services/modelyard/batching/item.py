"""What the batcher is given, and what it tells of each run."""

import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from modelyard.tensors import Array

Result = Sequence[Array] | Exception


class Queue(Protocol):
    def drop(self, item: "Item") -> None: ...
    def urge(self, item: "Item") -> None: ...


@dataclass(slots=True, eq=False)
class Item:
    """Rows that wait. `done` is called once, in the event loop, unless `wanted` says no when their turn comes."""

    inputs: Sequence[Array]
    rows: int
    signature: Hashable
    outputs: tuple[str, ...]
    done: Callable[[Result], None]
    wanted: Callable[[], bool]
    priority: int = 0
    nbytes: int = 0
    queued: float = field(default_factory=time.perf_counter)
    queue: Queue | None = None
    """Where it waits; None before and after."""

    def leave(self) -> None:
        """One who wanted it is gone: when that was the last one, what waits in the queue is let go, and its room."""
        if self.queue is not None and not self.wanted():
            self.queue.drop(self)

    def urge(self) -> None:
        """Somebody whose request is urgent waits for it too: it goes first if it still waits."""
        if self.queue is not None:
            self.queue.urge(self)

    def clear(self) -> None:
        """Keep nothing of the request: no rows, no arrays, no answer to give."""
        self.queue = None
        self.inputs, self.rows, self.nbytes = (), 0, 0
        self.done, self.wanted = _ignore, _unwanted


@dataclass(frozen=True, slots=True)
class Execution:
    """What one run of the model was: for metrics, statistics and the estimate of waits."""

    rows: int
    requests: int
    seconds: float
    busy: float | None
    """Seconds for which the model kept a core busy, where that was measured."""
    queue_seconds: Sequence[float]
    retried: bool
    failed: int


def _ignore(_: Result) -> None: ...


def _unwanted() -> bool:
    return False
