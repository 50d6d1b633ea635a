"""One measurement by closed loop, from outside: `measure(job)` runs the load generator in a process of its own.

So its time is neither the server's nor ours: the job goes in as JSON, the `Sample` comes back as JSON. Every server is
asked by the same code (client.py) with the same requests.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, dataclass

from loadtests.bench.core import ROOT, Endpoint, Sample
from loadtests.bench.process import pinned

LAST_SECONDS = 10.0  # for the answers that are outstanding when the window ends
START_SECONDS = 60.0  # for everything else that is not measured


@dataclass(frozen=True)
class Job:
    """One measurement: which endpoint, how many connections, how long, and whether values are compared."""

    endpoint: Endpoint
    model: str
    connections: int
    seconds: float
    warm_seconds: float = 0.5
    slot: int = 0  # measurements of different slots send different requests
    distinct: int = 0  # so many different requests, again and again: hits of the cache; 0: no two alike
    pid: int = 0  # top of the server's process tree; 0: its use is not measured
    check: bool = True
    cores: tuple[int, ...] | None = None  # of the load generator


def measure(job: Job) -> Sample:
    """Run `job` in a process of its own."""
    limit = job.seconds + job.warm_seconds + LAST_SECONDS + START_SECONDS
    with pinned(job.cores):
        done = subprocess.run(
            [sys.executable, "-m", "loadtests.bench.client"],
            input=json.dumps(asdict(job)).encode(),
            capture_output=True,
            cwd=ROOT,
            timeout=limit,
            check=False,
        )
    if done.returncode:
        raise RuntimeError(f"the load generator failed: {done.stderr.decode(errors='replace')[-500:]}")
    return Sample(**json.loads(done.stdout))
