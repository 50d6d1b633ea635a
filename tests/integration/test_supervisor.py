"""The supervisor of several workers: one that was killed is soon replaced, whenever that was."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest

from tests.integration.calls import ask, until
from tests.integration.harness import Server, import_model, serve
from tests.integration.onnx_models import gather_table

NAME = "kept_up"
MANY = 60.0
"""Seconds that a busy machine may take."""


def children(server: Server) -> set[int]:
    """Of the supervisor: a worker is among them from the moment at which it is started."""
    return {each.pid for each in psutil.Process(server.process.pid).children()}


def listening(server: Server) -> dict[int, psutil.Process]:
    """Workers that serve."""
    found = {}
    for process in psutil.Process(server.process.pid).children():
        try:
            if any(each.status == psutil.CONN_LISTEN for each in process.net_connections("tcp")):
                found[process.pid] = process
        except psutil.NoSuchProcess:
            continue
    return found


@contextmanager
def requests(server: Server) -> Iterator[None]:
    """One after the other, each on a connection of its own; those of a worker that dies are lost."""
    end = threading.Event()
    tensor = {"name": "index", "datatype": "INT64", "shape": [1, 1], "data": [1]}

    def run() -> None:
        while not end.wait(0.02):
            try:
                httpx.post(f"{server.url}/v2/models/{NAME}/infer", json={"inputs": [tensor]}, timeout=2.0)
            except httpx.TransportError:
                continue

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        end.set()
        for thread in threads:
            thread.join()


def replaced_within(server: Server, victim: psutil.Process, seconds: float) -> None:
    before = children(server)
    victim.send_signal(signal.SIGKILL)
    until(lambda: bool(children(server) - before), "another has taken its place", seconds)


@pytest.mark.timeout(300)
def test_a_worker_that_dies_before_it_says_that_it_lives_is_replaced_soon(tmp_path: Path) -> None:
    """The supervisor has asked it, and would wait 30 s for the answer but for the end of the process."""
    import_model(tmp_path, NAME, gather_table(10))
    with serve(tmp_path, NAME, workers=2) as server:
        for number in range(2):
            until(lambda: len(listening(server)) == 2, "both workers listen", MANY)
            found = listening(server)
            victim = found[sorted(found)[number]]
            with requests(server):
                victim.send_signal(signal.SIGSTOP)
                time.sleep(2.0)  # it is asked every half second
                replaced_within(server, victim, 10.0)
        until(lambda: len(listening(server)) == 2, "both workers listen", MANY)
        assert ask(server, {"index": np.array([[1]], np.int64)}).version == "1"
