"""How a peer is started and ended: its environment, free ports, its command, a first answer; then nothing is left.

The processes of a server carry a mark in their environment, which their children inherit: by it those are found that
left the tree of the server (Ray starts daemons).
"""

from __future__ import annotations

import os
import signal
import sysconfig
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from loadtests.bench import payloads
from loadtests.bench.core import HOST, Endpoint, Face, Server
from loadtests.bench.environments import PEERS as FOLDERS
from loadtests.bench.environments import Say, environment, version
from loadtests.bench.process import launched, posts
from modelyard.authoring.ports import free_port

START_SECONDS = 120.0
SWEEP_SECONDS = 5.0
MARK = "BENCH_SERVER"


@dataclass(frozen=True)
class Peer:
    """One peer; a Recipe. `environment` is added to that of its processes."""

    name: str
    title: str
    package: str
    folder: str
    faces: tuple[Face, ...]
    path: str
    command: str
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def version(self) -> str:
        """The version that its requirements pin."""
        return version(self.folder, self.package)

    def install(self, say: Say = print) -> Path:
        """Its Python; InstallFailed with the reason when it cannot be had."""
        return environment(self.folder, say)

    @contextmanager
    def start(self, model: str, onnx: Path, log: Path) -> Iterator[Server]:
        """Serve `model` from the file `onnx`: ready when a real request is answered; no process is left afterwards."""
        python, mark = self.install(), uuid.uuid4().hex
        with ExitStack() as stack:
            # short: the sockets of some peers lie in it, and the path of a socket has at most 107 bytes
            work = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True))
            stack.callback(sweep, mark)
            words = self._words(model, python, Path(work))
            command = [word.format_map(words) for word in self.command.split()]
            variables = self._variables(words, onnx, mark)
            server = self._server(model, words)
            ready = _Ready(server, model)
            server.pid = stack.enter_context(launched(command, ready, log, variables, Path(work), START_SECONDS))
            yield server

    def _words(self, model: str, python: Path, work: Path) -> dict[str, str]:
        ports = {name: str(free_port()) for name in ("port", "grpc_port", "side_port")}
        folder, shared = FOLDERS / self.folder, FOLDERS / "shared"
        paths = {"python": python, "bin": python.parent, "work": work, "folder": folder, "shared": shared}
        libpython = str(sysconfig.get_config_var("LIBDIR"))
        return {**ports, **{name: str(path) for name, path in paths.items()}, "libpython": libpython, "model": model}

    def _variables(self, words: Mapping[str, str], onnx: Path, mark: str) -> dict[str, str]:
        common = {
            MARK: mark,
            "BENCH_MODEL": words["model"],
            "BENCH_ONNX": str(onnx.resolve()),
            "BENCH_PORT": words["port"],
            "BENCH_GRPC_PORT": words["grpc_port"],
            "BENCH_SIDE_PORT": words["side_port"],
            "PYTHONPATH": words["shared"],
            "PYTHONUNBUFFERED": "1",
            "PATH": words["bin"] + os.pathsep + os.environ.get("PATH", os.defpath),
            "TMPDIR": words["work"],
        }
        return {**common, **{name: value.format_map(words) for name, value in self.environment.items()}}

    def _server(self, model: str, words: Mapping[str, str]) -> Server:
        endpoints: dict[Face, Endpoint] = {}
        for face in self.faces:
            port = int(words["grpc_port" if face == "oip-grpc" else "port"])
            path = "" if face == "oip-grpc" else self.path.format_map(words)
            endpoints[face] = Endpoint(face, HOST, port, path, model)
        return Server(self.name, model, 0, endpoints, version=self.version)


class _Ready:
    """Asks the first face over HTTP until it infers; every peer has one."""

    def __init__(self, server: Server, model: str) -> None:
        self.endpoint = next(one for face, one in server.endpoints.items() if face in ("json", "oip-json"))
        self.body, _ = payloads.body(self.endpoint.face, model, payloads.row(model, 0))

    def __call__(self) -> bool:
        return posts(self.endpoint, self.body)


def marked(mark: str) -> list[psutil.Process]:
    """The processes of this user that carry the mark of a server."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return found


def sweep(mark: str, seconds: float = SWEEP_SECONDS) -> int:
    """End what is left of a server; how many processes that were. They get a second to end by themselves."""
    left = marked(mark)
    _, left = psutil.wait_procs(left, timeout=1.0) if left else ([], [])
    count, deadline = len(left), time.monotonic() + seconds
    while left and time.monotonic() < deadline:  # again: one may start another meanwhile
        for process in left:
            with _gone():
                process.send_signal(signal.SIGKILL)
        psutil.wait_procs(left, timeout=1.0)
        left = marked(mark)
    return count


@contextmanager
def _gone() -> Iterator[None]:
    try:
        yield
    except psutil.NoSuchProcess:
        return
