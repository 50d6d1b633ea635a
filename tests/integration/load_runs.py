"""Load tests as a user starts them, in processes of their own, and what they left behind."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.integration.harness import Server, clean_environment

ROOT = Path(__file__).resolve().parents[2]
PATIENT = ("--p99", "30000", "--achieved", "0.3", "--metrics-port", "0")
"""For a machine that does other things: what a test is not about must not break it."""
KINDS = ("json", "binary", "grpc", "typed")
SECONDS = 110.0


@dataclass(frozen=True)
class Run:
    code: int
    out: str
    folder: Path

    @property
    def summary(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads((self.folder / "summary.json").read_text())
        return document

    @property
    def broken(self) -> list[str]:
        """The thresholds that were broken, as the terminal names them."""
        return [line.removeprefix("broken: ") for line in self.out.splitlines() if line.startswith("broken: ")]

    def answered(self) -> dict[str, int]:
        """Right and wrong answers by the name of the requests."""
        return {kind["name"]: kind["good"] + kind["wrong"] for kind in self.summary["kinds"]}


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Without a developer's own options."""
    own = {k: v for k, v in clean_environment(extra).items() if not k.startswith(("LOCUST_", "LOADTEST_"))}
    return {**own, "PYTHONPATH": str(ROOT), **(extra or {})}


def start(*arguments: str | Path, cwd: Path = ROOT, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "loadtests.load", *map(str, arguments)]
    return subprocess.Popen(
        command, cwd=cwd, env=environment(env), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def run(
    folder: Path, *arguments: str | Path, cwd: Path = ROOT, env: Mapping[str, str] | None = None, patient: bool = True
) -> Run:
    """A whole load test with its reports in `folder`; later options win over the patient ones."""
    before = [*(PATIENT if patient else ()), "--reports", folder]
    with start(*before, *arguments, cwd=cwd, env=env) as process:
        try:
            out, _ = process.communicate(timeout=SECONDS)
        finally:
            process.terminate()
    return Run(process.returncode, out, folder)


def against(server: Server, repository: Path) -> list[str | Path]:
    """The options that point at a running server."""
    return ["--host", server.url, "--grpc", server.grpc, "--model", server.name, "--repository", repository]


def rewrite(version: Path, name: str, change: Callable[[Path], None]) -> None:
    """Change a file of a version, and its manifest with it."""
    path, manifest = version / name, version / "manifest.json"
    change(path)
    document = json.loads(manifest.read_text())
    content = path.read_bytes()
    document["files"][name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    manifest.write_text(json.dumps(document))


def drop_golden(version: Path) -> None:
    """A server refuses a version that does not give its golden answers: without them it has to take any model."""
    manifest = version / "manifest.json"
    document = json.loads(manifest.read_text())
    name = document.pop("golden")
    del document["files"][name]
    (version / name).unlink()
    manifest.write_text(json.dumps(document))


def with_wrong_labels(path: Path) -> None:
    """Every row of an evaluation gets the truth of the next class."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    truth = arrays["truth"]
    arrays["truth"] = (truth + 1) % (truth.max() + 1)
    with path.open("wb") as file:
        np.savez(file, **arrays)
