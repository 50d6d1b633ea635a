"""How long a version's runs take on this machine: the model alone, without protocol, queue and cache."""

import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from modelyard.errors import ConfigurationError
from modelyard.golden import Golden
from modelyard.repository import LoadedVersion
from modelyard.spec import ModelSpec
from modelyard.tensors import Array
from modelyard.tuning.inputs import build_pool

SECONDS = 1.0
"""Of measuring, for each batch size."""
LEAST_RUNS, MOST_RUNS = 5, 1000
STEP = 4
"""From one batch size to the next."""


@dataclass(frozen=True, slots=True)
class Latency:
    rows: int
    """Of each run; 0 for a model without a batch dimension."""
    runs: int
    median_ms: float
    p99_ms: float

    @property
    def rows_per_second(self) -> float:
        return max(self.rows, 1) * 1000 / self.median_ms


def sizes(spec: ModelSpec) -> list[int]:
    """1, 4, 16 ... and the most that a request may have; 0 alone for a model without a batch dimension."""
    if not spec.batched:
        return [0]
    most, rows, found = spec.batching.max_batch_size, 1, []
    while rows < most:
        found.append(rows)
        rows *= STEP
    return [*found, most]


def measure(
    loaded: LoadedVersion, golden: Golden | None, advance: Callable[[int], None], seconds: float = SECONDS
) -> tuple[list[Latency], list[str]]:
    """The figures by batch size, and what the inputs were. `advance` is told each size before it is run.

    Raises ConfigurationError when the model refuses them.
    """
    names = [tensor.name for tensor in loaded.spec.outputs]
    figures = []
    notes: list[str] = []
    for rows in sizes(loaded.spec):
        advance(rows)
        pool = build_pool(loaded.spec, golden, {}, max(rows, 1))
        notes = notes or [*pool.notes, *pool.warnings]
        requests = [[tensor.array for tensor in request] for request in pool.requests]
        _try(loaded, requests[0], names)
        times: list[float] = []
        end = time.perf_counter() + seconds
        while len(times) < LEAST_RUNS or (len(times) < MOST_RUNS and time.perf_counter() < end):
            started = time.perf_counter()
            loaded.chain.infer(requests[len(times) % len(requests)], names)
            times.append(1000 * (time.perf_counter() - started))
        median, p99 = np.percentile(times, [50, 99]).tolist()
        figures.append(Latency(rows, len(times), median, p99))
    return figures, notes


def _try(loaded: LoadedVersion, inputs: Sequence[Array], names: Sequence[str]) -> None:
    try:
        loaded.chain.infer(inputs, names)
    except Exception as error:
        why = " ".join(str(error).split())[:200]
        raise ConfigurationError(
            f"'{loaded.spec.name}' refuses the inputs to measure with ({why}): publish golden inputs"
        ) from None


def machine() -> str:
    """This machine in words, with what else it does: others' work makes p99 longer."""
    load = f"load {os.getloadavg()[0]:.1f}"
    return f"{_processor()}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}, {load}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or "unknown processor"
