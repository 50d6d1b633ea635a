"""The child process of open_loop.py: the schedule is kept, every answer is compared, the result is printed as JSON.

    schedule -> lanes -> answers -> checker -> ledger

A timer has a millisecond of resolution: that is how late a request may leave when nothing else holds it up.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import json
import os
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import uvloop

from loadtests.bench.checker import Checker
from loadtests.bench.command import say
from loadtests.bench.core import Endpoint, Face
from loadtests.bench.draw import draw, scattered
from loadtests.bench.grpc_lane import GrpcLane
from loadtests.bench.lanes import HttpLane, Lane, Ticket
from loadtests.bench.ledger import Ledger
from loadtests.bench.open_loop import Plan
from loadtests.bench.payloads import Array, decode
from loadtests.bench.schedule import arrivals
from loadtests.bench.turns import Turns

CHUNK = 60.0  # seconds of the schedule that are known at a time
CHECK = 64  # answers that are compared together
BURST = 16  # requests that are sent without a look at what came in
START = 0.2  # seconds between having connections and the first request


class Engine:
    """The child's side: sends tickets, takes answers, and hands both to the ledger."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.ledger = Ledger(plan.window)
        self._checker = Checker(plan.model, plan.known)
        self._lanes: list[Lane] = [self._lane(endpoint) for endpoint in plan.endpoints]
        self._order = itertools.cycle(self._lane_order())
        self._turns = Turns(len(self._lanes), plan.turn) if plan.turn else None
        self._numbers = self._draw()
        self._began = 0.0
        self._open = 0
        self._sending = True
        self._given_up = False
        self._drained = asyncio.Event()
        self._unchecked: list[tuple[Ticket, float, Face, bytes, int | None]] = []

    async def run(self) -> dict[str, Any]:
        """The whole plan."""
        plan = self.plan
        for lane in self._lanes:
            await lane.open(plan.warm if plan.rate else plan.connections)
        cpu = time.process_time()
        self._began = time.perf_counter() + (START if plan.rate else 0.0)
        reporting = asyncio.create_task(self._report())
        await (self._open_loop() if plan.rate else self._closed_loop())
        self._sending = False
        say(json.dumps({"over": True, "second": self.now()}))
        busy = (time.process_time() - cpu) / self.now()
        await self._drain()
        reporting.cancel()
        return self._result(busy)

    # --- the two loops --------------------------------------------------------------------------------------------

    async def _open_loop(self) -> None:
        """Everything that is due is sent; then sleep until the next is due."""
        plan = self.plan
        places, numbers, burst = self._order, self._numbers, 0
        for begin, times in _schedule(plan):
            for due in times.tolist():
                wait = begin + due - self.now()
                while wait > 0:
                    await asyncio.sleep(wait)
                    burst, wait = 0, begin + due - self.now()
                self._send(next(places), next(numbers), begin + due)
                burst += 1
                if burst % BURST == 0:
                    await asyncio.sleep(0)  # late: answers must be read all the same
        await asyncio.sleep(max(0.0, plan.seconds - self.now()))

    async def _closed_loop(self) -> None:
        for _ in range(self.plan.connections):
            self._next()
        if self.plan.count:
            await asyncio.wait_for(self._drained.wait(), self.plan.seconds)
        else:
            await asyncio.sleep(self.plan.seconds)

    def _next(self) -> None:
        """Closed loop: another request in the place of the one that has ended."""
        number = next(self._numbers, None) if self._sending else None
        if number is not None:
            now = self.now()
            self._send(self._turns.current(now) if self._turns else next(self._order), number, now)
        else:
            self._sending = False
            if not self._open:
                self._drained.set()

    def _send(self, place: int, number: int, intended: float) -> None:
        self._open += 1
        lane = self._lanes[place]
        lane.send(Ticket(number, intended, lane.face, place))

    async def _drain(self) -> None:
        """Give what is under way its deadline and a second more; the rest is lost."""
        if self._open:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._drained.wait(), self.plan.deadline + 1)
        self._given_up = True
        for lane in self._lanes:
            await lane.close()
        await asyncio.sleep(0.01)
        self._check()

    # --- the sink of the lanes ------------------------------------------------------------------------------------

    def now(self) -> float:
        """Seconds since the schedule began."""
        return time.perf_counter() - self._began

    def outdated(self, ticket: Ticket) -> bool:
        """As a client that got no connection from its pool in time."""
        return self.now() - ticket.intended > self.plan.patience

    def answered(self, ticket: Ticket, face: Face, answer: bytes, header_length: int | None) -> None:
        """Keep the answer until there are enough to compare."""
        self._unchecked.append((ticket, self.now(), face, answer, header_length))
        if len(self._unchecked) >= CHECK:
            self._check()
        self._done()

    def ended(self, ticket: Ticket, outcome: str, why: str = "") -> None:
        """No result."""
        now = self.now()
        if self._given_up and outcome == "broken":
            outcome = "lost"
        if why:
            self.ledger.note(f"{outcome}: {why}")
        if self._counts(now):
            sent = ticket.sent or now
            self.ledger.add(ticket.lane, outcome, ticket.intended, now - ticket.intended, sent - ticket.intended)
        self._done()

    def _counts(self, done: float) -> bool:
        """A closed loop has neither its beginning nor its end in the numbers."""
        plan = self.plan
        return plan.rate > 0 or plan.count > 0 or plan.settle <= done <= plan.seconds

    def _done(self) -> None:
        self._open -= 1
        if not (self._open or self._sending):
            self._drained.set()
        if not self.plan.rate:
            # not from inside the callback: a lane that fails at once would call itself without end
            asyncio.get_running_loop().call_soon(self._next)

    def _check(self) -> None:
        batch, self._unchecked = self._unchecked, []
        if not batch:
            return
        answers = [_decoded(face, self.plan.model, answer, length) for _, _, face, answer, length in batch]
        right = self._checker.right([ticket.number for ticket, *_ in batch], answers)
        for (ticket, done, face, answer, _), good in zip(batch, right, strict=True):
            latency = done - ticket.intended
            outcome = "wrong" if not good else "ok" if latency <= self.plan.deadline else "late"
            if not good:
                self.ledger.note(f"wrong answer by {face}: {answer[:80]!r}")
            elif not self._counts(done):
                continue
            elif self._turns:
                self._turns.answered(ticket.place, done)
            self.ledger.add(ticket.lane, outcome, ticket.intended, latency, ticket.sent - ticket.intended)

    # --- parts ----------------------------------------------------------------------------------------------------

    def _lane(self, endpoint: Endpoint) -> Lane:
        if endpoint.face == "oip-grpc":
            return GrpcLane(endpoint, self.plan.model, self, self.plan.deadline)
        return HttpLane(endpoint, self.plan.model, self, self.plan.connections)

    def _lane_order(self) -> Sequence[int]:
        """Places of lanes in a random order of which the weights are right over 1000 requests."""
        weights = np.asarray(self.plan.weights or [1.0] * len(self._lanes))
        counts = np.maximum(1, np.round(weights / weights.sum() * 1000)).astype(int)
        order = np.random.default_rng(self.plan.seed).permutation(np.repeat(np.arange(len(self._lanes)), counts))
        places: list[int] = order.tolist()
        return places

    def _draw(self) -> Iterator[int]:
        plan = self.plan
        if plan.count:
            return map(scattered, range(plan.count))
        return draw(plan.hit_ratio, plan.known, plan.start, plan.seed)

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(self.plan.report or self.plan.window)
            # a request is known to be over one deadline after its window
            self.ledger.close(self.now() - self.plan.deadline - 1)
            if self.plan.report:
                counts = dict(self.ledger.counts)
                say(json.dumps({"second": self.now(), "open": self._open, "counts": counts}))

    def _result(self, busy: float) -> dict[str, Any]:
        self.ledger.close()
        plan, summary = self.plan, self.ledger.summary()
        asked, seconds = sum(summary["counts"].values()), plan.seconds - (0.0 if plan.rate else plan.settle)
        opened = {lane.face: lane.opened for lane in self._lanes}
        return {
            "plan": {**asdict(plan), "endpoints": [endpoint.face for endpoint in plan.endpoints]},
            "seconds": seconds,
            "offered": asked,
            "goodput": summary["counts"]["ok"] / seconds,
            "client": {"share": busy, "cpu_us": 1e6 * busy * seconds / max(1, asked), "connections": opened},
            **({"turns": self._turns.rates(plan.seconds)} if self._turns else {}),
            **summary,
        }


def _schedule(plan: Plan) -> Iterator[tuple[float, Array]]:
    """The arrivals of the plan in chunks: (begin of the chunk, times in it)."""
    for index, begin in enumerate(np.arange(0, plan.seconds, CHUNK).tolist()):
        yield begin, arrivals(plan.kind, plan.rate, min(CHUNK, plan.seconds - begin), plan.seed + index)


def _decoded(face: Face, model: str, answer: bytes, header_length: int | None) -> Array:
    """What cannot be read is a wrong answer."""
    try:
        return decode(face, model, answer, header_length)
    except Exception:
        return np.empty((0, 0))


async def _run(plan: Plan) -> dict[str, Any]:
    return await Engine(plan).run()


def main() -> None:
    """Read a plan from standard input, write lines of progress and the result to standard output."""
    document = json.loads(sys.stdin.read())
    plan = Plan(**{**document, "endpoints": [Endpoint(**endpoint) for endpoint in document["endpoints"]]})
    if plan.cores:
        os.sched_setaffinity(0, plan.cores)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    gc.freeze()  # a pause of the client would be counted as the server's
    say(json.dumps({"result": uvloop.run(_run(plan))}))


if __name__ == "__main__":
    main()
