"""A closed loop, in the load generator's process: each connection sends its next request when its last is answered.

    connections (http_load, grpc_load) -> Loop: latencies, failures, answers kept -> `run`: the Sample of the window

Latencies and errors are those of the window after the warm-up; the values of the answers that were kept are compared
when everything is over.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from loadtests.bench.core import Sample
from loadtests.bench.draw import scattered
from loadtests.bench.load import LAST_SECONDS, Job
from loadtests.bench.payloads import Template, decode, reference, row, template
from loadtests.bench.process import Usage, usage
from loadtests.bench.statistics import histogram, percentile

SLOT = 1_000_000  # requests that one measurement may send before it meets the numbers of the next
KEPT = 256  # answers whose values are compared
FIRST, EVERY = 16, 101  # the first ones, then one in so many


class Failures:
    """What went wrong: how often, and the first in words."""

    def __init__(self) -> None:
        self.count = 0
        self.first = ""

    def add(self, text: str) -> None:
        """Count one."""
        self.count += 1
        self.first = self.first or text


@dataclass
class Loop:
    """The state that all connections of one measurement share."""

    template: Template
    counter: int
    distinct: int = 0
    running: bool = True
    latencies: list[float] = field(default_factory=list)
    failures: Failures = field(default_factory=Failures)
    kept: list[tuple[int, bytes, int | None]] = field(default_factory=list)
    waiting: int = 0  # requests without an answer, now

    def next(self) -> tuple[int, bytes]:
        """The next request and its number."""
        self.counter += 1
        self.waiting += 1
        number = scattered(self.counter % self.distinct if self.distinct else self.counter)
        return number, self.template.render(number)

    def keeps(self) -> bool:
        """Whether the values of the answer that was just done are compared."""
        return (len(self.latencies) % EVERY == 0 or len(self.kept) < FIRST) and len(self.kept) < KEPT

    def done(self, seconds: float) -> None:
        """A right status and a whole answer came."""
        self.waiting -= 1
        self.latencies.append(seconds)

    def failed(self, text: str) -> None:
        """No answer, or one that says no."""
        self.waiting -= 1
        self.failures.add(text)


Starter = Callable[[Loop, Job], Any]  # opens the connections; awaited; what it returns is awaited to close them


@dataclass
class Window:
    """What was seen between the end of the warm-up and the end of the measurement."""

    seconds: float
    client_cpu: float
    before: Usage
    after: Usage


async def run(job: Job, start: Starter) -> Sample:
    """The measurement itself."""
    loop = Loop(template(job.endpoint, job.model), job.slot * SLOT, job.distinct)
    gc.freeze()
    gc.disable()  # a pause of the client would be counted as the server's
    close = await start(loop, job)
    await asyncio.sleep(job.warm_seconds)
    window = await _window(loop, job)
    loop.running = False
    latencies, errors = list(loop.latencies), loop.failures.count
    await _outstanding(loop)
    await close()
    return _sample(loop, job, window, latencies, errors)


async def _window(loop: Loop, job: Job) -> Window:
    before = _use(job)
    loop.latencies.clear()
    loop.failures.count = 0
    started, cpu = time.perf_counter(), time.process_time()
    await asyncio.sleep(job.seconds)
    seconds, client = time.perf_counter() - started, time.process_time() - cpu
    return Window(seconds, client, before, _use(job))


def _use(job: Job) -> Usage:
    return usage(job.pid) if job.pid else Usage(0.0, 0, 0, 0)


async def _outstanding(loop: Loop) -> None:
    deadline = time.monotonic() + LAST_SECONDS
    while loop.waiting > 0 and time.monotonic() < deadline:  # noqa: ASYNC110  (an event would cost every answer)
        await asyncio.sleep(0.01)


def _sample(loop: Loop, job: Job, window: Window, latencies: list[float], errors: int) -> Sample:
    wrong, checked = _wrong(loop, job) if job.check else (0, 0)
    count = len(latencies)
    each = 1e6 / count if count else 0.0
    return Sample(
        seconds=window.seconds,
        requests=count,
        errors=errors + loop.waiting,  # those still without an answer will not get one
        wrong=wrong,
        p50=percentile(latencies, 50),
        p99=percentile(latencies, 99),
        cpu_us=(window.after.cpu_seconds - window.before.cpu_seconds) * each,
        client_cpu_us=window.client_cpu * each,
        client_share=window.client_cpu / window.seconds,
        checked=checked,
        rss_bytes=window.after.rss_bytes,
        fds=window.after.fds,
        first_error=loop.failures.first or ("no answer" if loop.waiting else ""),
        histogram=histogram(latencies),
    )


def _wrong(loop: Loop, job: Job) -> tuple[int, int]:
    judge = reference(job.model)
    wrong = 0
    for number, answer, header_length in loop.kept:
        try:
            right = judge.right(row(job.model, number), decode(job.endpoint.face, job.model, answer, header_length))
        except (ValueError, KeyError, TypeError):
            right = False
        wrong += not right
    return wrong, len(loop.kept)
