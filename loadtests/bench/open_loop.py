"""The load of the scenarios: requests by schedule (open loop), or one after the other (closed loop).

    drive(plan) -> engine.py in a process of its own -> the result as JSON

In the open loop a request is sent when its time has come, whatever became of those before it, and its latency counts
from that time: a server that stalls cannot hide it by being asked less. Nothing can be sent while every connection that
the plan allows is busy: such a request waits for `patience` and is then counted as unsent, which is not answered in
time; `schedule` says how late the others left.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import IO, Any

from loadtests.bench.command import say
from loadtests.bench.core import HOST, ROOT, Endpoint
from loadtests.bench.schedule import Kind


@dataclass
class Plan:
    """What is to be asked. `rate` 0: closed loop, `connections` requests under way at all times."""

    model: str
    endpoints: list[Endpoint]
    seconds: float
    turn: float = 0.0  # closed loop: the endpoints are asked in turns of so many seconds; 0: all at once
    settle: float = 0.0  # in a closed loop the first seconds do not count
    rate: float = 0.0
    kind: Kind = "poisson"
    connections: int = 1024  # the most, of each HTTP endpoint; in a closed loop the requests under way
    warm: int = 32  # connections of each HTTP endpoint that are open before the first request
    weights: list[float] = field(default_factory=list)  # of the endpoints; equal when empty
    deadline: float = 1.0  # an answer after this is late
    patience: float = 0.05  # how long a request waits for a connection when all are busy
    window: float = 1.0
    hit_ratio: float = 0.0
    known: int = 0
    start: int = 0  # new rows that earlier plans have used up
    seed: int = 1
    count: int = 0  # the `known` rows in order, so many of them, and no other: a warm-up
    cores: list[int] | None = None
    report: float = 0.0  # seconds between lines of progress; 0: none


def drive(plan: Plan, progress: Callable[[dict[str, Any]], None] | None = None) -> dict[str, Any]:
    """Run `plan` in a process of its own; RuntimeError when that fails."""
    errors: list[str] = []
    with _child() as process:
        stdin, stdout, stderr = _opened(process.stdin), _opened(process.stdout), _opened(process.stderr)
        reader = threading.Thread(target=lambda: errors.append(stderr.read()), daemon=True)
        reader.start()
        watchdog = threading.Timer(plan.seconds + plan.deadline + 60, process.kill)
        watchdog.start()
        try:
            stdin.write(json.dumps(asdict(plan)))
            stdin.close()
            result = _read(stdout, progress)
            process.wait(30)
        finally:
            watchdog.cancel()
            process.kill()
            reader.join(10)
    if result is None:
        raise RuntimeError(f"the load generator failed: {''.join(errors)[-2000:]}")
    return result


def _child() -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "loadtests.bench.engine"]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, cwd=ROOT, text=True)


def _opened(stream: IO[str] | None) -> IO[str]:
    if stream is None:
        raise RuntimeError("the load generator has no pipes")
    return stream


def _read(lines: IO[str], progress: Callable[[dict[str, Any]], None] | None) -> dict[str, Any] | None:
    for line in lines:
        document: dict[str, Any] = json.loads(line)
        if "result" in document:
            result: dict[str, Any] = document["result"]
            return result
        if progress:
            progress(document)
    return None


def main() -> None:
    """Ask a server that is running."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="echo", help="one of loadtests/bench/models.py, served by that name")
    parser.add_argument("--port", type=int, default=3000)
    parser.add_argument("--rate", type=float, default=100.0, help="requests a second; 0: closed loop")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--kind", choices=["poisson", "constant"], default="poisson")
    parser.add_argument("--connections", type=int, default=1024)
    chosen = parser.parse_args()
    endpoint = Endpoint("oip-json", HOST, chosen.port, f"/v2/models/{chosen.model}/infer", chosen.model)
    plan = Plan(
        chosen.model,
        [endpoint],
        chosen.seconds,
        rate=chosen.rate,
        kind=chosen.kind,
        connections=chosen.connections,
    )
    say(json.dumps(drive(plan), indent=2))


if __name__ == "__main__":
    main()
