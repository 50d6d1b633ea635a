"""Which settings are measured: what the user listed, or the powers of two that can make a difference.

Pure. A Setting is a point of the grid; its order is that of simplicity, which `choose` relies on.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from modelyard.errors import ConfigurationError
from modelyard.spec import BatchingSpec

MAX_CONCURRENCY = 4096
DELAYS_MS = (0.0, 2.0)


@dataclass(frozen=True, slots=True, order=True)
class Setting:
    """Compares as simpler: a delay costs every lone request its time, a thread costs memory, a bound costs nothing."""

    delay_ms: float
    executors: int
    rows: int
    """Rows up to which requests are merged; 0: the model has no batch dimension."""

    def __str__(self) -> str:
        threads = f"{self.executors} thread{'s' if self.executors > 1 else ''}"
        if not self.rows:
            return threads
        delay = f"{self.delay_ms:g} ms delay" if self.delay_ms else "no delay"
        return f"batches of up to {self.rows}, {threads}, {delay}"

    def applied(self, batching: BatchingSpec) -> BatchingSpec:
        """`batching` with this setting in it. max_batch_size, the bound of one request, grows if it must."""
        changes: dict[str, float] = {"executors": self.executors, "merge_rows": self.rows}
        changes["max_batch_size"] = max(batching.max_batch_size, self.rows)
        if self.rows:
            changes["max_queue_delay_ms"] = self.delay_ms
        return batching.model_copy(update=changes)


def current_setting(batching: BatchingSpec, threads: int) -> Setting:
    """What is served now; `threads` is how many a server has for running models."""
    delay = batching.max_queue_delay_ms if batching.max_batch_size else 0.0
    executors = min(batching.executors or threads, threads)
    return Setting(delay, executors, batching.merge_rows or batching.max_batch_size)


def build_grid(
    current: Setting, batch_sizes: Iterable[int], executors: Iterable[int], delays: Iterable[float]
) -> list[Setting]:
    """Every combination that can differ, and the current setting. Without a batch dimension only threads vary."""
    if not current.rows:
        return sorted({Setting(0.0, threads, 0) for threads in executors} | {current})
    combinations = {
        Setting(delay, threads, rows)
        for rows in batch_sizes
        for threads in executors
        for delay in delays
        if rows > 1 or not delay  # a batch of one row is full at once
    }
    return sorted(combinations | {current})


def default_batch_sizes(max_batch_size: int, rows: int, concurrency: int) -> list[int]:
    """Powers of two from a request's rows to those that ever wait at once, and the bound.

    No more can be merged than wait, so all larger sizes are one to a measurement. The bound stands for them in the
    grid: what is written must not bind a server with more callers.
    """
    useful = {size for size in powers_of_two(max_batch_size) if rows <= size < rows * concurrency}
    return sorted(useful | {max_batch_size})


def powers_of_two(most: int) -> list[int]:
    """1, 2, 4, ... and `most` itself."""
    return sorted({1 << exponent for exponent in range(most.bit_length())} | {most})


def integers(option: str, text: str, least: int, most: int) -> list[int]:
    """The numbers of an option such as '1,2,4'. Raises ConfigurationError."""
    if not all(part.strip().isdecimal() for part in text.split(",")):
        raise ConfigurationError(f"{option} takes whole numbers with commas between, not '{text[:80]}'")
    return [int(number) for number in decimals(option, text, least, most)]


def decimals(option: str, text: str, least: float, most: float) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        raise ConfigurationError(f"{option} takes numbers with commas between, not '{text[:80]}'") from None
    for number in numbers:
        check_range(option, number, least, most)
    return sorted(set(numbers))


def check_range(option: str, number: float, least: float, most: float) -> None:
    if not (math.isfinite(number) and least <= number <= most):
        raise ConfigurationError(f"{option} {number:g} is outside {least:g} to {most:g}")
