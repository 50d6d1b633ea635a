"""Clients that never stop asking while something happens to the backend, and what they waited, by phase.

Clients -> time and seconds of every answer -> p99 between two moments
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from tests.integration.harness import Server
from tests.integration.load_clients import Load, Sender, senders

PAUSE_SECONDS = 0.004
"""Between two questions of a client: the test is of the server, not of how many clients two cores can carry."""


@dataclass
class Timed:
    """A sender that notes when it was answered, and after how long."""

    sender: Sender
    answers: list[tuple[float, float]] = field(default_factory=list)

    def __call__(self, number: float) -> float:
        began = time.monotonic()
        answer = self.sender(number)
        ended = time.monotonic()
        self.answers.append((ended, ended - began))
        time.sleep(PAUSE_SECONDS)
        return answer

    def close(self) -> None:
        """Close the connection."""
        self.sender.close()


@dataclass
class Clients:
    """All that ask at once."""

    loads: Sequence[Load]
    timed: Sequence[Timed]

    @property
    def answered(self) -> int:
        """Right answers so far."""
        return sum(load.answered for load in self.loads)

    @property
    def lost(self) -> list[str]:
        """What was refused, failed or wrong."""
        return [text for load in self.loads for text in load.lost]

    def p99(self, begin: float, end: float) -> tuple[float, int]:
        """Of the answers between two moments: the milliseconds that one in a hundred exceeds, and how many they are."""
        seconds = [took for sender in self.timed for at, took in sender.answers if begin <= at < end]
        return (float(np.percentile(seconds, 99)) * 1e3 if seconds else float("nan")), len(seconds)


@contextmanager
def clients(server: Server, each: int = 1) -> Iterator[Clients]:
    """`each` clients of every kind: keep-alive HTTP, a new connection each time, gRPC."""
    timed = [(name, Timed(sender)) for _ in range(each) for name, sender in senders(server).items()]
    loads = [Load(name, sender, 1.0, 1 << 20) for name, sender in timed]
    for load in loads:
        load.start()
    try:
        yield Clients(loads, [sender for _, sender in timed])
    finally:
        for load in loads:
            load.stop()
