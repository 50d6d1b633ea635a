"""A service for a load test that names no host: trained and exported first when its model has no version."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from loadtests.bench.core import HOST, ROOT
from loadtests.bench.process import answers, launched
from modelyard.authoring.ports import free_port

LOG = Path("build") / "loadtests" / "server.log"


@contextmanager
def serving(model: str, repository: Path) -> Iterator[tuple[str, str]]:
    """Its address, and host:port of gRPC, while the block runs. Raises RuntimeError when it cannot be served."""
    _train(model, repository)
    http, grpc = free_port(), free_port()
    command = [sys.executable, "-m", "modelyard", "serve", model, "--repository", str(repository)]
    command += ["--port", str(http), "--grpc-port", str(grpc)]
    print(f"starting the service of {model} on http://{HOST}:{http} (log: {LOG})", flush=True)
    LOG.unlink(missing_ok=True)
    # No balancer has to notice that it stops.
    environment = {"MODELYARD_DRAIN_SECONDS": os.environ.get("MODELYARD_DRAIN_SECONDS", "0")}
    with launched(command, lambda: answers(http, "/v2/health/ready"), LOG, environment, folder=Path.cwd()):
        yield f"http://{HOST}:{http}", f"{HOST}:{grpc}"


def _train(model: str, repository: Path) -> None:
    """Only a model of the project can be: the others come with a version, or are refused by the server in one line."""
    folder = repository / model
    if any(folder.glob("versions/*/manifest.json")) or repository.resolve() != ROOT / "models":
        return
    if not (folder / "export.py").exists():
        return
    print(f"{model} has no version yet: training and exporting one", flush=True)
    done = subprocess.run([sys.executable, str(repository / "make.py"), "--only", model], check=False)
    if done.returncode:
        raise RuntimeError(f"{model} could not be made: its training or export ended with {done.returncode}")
