"""What is to be measured, from the options as they were typed; and whether its results can be written, asked before.

What would make a minute of measuring worthless (an output that cannot be written, a library that is not installed, a
model.yaml that cannot be edited) is refused here. Everything raises ConfigurationError or OSError.
"""

import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from modelyard.errors import ConfigurationError
from modelyard.spec import MODEL_YAML, ModelSpec
from modelyard.tuning import grid, model_yaml
from modelyard.tuning.grid import Setting

MAX_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Options:
    """As they were typed; an empty text stands for the default."""

    name: str
    version: str
    concurrency: str
    seconds: float
    batch_sizes: str
    executors: str
    delays: str
    rows: int
    dims: Sequence[str]
    p99_ms: float | None
    write: bool
    json: Path | None
    plot: Path | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured, checked."""

    current: Setting
    grid: list[Setting]
    levels: list[int]
    seconds: float


def build_plan(options: Options, spec: ModelSpec, threads: int) -> Plan:
    levels = grid.integers("--concurrency", options.concurrency, 1, grid.MAX_CONCURRENCY)
    grid.check_range("--seconds", options.seconds, 0.01, MAX_SECONDS)
    grid.check_range("--rows", options.rows, 1, max(1, spec.batching.max_batch_size))
    if options.p99_ms is not None:
        grid.check_range("--p99-ms", options.p99_ms, 0.001, 1e6)
    if not spec.batched and (options.batch_sizes or options.delays):
        raise ConfigurationError(f"'{spec.name}' has no batch dimension (max_batch_size 0): only --executors can vary")
    current = grid.current_setting(spec.batching, threads)
    if options.batch_sizes:
        sizes = grid.integers("--batch-sizes", options.batch_sizes, 1, 65536)
    else:
        sizes = grid.default_batch_sizes(spec.batching.max_batch_size, options.rows, levels[-1])
    executors = _threads(options.executors, threads) if options.executors else grid.powers_of_two(threads)
    delays = grid.decimals("--delays", options.delays, 0.0, 10_000.0) if options.delays else list(grid.DELAYS_MS)
    return Plan(current, grid.build_grid(current, sizes, executors, delays), levels, options.seconds)


def _threads(text: str, threads: int) -> list[int]:
    numbers = grid.integers("--executors", text, 1, 256)
    if numbers[-1] > threads:
        raise ConfigurationError(
            f"--executors {numbers[-1]} is above the {threads} threads that a server has (MODELYARD_EXECUTORS)"
        )
    return numbers


def check_editable(folder: Path, spec: ModelSpec) -> None:
    """Try every kind of change on the text, without a file."""
    path = folder / MODEL_YAML
    if not os.access(path.resolve().parent, os.W_OK):
        raise ConfigurationError(f"--write: {path.resolve().parent} cannot be written to")
    values: dict[str, int | float] = {"executors": 1, "max_queue_delay_ms": 1}
    if spec.batched:
        values["merge_rows"] = 1
    model_yaml.checked(path.read_bytes().decode("utf-8"), spec, values)


def plot_target(options: Options) -> tuple[Path | None, str]:
    """Where the curves go, or nowhere and why. Asked for and impossible is refused."""
    path = options.plot or Path("build") / "tune" / f"{options.name}.png"
    try:
        if importlib.util.find_spec("matplotlib") is None:
            raise ConfigurationError("the curves need matplotlib: pip install 'modelyard[bench]'")
        make_ready(path)
    except (ConfigurationError, OSError) as error:
        if options.plot is not None:
            raise
        return None, f"no curves: {error}"
    return path, ""


def make_ready(path: Path) -> None:
    """Find out now whether a file can be written. Raises OSError or ConfigurationError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir() or not os.access(path.parent, os.W_OK) or (path.exists() and not os.access(path, os.W_OK)):
        raise ConfigurationError(f"{path} cannot be written")
