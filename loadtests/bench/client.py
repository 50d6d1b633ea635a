"""The process of the load generator: a job on standard input, its sample on standard output, both as JSON."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

import uvloop

from loadtests.bench.closed_loop import Starter, run
from loadtests.bench.core import Endpoint
from loadtests.bench.load import Job


def main() -> None:
    """Measure what standard input says."""
    given = json.loads(sys.stdin.read())
    job = Job(**{**given, "endpoint": Endpoint(**given["endpoint"])})
    sys.stdout.write(json.dumps(asdict(uvloop.run(run(job, _starter(job))))))


def _starter(job: Job) -> Starter:
    # only the one that is needed: grpc starts threads of its own
    if job.endpoint.face == "oip-grpc":
        from loadtests.bench.grpc_load import start
    else:
        from loadtests.bench.http_load import start
    return start


if __name__ == "__main__":
    main()
