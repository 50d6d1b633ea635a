"""A real prometheus, promtool, alertmanager and amtool, without root and without a daemon.

    PATH (2.42 or newer) -> build/tools/prometheus (fetched before) -> Debian packages, unpacked there

`tool("promtool")` gives the path; `python -m tests.tools.prometheus` fetches them all and prints where they are.
Debian's binaries need a Debian or Ubuntu of 2022 or later; elsewhere put https://prometheus.io/download's on PATH.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

from tests.tools.debian import unpacked

PACKAGES = ("prometheus", "prometheus-alertmanager")
TOOLS = {
    "prometheus": "prometheus",
    "promtool": "promtool",
    "alertmanager": "prometheus-alertmanager",
    "amtool": "amtool",
}
"""Name, and what Debian calls it."""
LEAST = {"prometheus": (2, 42), "promtool": (2, 42), "alertmanager": (0, 24), "amtool": (0, 24)}
"""2.42 is the first that knows keep_firing_for."""
OTHERWISE = (
    "put prometheus, promtool, alertmanager and amtool (2.42 and 0.24 or newer) on PATH: https://prometheus.io/download"
)


@cache
def tool(name: str) -> Path:
    """The path of one of TOOLS, fetched if need be. Raises RuntimeError that says how to get it."""
    on_path = shutil.which(name)
    if on_path and _version(Path(on_path)) >= LEAST[name]:
        return Path(on_path)
    return unpacked("prometheus", PACKAGES, OTHERWISE) / "usr" / "bin" / TOOLS[name]


def _version(path: Path) -> tuple[int, ...]:
    done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=20, check=False)
    found = re.search(r"version (\d+)\.(\d+)", done.stdout + done.stderr)
    return tuple(map(int, found.groups())) if found else (0,)


if __name__ == "__main__":
    sys.stdout.writelines(f"{name} {tool(name)}\n" for name in TOOLS)
