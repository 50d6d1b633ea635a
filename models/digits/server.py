"""`modelyard serve digits` as a child process that never outlives its parent."""

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
from rich.console import Console

FOLDER = Path(__file__).resolve().parent
HOST = "127.0.0.1"
DEFAULT_PORTS = {"MODELYARD_HTTP_PORT": 3000, "MODELYARD_GRPC_PORT": 3001}
START_SECONDS = 90
STOP_SECONDS = 45
LOG_LINES = 20
PR_SET_PDEATHSIG = 1  # linux/prctl.h


class StartError(Exception):
    """The server could not be started, or it ended before it was asked to."""


def ports() -> tuple[int, int]:
    """The ports for HTTP and gRPC. Raises StartError when one is taken."""
    http, over_grpc = (_port(name, default) for name, default in DEFAULT_PORTS.items())
    return http, over_grpc


def _port(name: str, default: int) -> int:
    text = os.environ.get(name, "") or str(default)
    if not text.isdecimal() or int(text) > 65535:
        raise StartError(f"{name}={text}: a port is a number from 0 to 65535")
    with socket.socket() as probe:
        # As a server would: a connection that is merely closing does not count as taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, int(text)))
        except OSError as error:
            raise StartError(f"port {text} cannot be had ({error.strerror}); set {name} to another") from None
        port: int = probe.getsockname()[1]
        return port


class Server:
    """A context: the process runs inside it and is gone after it."""

    def __init__(self, http_port: int, grpc_port: int) -> None:
        self.url = f"http://{HOST}:{http_port}"
        self.grpc_address = f"{HOST}:{grpc_port}"
        self.log = FOLDER / "build" / "server.log"
        self._arguments = ["--port", str(http_port), "--grpc-port", str(grpc_port)]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.log.parent.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "modelyard", "serve", FOLDER.name, "--repository", str(FOLDER.parent)]
        # No balancer has to notice that we stop, so there is nothing to wait for.
        environment = {"MODELYARD_DRAIN_SECONDS": "0", **os.environ}
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [*command, *self._arguments],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches us alone; we stop the server in order
                preexec_fn=_end_with_parent(),  # noqa: PLW1509  it makes one system call
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        process = self._running()
        if process.poll() is not None:
            return
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # impatience must not leave the server behind
        print("stopping the server", flush=True)
        process.terminate()
        try:
            status = process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise StartError(f"the server did not stop within {STOP_SECONDS} s; its log: {self.log}") from error
        if status != 0 and error is None:
            raise StartError(f"the server stopped with status {status}; its log: {self.log}")

    def wait_until_ready(self) -> None:
        """Return when the model answers. Raises StartError when it does not come to that."""
        deadline = time.monotonic() + START_SECONDS
        print(f"starting the server on {self.url}", flush=True)
        with (
            Console().status("waiting until it is ready"),
            httpx.Client(timeout=2, trust_env=False) as client,
        ):
            while time.monotonic() < deadline:
                if self._running().poll() is not None:
                    raise StartError(f"the server did not start; the end of {self.log}:\n{self._tail()}")
                with contextlib.suppress(httpx.HTTPError):
                    if client.get(f"{self.url}/readyz").is_success:
                        return
                time.sleep(0.1)
        raise StartError(f"the server was not ready within {START_SECONDS} s; its log:\n{self._tail()}")

    def wait(self) -> None:
        """Return when the server has ended by itself."""
        self._running().wait()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise StartError("the server was not started")
        return self._process

    def _tail(self) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(f"  {line}" for line in lines[-LOG_LINES:])


def _end_with_parent() -> Callable[[], None] | None:
    """Linux tells the child when its parent is gone, also when that was killed and could tidy nothing."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    return lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
