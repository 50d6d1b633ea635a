"""Where the time goes: the server under the profiler, with the load of the cell that fell short.

The same `modelyard serve`; only the thread of its event loop is profiled, and the profiler makes each Python call
dearer, so that the shares say where to look and not how fast it is.
"""

from __future__ import annotations

import os
import pstats
import signal
import sys
import time
from pathlib import Path

from loadtests.bench.bars import Load
from loadtests.bench.core import WORK
from loadtests.bench.load import Job, measure
from loadtests.bench.models import model_path
from loadtests.bench.ours import Modelyard
from loadtests.bench.plan import pins
from loadtests.bench.process import pinned

SECONDS = 3.0
WRITE_SECONDS = 5.0
TOP = 12
Key = tuple[str, int, str]


def where_the_time_goes(load: Load) -> str:
    """The functions with the most time of their own, as one line."""
    model, face, connections, distinct = load
    target = WORK / "profiles" / f"{model}-{face}-{connections}-{distinct}.pstats"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    recipe = Modelyard(
        "modelyard profiled",
        settled_models=["mlp"],
        program=(sys.executable, "-m", "loadtests.bench.profiled", str(target)),
    )
    server_cores, client_cores = pins(model)
    with pinned(server_cores), recipe.start(model, model_path(model), target.with_suffix(".log")) as server:
        os.kill(server.pid, signal.SIGUSR1)
        job = Job(server.endpoints[face], model, connections, SECONDS, 0.5, distinct=distinct, cores=client_cores)
        sample = measure(job)
        os.kill(server.pid, signal.SIGUSR2)
        until = time.monotonic() + WRITE_SECONDS
        while not target.exists() and time.monotonic() < until:
            time.sleep(0.1)
    if not target.exists():
        return "the profiler wrote nothing"
    said = f"{sample.rate:,.0f} requests/s under the profiler at {connections} connections"
    return f"{said}; own time in the event loop's thread: {top(target)}"


def top(path: Path, count: int = TOP) -> str:
    """The `count` dearest functions of a profile, each with its share of all own time."""
    statistics = pstats.Stats(str(path)).stats  # type: ignore[attr-defined]  # its stub lacks it
    own: dict[Key, float] = {key: value[2] for key, value in statistics.items()}
    total = sum(own.values()) or 1.0
    dearest = sorted(own, key=own.__getitem__, reverse=True)[:count]
    return "; ".join(f"{_words(key)} {own[key] / total:.1%}" for key in dearest)


def _words(key: Key) -> str:
    file, line, function = key
    if file == "~":
        return function.strip("<>").replace("built-in method ", "").replace("method ", "")
    parts = Path(file).parts
    for root in ("site-packages", "services", "python3.11"):
        if root in parts:
            return f"{'/'.join(parts[parts.index(root) + 1 :])}:{line} {function}"
    return f"{Path(file).name}:{line} {function}"
