"""A Python environment for each peer: `peers/<name>/requirements.txt` in, `build/bench/envs/<name>/bin/python` out.

It is made once and kept; a mark in it holds the digest of the requirements it was made from, so that a changed file
makes it anew. What cannot be installed is an `InstallFailed` with pip's reason: the run goes on without that peer.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from loadtests.bench.core import WORK

PEERS = Path(__file__).parent / "peers"
ENVIRONMENTS = WORK / "envs"
INSTALL_SECONDS = 1200.0
PROGRESS_SECONDS = 15.0
READY = ".ready"

Say = Callable[[str], None]


class InstallFailed(Exception):
    """The environment of a peer could not be made; the text is the reason."""


def environment(name: str, say: Say = print) -> Path:
    """The Python of the environment `name`, made now if it is not there or was made from other requirements."""
    folder, requirements = ENVIRONMENTS / name, PEERS / name / "requirements.txt"
    if not is_ready(folder, requirements):
        _make(folder, requirements, say)
    return python_of(folder)


def python_of(folder: Path) -> Path:
    """The interpreter of an environment."""
    return folder / "bin" / "python"


def digest(requirements: Path) -> str:
    """What the environment depends on: the pinned packages and the version of Python."""
    text = f"python {sys.version_info.major}.{sys.version_info.minor}\n" + "\n".join(_pins(requirements))
    return hashlib.sha256(text.encode()).hexdigest()


def is_ready(folder: Path, requirements: Path) -> bool:
    """Whether the environment is whole and was made from these requirements."""
    mark = folder / READY
    return mark.exists() and mark.read_text().strip() == digest(requirements)


def version(name: str, package: str) -> str:
    """The version of `package` that the requirements of `name` pin; empty when they do not."""
    for pin in _pins(PEERS / name / "requirements.txt"):
        pinned, _, number = pin.partition("==")
        if pinned.lower() == package.lower():
            return number
    return ""


def reason(lines: Iterable[str], count: int = 3) -> str:
    """Why pip failed, on one line: its errors, or else the last it said."""
    said = [line.strip() for line in lines if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in said if line.startswith("ERROR:")]
    return " | ".join((errors or said)[-count:])


def _pins(requirements: Path) -> list[str]:
    lines = (line.partition("#")[0].strip() for line in requirements.read_text().splitlines())
    return [line for line in lines if line]


def _make(folder: Path, requirements: Path, say: Say) -> None:
    begun, count = time.monotonic(), len(_pins(requirements))
    say(f"{folder.name}: installing {count} packages")
    shutil.rmtree(folder, ignore_errors=True)  # a half-made one has no mark
    try:
        _run([sys.executable, "-m", "venv", str(folder)], lambda _: None)
        # no cache: some of these peers are hundreds of megabytes, and they are installed once
        install = [str(python_of(folder)), "-m", "pip", "install", "--no-cache-dir", "--disable-pip-version-check"]
        _run([*install, "-r", str(requirements)], _Progress(folder.name, count, say))
    except InstallFailed:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    (folder / READY).write_text(digest(requirements) + "\n")
    say(f"{folder.name}: installed in {time.monotonic() - begun:.0f} s")


class _Progress:
    """Reads what pip says and says now and then how far it is."""

    def __init__(self, name: str, count: int, say: Say) -> None:
        self.name, self.count, self.say = name, count, say
        self.collected, self.said_at = 0, time.monotonic()

    def __call__(self, line: str) -> None:
        self.collected += line.startswith("Collecting ")
        if time.monotonic() - self.said_at < PROGRESS_SECONDS:
            return
        self.said_at = time.monotonic()
        what = "writing files" if line.startswith("Installing ") else f"{self.collected} of {self.count} packages found"
        self.say(f"{self.name}: {what}")


def _run(command: list[str], each_line: Callable[[str], None]) -> None:
    lines: list[str] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        timer = threading.Timer(INSTALL_SECONDS, process.kill)
        timer.start()
        try:
            for line in process.stdout or ():
                lines.append(line)
                each_line(line)
            process.wait()
        finally:
            timer.cancel()
            process.kill()  # interrupted: leave no pip behind; one that has ended does not mind
    if process.returncode != 0:
        raise InstallFailed(reason(lines) or f"ended with {process.returncode}")
