"""How many cores this process may use: in a container, or pinned, these are fewer than the machine has."""

import math
import os
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")


def usable_cores(cgroups: Path = _CGROUPS, own: Path = Path("/proc/self/cgroup")) -> int:
    """By affinity, and by the CPU limits (cpu.max of cgroup v2) of this process's group and those around it.

    A limit of one and a half cores is two: a thread that is held back now and then beats half a core left idle.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([cores, *(math.ceil(limit) for limit in _limits(cgroups, own))]))


def _limits(cgroups: Path, own: Path) -> list[float]:
    try:
        lines = own.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):  # no Linux
        return []
    path = next((line.removeprefix("0::").lstrip("/") for line in lines if line.startswith("0::")), "")
    group = cgroups / path
    return [limit for each in (group, *group.parents) if (limit := _limit(each / "cpu.max"))]


def _limit(file: Path) -> float | None:
    """Cores that "QUOTA PERIOD" stands for; None for "max PERIOD", or where there is no such file."""
    try:
        quota, period = file.read_text(encoding="ascii").split()
        return int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None
