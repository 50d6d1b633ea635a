"""What the model costs without a server: its session in a process with nothing else, and how near INT8 comes to FP32.

One thread, and as many as there are cores, call the session with one row at a time; ONNX Runtime itself uses one thread
a call, as a server with one executor a core does.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass

import numpy as np

from loadtests.bench.core import ROOT
from loadtests.bench.models import INFO, SEED
from loadtests.bench.payloads import reference, rows
from loadtests.bench.process import pinned

PARITY_ROWS = 16


@dataclass(frozen=True)
class BareSession:
    """Rows a second of a model in a process with nothing else, one row a call."""

    model: str
    threads: int
    seconds: float
    calls: int
    p50: float

    @property
    def rate(self) -> float:
        """Rows a second."""
        return self.calls / self.seconds


def bare_session(model: str, threads: int, seconds: float, cores: tuple[int, ...] | None = None) -> BareSession:
    """Measure the session of `model` in a process of its own, called by `threads` threads."""
    command = [sys.executable, "-m", "loadtests.bench.session", model, str(threads), str(seconds)]
    with pinned(cores):
        done = subprocess.run(command, capture_output=True, cwd=ROOT, timeout=seconds + 120, check=False)
    if done.returncode:
        raise RuntimeError(f"the bare session of {model} failed: {done.stderr.decode(errors='replace')[-300:]}")
    return BareSession(**json.loads(done.stdout))


def _session(model: str, threads: int, seconds: float) -> BareSession:
    judge, values = reference(model), rows(model, range(64))
    feeds = [{judge.info.input: values[index : index + 1]} for index in range(64)]
    outputs, latencies = [judge.info.output], [list[float]() for _ in range(threads)]
    begun = threading.Barrier(threads)

    def calls(mine: list[float]) -> None:
        run = judge.session.run
        for index in range(8):
            run(outputs, feeds[index])
        begun.wait()
        end = time.perf_counter() + seconds
        before = time.perf_counter()
        while before < end:
            run(outputs, feeds[len(mine) % 64])
            after = time.perf_counter()
            mine.append(after - before)
            before = after

    workers = [threading.Thread(target=calls, args=(mine,)) for mine in latencies]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    every = sorted(value for mine in latencies for value in mine)
    # the time of the calls alone: the warm-up before the barrier is not part of it
    spent = max(sum(mine) for mine in latencies)
    return BareSession(model, threads, spent, len(every), every[len(every) // 2])


def parity(model: str, other: str, count: int = PARITY_ROWS) -> float:
    """The least cosine between what two models answer to the same rows, about the mean answer.

    About the mean: embeddings share most of their direction, so that without it any two would look alike.
    """
    info = INFO[model]
    random = np.random.default_rng(SEED + 2)
    values = random.integers(0, 30_000, (count, info.columns))
    first, second = reference(model).infer(values), reference(other).infer(values)
    middle = first.mean(axis=0)
    first, second = first - middle, second - middle
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return float(((first * second).sum(axis=1) / lengths).min())


def main(model: str, threads: str, seconds: str) -> None:
    """Measure, and write the result to standard output as JSON."""
    sys.stdout.write(json.dumps(asdict(_session(model, int(threads), float(seconds)))))


if __name__ == "__main__":
    main(*sys.argv[1:])
