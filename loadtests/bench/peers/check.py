"""Is each peer fit to be measured: it installs, starts, answers over every face what ONNX Runtime does, and ends.

It also listens on the loopback alone, and leaves no process behind.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import psutil

from loadtests.bench.checks import fault
from loadtests.bench.core import LOGS
from loadtests.bench.environments import InstallFailed, Say
from loadtests.bench.models import model_path
from loadtests.bench.peers.recipe import MARK, Peer, marked
from loadtests.bench.process import tail, tree

MODELS = ("mlp", "encoder")


@dataclass(frozen=True)
class Finding:
    """What one face of one peer did; `problem` is empty when it is right."""

    peer: str
    version: str
    model: str
    face: str
    start_seconds: float = 0.0
    processes: int = 0
    problem: str = ""


def check(peers: Iterable[Peer], models: Sequence[str] = MODELS, say: Say = print) -> list[Finding]:
    """Check every peer with every model, one server at a time."""
    findings: list[Finding] = []
    for peer in peers:
        try:
            peer.install(say)
        except InstallFailed as failure:
            findings.append(Finding(peer.name, peer.version, "-", "-", problem=f"does not install: {failure}"))
            continue
        for model in models:
            say(f"{peer.name}: {model}")
            findings += _check(peer, model)
    return findings


def _check(peer: Peer, model: str) -> list[Finding]:
    log = LOGS / f"check-{peer.name}-{model}.log"
    log.unlink(missing_ok=True)
    begun, found, mark = time.monotonic(), [], ""
    try:
        with peer.start(model, model_path(model), log) as server:
            took = time.monotonic() - begun
            processes, mark = len(tree(server.pid)), psutil.Process(server.pid).environ()[MARK]
            if ports := exposed(server.pid):
                found.append(Finding(peer.name, peer.version, model, "-", problem=f"open to the network: {ports}"))
            for face, endpoint in server.endpoints.items():
                trouble = fault(endpoint, model)
                found.append(Finding(peer.name, peer.version, model, face, took, processes, trouble))
    except (RuntimeError, OSError) as failure:
        found.append(Finding(peer.name, peer.version, model, "-", problem=str(failure) or tail(log)))
    if left := marked(mark):
        names = ", ".join(process.name() for process in left)
        found.append(Finding(peer.name, peer.version, model, "-", problem=f"left running: {names}"))
    return found


def exposed(pid: int) -> list[str]:
    """The ports of a server that listen on more than the loopback."""
    ports: list[str] = []
    for process in tree(pid):
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            heard = (one.laddr for one in process.net_connections("tcp") if one.status == psutil.CONN_LISTEN)
            ports += [f"{process.name()} {one.ip}:{one.port}" for one in heard if not is_loopback(one.ip)]
    return ports


def is_loopback(address: str) -> bool:
    """Whether a listening address is reached from this machine alone."""
    return ipaddress.ip_address(address.removeprefix("::ffff:")).is_loopback
