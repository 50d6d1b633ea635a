"""The process of one subject: requests on standard input, answers on standard output, a line of JSON each.

    {"do": "why"}, {"do": "load"}, {"do": "check", "batch": 8}, {"do": "memory"}, {"do": "time", ...}, {"do": "end"}

An error is an answer too: {"failed": "what was said"}. What libraries print goes to standard error, which is the log.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from loadtests.bench.core import Sample
from loadtests.bench.payloads import Array
from loadtests.bench.statistics import histogram, percentile
from loadtests.gpu.catalog import SUBJECTS
from loadtests.gpu.data import difference, read
from loadtests.gpu.subject import Given, Subject, reason

Answer = dict[str, Any]
LEAST_CALLS = 10


class Child:
    """A subject and its data."""

    def __init__(self, subject: Subject, given: Given, data: Path) -> None:
        self._subject, self._given, self._data = subject, given, data
        self._free = 0  # bytes of the device before anything was loaded
        self._inputs: Array
        self._expected: Array

    def why(self) -> Answer:
        """Why it cannot run here."""
        return {"why": self._subject.why_not()}

    def load(self) -> Answer:
        """Load it; seconds include everything, builds too."""
        self._inputs, self._expected = read(self._data)
        self._free = free_bytes()
        began = time.perf_counter()
        loaded = self._subject.load(self._given)
        return {"seconds": time.perf_counter() - began, **asdict(loaded)}

    def check(self, batch: int) -> Answer:
        """The first run of a batch size, and how far its answers are from the right ones."""
        began = time.perf_counter()
        self._subject.run(self._inputs[:batch])
        seconds = time.perf_counter() - began
        # a second run: a graph may have been captured in the first
        answer = self._subject.run(self._inputs[:batch])
        return {"seconds": seconds, **asdict(difference(answer, self._expected[:batch], self._subject.precision))}

    def memory(self) -> Answer:
        """Bytes of the device that were taken since before the load; None where nobody can tell."""
        return {"bytes": max(0, self._free - free_bytes()) if self._free else None}

    def time(self, batch: int, seconds: float, warm_seconds: float) -> Answer:
        """One measurement: one caller, who sends the next batch when the last is answered."""
        values, run = self._inputs[:batch], self._subject.run
        _repeat(run, values, warm_seconds, 3)
        gc.collect()
        gc.disable()
        try:
            latencies = _repeat(run, values, seconds, LEAST_CALLS)
        finally:
            gc.enable()
        sample = Sample(sum(latencies), len(latencies), 0, 0, percentile(latencies, 50), percentile(latencies, 99))
        sample.rows, sample.histogram = batch, histogram(latencies)
        return asdict(sample)

    def end(self) -> Answer:
        """Free what it holds."""
        self._subject.close()
        return {}


def _repeat(run: Callable[[Array], Array], values: Array, seconds: float, least: int) -> list[float]:
    latencies: list[float] = []
    before = time.perf_counter()
    end = before + seconds
    while before < end or len(latencies) < least:
        run(values)
        after = time.perf_counter()
        latencies.append(after - before)
        before = after
    return latencies


def free_bytes() -> int:
    """Free memory of the device; 0 where nobody can tell. It makes the CUDA context, which then is not counted."""
    from modelyard.backends.engine import cuda

    try:
        cuda.require_device()
        return cuda.memory()[0]
    except Exception:  # without cuda-python the rest can be measured all the same
        return 0


def main(name: str, given: str, data: str) -> None:
    """Answer until the end, or until standard input is closed."""
    answers = _own_stdout()
    document = json.loads(given)
    paths = {key: Path(document[key]) for key in ("onnx", "repository")}
    child = Child(SUBJECTS[name](), Given(**{**document, **paths, "batches": tuple(document["batches"])}), Path(data))
    for line in sys.stdin:
        request = json.loads(line)
        what = request.pop("do")
        try:
            answer = getattr(child, what)(**request)
        except Exception as error:  # whatever it is, it is a result: this subject does not run here
            answer = {"failed": reason(error)}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
        if what == "end":
            return


def _own_stdout() -> IO[str]:
    own = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return own


if __name__ == "__main__":
    main(*sys.argv[1:])
