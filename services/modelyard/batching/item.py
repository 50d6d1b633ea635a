"""What the batcher is given, and what it tells of each run."""

import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

from modelyard.tensors import Array

Result = Sequence[Array] | Exception


@dataclass(slots=True)
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
