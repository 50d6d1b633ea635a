"""Real processes for the integration tests: a model server, a Redis server, and what they say of themselves.

A test never imports the library it tests: it starts `python -m modelyard`, as a user does, and talks to it
over the network. Everything listens on 127.0.0.1 on a free port and is ended by its own process id.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import psutil
import yaml

from modelyard.authoring.ports import free_port
from tests.integration.redis_process import RedisServer, redis_server

__all__ = [
    "CommandResult",
    "RedisServer",
    "Server",
    "free_port",
    "import_model",
    "modelyard",
    "redis_server",
    "serve",
]

READY_SECONDS = 60.0
STOP_SECONDS = 15.0
SAMPLE = re.compile(r"^(?P<name>[a-zA-Z_:][\w:]*)(?:\{(?P<labels>.*)\})?\s+(?P<value>\S+)$")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of the test run without any MODELYARD_ setting of the developer's own shell.

    GRPC_FRONT=http2 has all servers of a run serve gRPC by the other front (`make pytest` runs the tests of gRPC so).
    """
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MODELYARD_")}
    if front := os.environ.get("GRPC_FRONT"):
        environment["MODELYARD_GRPC_FRONT"] = front
    environment["BENTOML_DO_NOT_TRACK"] = "true"
    environment["PYTHONUNBUFFERED"] = "1"
    environment.update(extra or {})
    return environment


@dataclass(frozen=True)
class CommandResult:
    """What one run of the command line gave."""

    code: int
    out: str
    err: str


def modelyard(
    *arguments: str | Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float = 120.0,
) -> CommandResult:
    """Run `modelyard ARGUMENTS` to its end."""
    done = subprocess.run(
        [sys.executable, "-m", "modelyard", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=cwd,
        env=clean_environment(env),
        check=False,
    )
    return CommandResult(done.returncode, done.stdout, done.stderr)


def import_model(
    repository: Path,
    name: str,
    model: onnx.ModelProto,
    version: str = "1",
    edit: Callable[[dict[str, Any]], None] | None = None,
) -> None:
    """Bring `model` into `repository` with `modelyard import`; `edit` may change its model.yaml."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "model.onnx"
        onnx.save(model, source)
        done = modelyard("import", source, "--name", name, "--repository", repository, "--version", version)
    assert done.code == 0, f"import of {name} failed with {done.code}:\n{done.out}\n{done.err}"
    if edit is not None:
        spec = repository / name / "model.yaml"
        content = yaml.safe_load(spec.read_text())
        edit(content)
        spec.write_text(yaml.safe_dump(content, sort_keys=False))


@dataclass
class Server:
    """One running `modelyard serve`: where it listens, and what it tells."""

    name: str
    http_port: int
    grpc_port: int
    process: subprocess.Popen[bytes]
    log_path: Path

    @property
    def url(self) -> str:
        """The address for HTTP clients, with its scheme."""
        return f"http://{self.http}"

    @property
    def http(self) -> str:
        """host:port of the HTTP side (as tritonclient wants it)."""
        return f"127.0.0.1:{self.http_port}"

    @property
    def grpc(self) -> str:
        """host:port of the gRPC side."""
        return f"127.0.0.1:{self.grpc_port}"

    def log(self) -> str:
        """Everything the server has printed so far."""
        return self.log_path.read_text(errors="replace")

    def get(self, path: str, timeout: float = 10.0) -> tuple[int, bytes]:
        """GET `path` on a connection of its own: (status, body)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=timeout)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def status(self, path: str) -> int | None:
        """The status of GET `path`, or None when nobody answers."""
        try:
            return self.get(path, timeout=5.0)[0]
        except (OSError, http.client.HTTPException):
            return None

    def metrics(self) -> dict[str, float]:
        """Every sample of /metrics, keyed by name and labels as they stand in the exposition."""
        lines = self.get("/metrics")[1].decode().splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if line and not line.startswith("#"))
        return {key: float(value) for key, value in pairs}

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples called `name` that carry all of `labels`."""
        total = 0.0
        for key, value in self.metrics().items():
            sample = SAMPLE.match(f"{key} 0")
            if sample is None or sample["name"] != name:
                continue
            own = dict(LABEL.findall(sample["labels"] or ""))
            if labels.items() <= own.items():
                total += value
        return total

    def statistics(self, model: str | None = None) -> dict[str, Any]:
        """The first entry of the statistics extension for `model` (the served one when not given)."""
        status, body = self.get(f"/v2/models/{model or self.name}/stats")
        assert status == 200, body
        first: dict[str, Any] = json.loads(body)["model_stats"][0]
        return first

    def processes(self) -> list[psutil.Process]:
        """The server's process and its descendants."""
        try:
            top = psutil.Process(self.process.pid)
            return [top, *top.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def memory_bytes(self) -> int:
        """Resident memory of the server and its descendants."""
        total = 0
        for process in self.processes():
            try:
                total += process.memory_info().rss
            except psutil.NoSuchProcess:
                continue
        return total

    def wait_ready(self, seconds: float = READY_SECONDS) -> None:
        """Return once /v2/health/ready answers 200; fail with the log when it dies or is late."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            code = self.process.poll()
            if code is not None:
                raise AssertionError(f"the server of {self.name} ended with {code}:\n{self.log()}")
            if self.status("/v2/health/ready") == 200:
                return
            time.sleep(0.1)
        raise AssertionError(f"the server of {self.name} was not ready within {seconds} s:\n{self.log()}")

    def stop(self, seconds: float = STOP_SECONDS) -> int:
        """SIGTERM, then after `seconds` SIGKILL to it and to its descendants. Returns the exit code."""
        family = self.processes()
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
        for process in family:
            try:
                if process.pid != self.process.pid and process.is_running():
                    process.kill()
            except psutil.NoSuchProcess:
                continue
        return self.process.wait(10)


def start(
    repository: Path,
    name: str,
    log_path: Path,
    *,
    env: Mapping[str, str] | None = None,
    workers: int = 1,
    arguments: Sequence[str] = (),
) -> Server:
    """Start a server process on free ports, without waiting for it. Prefer `serve`."""
    http_port, grpc_port = free_port(), free_port()
    command = [sys.executable, "-m", "modelyard", "serve", name, "--repository", str(repository)]
    command += ["--port", str(http_port), "--grpc-port", str(grpc_port), "--workers", str(workers)]
    settings = clean_environment({"MODELYARD_DRAIN_SECONDS": "0.1", **(env or {})})
    with log_path.open("ab") as log:
        process = subprocess.Popen(
            [*command, *arguments], stdout=log, stderr=subprocess.STDOUT, env=settings, start_new_session=True
        )
    return Server(name, http_port, grpc_port, process, log_path)


@contextmanager
def serve(
    repository: Path,
    name: str,
    env: Mapping[str, str] | None = None,
    workers: int = 1,
    arguments: Sequence[str] = (),
) -> Iterator[Server]:
    """A ready server of model `name`; ended when the block ends.

    The drain time is 0.1 s unless `env` says otherwise, so that a run of many servers ends quickly.
    """
    with tempfile.TemporaryDirectory() as folder:
        server = start(repository, name, Path(folder) / "server.log", env=env, workers=workers, arguments=arguments)
        try:
            server.wait_ready()
            yield server
        finally:
            server.stop()
