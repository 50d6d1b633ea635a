"""The recipe of Modelyard itself: import the model into a repository of its own, serve it as a user does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from loadtests.bench.core import HOST, ROOT, WORK, Endpoint, Face, Server
from loadtests.bench.load import Job, measure
from loadtests.bench.observe import decided
from loadtests.bench.process import answers, launched
from modelyard.authoring.ports import free_port

REPOSITORIES = WORK / "repositories"
SERVICES = Path(os.environ.get("BENCH_SERVICES", ROOT / "services"))  # another checkout of ours can be measured
EVIDENCE_SLICES = 10
EVIDENCE_SLOT = 900  # requests that no measurement sends
FACES: tuple[Face, ...] = ("oip-json", "oip-binary", "oip-grpc")
Edit = Callable[[dict[str, Any]], None]


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The developer's environment without its settings of Modelyard."""
    own = {key: value for key, value in os.environ.items() if not key.startswith("MODELYARD_")}
    return {**own, "PYTHONPATH": str(SERVICES), "BENTOML_DO_NOT_TRACK": "true", **(extra or {})}


@cache
def repository(model: str, onnx: Path) -> Path:
    """A repository with `model`, imported anew once in each run."""
    folder = REPOSITORIES / model
    shutil.rmtree(folder, ignore_errors=True)
    command = [sys.executable, "-m", "modelyard", "import", str(onnx), "--name", model, "--repository", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment(), check=False)
    if done.returncode:
        raise RuntimeError(f"modelyard import failed: {done.stderr.strip()[-300:]}")
    return folder


def patient(spec: dict[str, Any]) -> None:
    """A closed loop asks for more than there is, and the other servers queue without end: so ours refuses nothing."""
    spec.setdefault("limits", {}).update(queue_seconds=60.0, deadline_seconds=120.0)


class Modelyard:
    """Modelyard with every feature on: validation, metrics, limits, cache.

    `settings` are MODELYARD_ variables; `edit` changes model.yaml, instead of `patient`. Of `settled_models` a server
    is asked until it has decided which tiers of the cache are worth asking, as one that has served for a while. `faces`
    are those that are measured.
    """

    def __init__(
        self,
        name: str = "modelyard",
        settings: Mapping[str, str] | None = None,
        edit: Edit | None = None,
        program: Sequence[str] = (sys.executable, "-m", "modelyard"),
        settled_models: Sequence[str] = (),
        faces: tuple[Face, ...] = FACES,
    ) -> None:
        self.name = name
        self.faces = faces
        self.program = program
        self.settings = {"MODELYARD_DRAIN_SECONDS": "0.1", "MODELYARD_LOG_LEVEL": "warning", **(settings or {})}
        self.edit = edit
        self.settled_models = settled_models

    @contextmanager
    def start(self, model: str, onnx: Path, log: Path) -> Iterator[Server]:
        """Serve `model`; ready when /v2/health/ready says so."""
        folder = self._repository(model, onnx)
        http, grpc = free_port(), free_port()
        command = [*self.program, "serve", model, "--repository", str(folder)]
        command += ["--port", str(http), "--grpc-port", str(grpc)]
        ready = "/v2/health/ready"
        with launched(command, lambda: answers(http, ready), log, environment(self.settings)) as pid:
            path = f"/v2/models/{model}/infer"
            ways = {face: ("", grpc) if face == "oip-grpc" else (path, http) for face in FACES}
            endpoints = {face: Endpoint(face, HOST, port, path, model) for face, (path, port) in ways.items()}
            server = Server(self.name, model, pid, endpoints, version=version("modelyard"))
            if model in self.settled_models:
                _settle(server)
            yield server

    def _repository(self, model: str, onnx: Path) -> Path:
        plain = repository(model, onnx)
        folder = REPOSITORIES / f"{model}-{self.name.replace(' ', '-')}"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(plain, folder)
        spec = folder / model / "model.yaml"
        content = yaml.safe_load(spec.read_text())
        (self.edit or patient)(content)
        spec.write_text(yaml.safe_dump(content, sort_keys=False))
        return folder


def _settle(server: Server) -> None:
    """Send different rows until the server has decided about its cache; bounded in time on a slow machine."""
    for number in range(EVIDENCE_SLICES):
        measure(Job(server.endpoints["oip-json"], server.model, 32, 1.5, 0.0, EVIDENCE_SLOT + number, check=False))
        if decided(server, "memory"):
            return
