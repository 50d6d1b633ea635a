"""Processes from outside: start one and wait until it is ready, what its tree uses, end the whole tree."""

from __future__ import annotations

import http.client
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from loadtests.bench.core import HOST, ROOT, Endpoint

READY_SECONDS = 120.0
STOP_SECONDS = 10.0


@dataclass(frozen=True)
class Usage:
    """What a process tree has used so far (CPU) and holds now (memory, file descriptors)."""

    cpu_seconds: float
    rss_bytes: int
    fds: int
    processes: int


def tree(pid: int) -> list[psutil.Process]:
    """The process and its descendants; empty when it is gone."""
    try:
        top = psutil.Process(pid)
        return [top, *top.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def usage(pid: int) -> Usage:
    """What the tree of `pid` uses."""
    cpu, rss, fds, count = 0.0, 0, 0, 0
    for process in tree(pid):
        try:
            with process.oneshot():
                times = process.cpu_times()
                # children_*: of those that have ended, which are no longer in the tree
                cpu += times.user + times.system + times.children_user + times.children_system
                rss += process.memory_info().rss
                fds += process.num_fds()
                count += 1
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return Usage(cpu, rss, fds, count)


def end_tree(pid: int, seconds: float = STOP_SECONDS) -> None:
    """SIGTERM to `pid`; after `seconds`, SIGKILL to whatever is left of its tree."""
    family = tree(pid)
    if not family:
        return
    family[0].terminate()
    psutil.wait_procs(family[:1], timeout=seconds)
    left = [process for process in family if process.is_running()]
    for process in left:
        process.kill()
    psutil.wait_procs(left, timeout=seconds)


@contextmanager
def pinned(use: Sequence[int] | None) -> Iterator[None]:
    """Whatever is started inside the block runs on the cores `use`: a child inherits them. None: all cores."""
    before = os.sched_getaffinity(0)
    if use is not None:
        os.sched_setaffinity(0, use)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def launched(
    command: Sequence[str | Path],
    ready: Callable[[], bool],
    log: Path,
    environment: Mapping[str, str] | None = None,
    folder: Path = ROOT,
    seconds: float = READY_SECONDS,
) -> Iterator[int]:
    """Start `command`, wait until `ready()` is true, give its pid; end its tree afterwards.

    RuntimeError with the end of its log when it ends or is not ready within `seconds`.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            [str(part) for part in command],
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            cwd=folder,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
    try:
        _await(process, ready, log, seconds)
        yield process.pid
    finally:
        end_tree(process.pid)
        process.wait(STOP_SECONDS)


def _await(process: subprocess.Popen[bytes], ready: Callable[[], bool], log: Path, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        code = process.poll()
        if code is not None:
            raise RuntimeError(f"ended with {code} before it was ready: {tail(log)}")
        if time.monotonic() > deadline:
            raise RuntimeError(f"not ready within {seconds:g} s: {tail(log)}")
        time.sleep(0.1)


def answers(port: int, path: str, status: int = 200) -> bool:
    """Whether GET `path` is answered with `status`."""
    connection = http.client.HTTPConnection(HOST, port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == status
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def posts(endpoint: Endpoint, body: bytes, content_type: str = "application/json") -> bool:
    """Whether POST of `body` to `endpoint` is answered with 200: the sign of readiness of a peer without another."""
    connection = http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=5)
    try:
        connection.request("POST", endpoint.path, body, {"content-type": content_type})
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def tail(log: Path, lines: int = 4) -> str:
    """The last lines of a log, on one line."""
    text = log.read_text(errors="replace") if log.exists() else ""
    return " | ".join(line.strip() for line in text.splitlines()[-lines:] if line.strip())
