"""A real kubectl to talk to an API server: that of PATH, else Debian's 1.20, fetched once into build/tools/.

`python -m tests.tools.client` prints where they are. That scripts run with 1.20 too shows that they ask for
nothing new.
"""

from __future__ import annotations

import shutil
import sys
from functools import cache
from pathlib import Path

from tests.tools.debian import unpacked


@cache
def client() -> Path:
    """Raises RuntimeError that says how to get it."""
    found = shutil.which("kubectl")
    return Path(found) if found else debian_client()


def debian_client() -> Path:
    otherwise = "put kubectl on PATH (https://kubernetes.io/docs/tasks/tools)"
    return unpacked("kubectl", ["kubernetes-client"], otherwise) / "usr" / "bin" / "kubectl"


if __name__ == "__main__":
    sys.stdout.write(f"{client()}\n{debian_client()}\n")
