"""The catalog of peers is complete, and of a server that was ended nothing runs on."""

from __future__ import annotations

import os
import re
import string
import subprocess
import sys
import uuid
from collections.abc import Iterator

import psutil
import pytest

from loadtests.bench.environments import PEERS as FOLDERS
from loadtests.bench.environments import version
from loadtests.bench.peers.catalog import PEERS, peer
from loadtests.bench.peers.check import is_loopback
from loadtests.bench.peers.recipe import MARK, Peer, marked, sweep

KNOWN = {"python", "bin", "folder", "shared", "work", "libpython", "model", "port", "grpc_port", "side_port"}
PIN = re.compile(r"[A-Za-z0-9._-]+==[A-Za-z0-9._+!]+")
each_peer = pytest.mark.parametrize("one", PEERS, ids=lambda one: one.name)


@each_peer
def test_every_package_is_pinned(one: Peer) -> None:
    lines = (FOLDERS / one.folder / "requirements.txt").read_text().splitlines()
    assert [line for line in lines if not PIN.fullmatch(line)] == []
    assert one.version


@each_peer
def test_can_be_started(one: Peer) -> None:
    assert (FOLDERS / one.folder / "serve.py").exists()
    assert {"json", "oip-json"} & set(one.faces), "its readiness is asked over one of these"
    for text in (one.path, one.command, *one.environment.values()):
        assert {name for _, name, _, _ in string.Formatter().parse(text) if name} <= KNOWN


def test_names_are_unique() -> None:
    assert len({one.name for one in PEERS}) == len(PEERS)
    assert peer("mosec").title == "Mosec"
    with pytest.raises(KeyError, match="nothing is none of"):
        peer("nothing")


def test_all_run_one_onnxruntime() -> None:
    assert len({version(one.folder, "onnxruntime") for one in PEERS}) == 1


@pytest.mark.parametrize(
    ("address", "alone"),
    [("127.0.0.1", True), ("::ffff:127.0.0.1", True), ("::1", True), ("::", False), ("0.0.0.0", False)],
)
def test_is_loopback(address: str, alone: bool) -> None:
    assert is_loopback(address) is alone


@pytest.fixture
def mark() -> Iterator[str]:
    """A mark of a server; what carries it is ended."""
    name = uuid.uuid4().hex
    yield name
    sweep(name)


def _sleeper(mark: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", "print(flush=True); import time; time.sleep(60)"]
    process = subprocess.Popen(command, env={**os.environ, MARK: mark}, start_new_session=True, stdout=subprocess.PIPE)
    with process.stdout or pytest.fail("no pipe") as pipe:
        pipe.readline()  # it has its own environment from here on
    return process


def test_sweep_ends_what_carries_the_mark(mark: str) -> None:
    left, other = _sleeper(mark), _sleeper("another")
    try:
        assert [process.pid for process in marked(mark)] == [left.pid]
        assert sweep(mark) == 1
        assert not psutil.pid_exists(left.pid)
        assert other.poll() is None
    finally:
        for process in (left, other):
            process.kill()
            process.wait(5)


def test_sweep_of_nothing(mark: str) -> None:
    assert sweep(mark) == 0
