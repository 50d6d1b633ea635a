"""Where and with what a run was taken: the machine, the versions, the commit."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from loadtests.bench.core import ROOT, cores

PACKAGES = ("modelyard", "onnxruntime", "uvicorn", "uvloop", "httptools", "grpcio", "bentoml", "numpy", "orjson")


def machine() -> dict[str, Any]:
    """Processor, cores, memory, operating system."""
    return {
        "cpu": _cpu(),
        "cores": len(cores()),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "distribution": _distribution(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
    }


def packages(names: Sequence[str] = PACKAGES) -> dict[str, str]:
    """The versions of those that are installed; by default of what ours is made of."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def now() -> str:
    """The time in UTC, to the minute."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


def commit() -> str:
    """The commit of the working tree, marked when it has changes; empty outside git."""
    try:
        command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=10, check=False)
    except OSError:
        return ""
    return done.stdout.strip()


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        return ""
