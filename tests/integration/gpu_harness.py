"""A server that has a GPU, as far as it can tell: real processes over the fake CUDA and TensorRT of tests/fakes.

    Gpu (a JSON file that the fakes read again and again, a folder of engines)
        -> PYTHONPATH, FAKE_GPU, MODELYARD_ENGINE_FOLDER -> server, its probes, its builders

The model is `echo`, y = x, its cache off: each answer proves itself, and each request runs the backend.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import psutil
import yaml

from tests.integration.calls import until
from tests.integration.harness import READY_SECONDS, CommandResult, Server, import_model, modelyard, start
from tests.integration.onnx_models import affine

NAME = "echo"
FAKES = Path(__file__).resolve().parents[1] / "fakes"
ENGINE, CUDA, CPU = "tensorrt", "onnxruntime-cuda", "onnxruntime-cpu"
CHAIN = (ENGINE, CUDA, CPU)
CHILD = "modelyard.backends.engine.child"
NO_CUDA = {"ort_cuda": {"available": False}}
"""As with the build of ONNX Runtime for the CPU alone."""
BUCKETS = (1, 4)


@dataclass
class Gpu:
    """A fake device that several processes share, and steer together."""

    folder: Path
    path: str = str(FAKES)
    """What stands first on the servers' sys.path."""
    reported: bool = field(default=True, repr=False)

    def __post_init__(self) -> None:
        self.set()

    @property
    def file(self) -> Path:
        """The file of faults."""
        return self.folder / "gpu.json"

    @property
    def engines(self) -> Path:
        """The engine store."""
        return self.folder / "engines"

    def set(self, **faults: Any) -> None:
        """From now on the device behaves like this; what is not named is well."""
        if self.reported:
            faults["report"] = str(self.folder / "report.jsonl")
        draft = self.file.with_suffix(".draft")
        draft.write_text(json.dumps(faults))
        draft.replace(self.file)

    def env(self, **settings: object) -> dict[str, str]:
        """The environment of a process with this GPU; `settings` are MODELYARD_ ones, in small letters."""
        own = {"PYTHONPATH": self.path, "FAKE_GPU": str(self.file), "MODELYARD_ENGINE_FOLDER": str(self.engines)}
        return own | {f"MODELYARD_{name.upper()}": str(value) for name, value in settings.items()}

    def plans(self) -> list[Path]:
        """The plans in the store, named by a manifest or not."""
        return sorted(self.engines.glob("*.plan*"))

    def manifests(self) -> list[Path]:
        """What the store says of its engines."""
        return [path for path in sorted(self.engines.glob("*.json")) if not path.name.startswith("refusal-")]

    def reports(self) -> list[dict[str, Any]]:
        """What the device says of each process that has ended by itself."""
        path = self.folder / "report.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def built(self) -> int:
        """How many builders got as far as to build."""
        return sum(report["counts"].get("builds", 0) for report in self.reports())

    def misuse(self) -> list[str]:
        """What those processes did that a real device would not forgive."""
        return [text for report in self.reports() for text in report["violations"]]

    def children(self) -> list[psutil.Process]:
        """Processes that probe this device or build for it."""
        found = []
        for process in psutil.process_iter(["cmdline", "environ"]):
            command, environment = process.info["cmdline"] or [], process.info["environ"] or {}
            if CHILD in command and environment.get("FAKE_GPU") == str(self.file):
                found.append(process)
        return found

    def run(self, *arguments: str | Path, **settings: object) -> CommandResult:
        """`modelyard ARGUMENTS` with this GPU."""
        return modelyard(*arguments, env=self.env(**settings))


def gpu_with_engine(folder: Path, repository: Path) -> Gpu:
    """A device whose engine of `echo` is built ahead of time."""
    gpu = Gpu(folder)
    built = gpu.run("engines", "build", NAME, "--repository", repository)
    assert built.code == 0, built.err
    return gpu


@cache
def _imported() -> tempfile.TemporaryDirectory[str]:
    """A repository with version 1 of `echo`, imported once for a test run."""
    folder = tempfile.TemporaryDirectory()
    import_model(Path(folder.name), NAME, _echo(1))
    return folder


def _echo(version: int) -> onnx.ModelProto:
    """y = x, with another weight in each version where no answer shows it: each needs an engine of its own."""
    return affine(np.ones((1, 1), np.float32), np.array([1e-30 * version], np.float32))


def add_version(repository: Path, version: int) -> None:
    """Put a version of `echo` into a repository, whole or not at all."""
    target = repository / NAME / "versions" / str(version)
    draft = target.with_name(f".draft-{version}")
    shutil.copytree(Path(_imported().name) / NAME / "versions" / "1", draft)
    manifest = json.loads((draft / "manifest.json").read_text())
    artifact = draft / manifest["artifact"]
    onnx.save(_echo(version), artifact)
    raw = artifact.read_bytes()
    manifest["files"][artifact.name] = {"sha256": hashlib.sha256(raw).hexdigest(), "bytes": len(raw)}
    (draft / "manifest.json").write_text(json.dumps({**manifest, "version": str(version)}))
    draft.rename(target)


def echo_repository(folder: Path, edit: Callable[[dict[str, Any]], None] | None = None, **engine: Any) -> Path:
    """A repository with version 1 of `echo` on all three backends.

    `engine` goes into the link `tensorrt` of its model.yaml, and `edit` may change all of it.
    """
    links: list[dict[str, Any]] = [{"name": name} for name in CHAIN]
    spec = yaml.safe_load((Path(_imported().name) / NAME / "model.yaml").read_text())
    spec["backends"] = [{**links[0], **engine}, *links[1:]]
    spec["cache"] = {"enabled": False}
    spec["batching"] = {"max_batch_size": BUCKETS[-1], "buckets": list(BUCKETS)}
    if edit is not None:
        edit(spec)
    (folder / NAME / "versions").mkdir(parents=True)
    (folder / NAME / "model.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))
    add_version(folder, 1)
    return folder


@contextmanager
def gpu_server(
    repository: Path,
    gpu: Gpu,
    *,
    ready: bool = True,
    workers: int = 1,
    env: Mapping[str, str] | None = None,
    **settings: object,
) -> Iterator[Server]:
    """A server of `echo`; with `ready` False it need only be alive."""
    with tempfile.TemporaryDirectory() as folder:
        environment = gpu.env(**settings) | dict(env or {})
        server = start(repository, NAME, Path(folder) / "server.log", env=environment, workers=workers)
        try:
            if ready:
                server.wait_ready()
            else:
                until(lambda: server.status("/v2/health/live") == 200, "the server lives", READY_SECONDS)
            yield server
        except BaseException:
            sys.stdout.write(server.log())  # pytest shows it when the test fails
            raise
        finally:
            server.stop()
            left = gpu.children()
            assert not left, f"left behind: {left}\n{server.log()}"
        assert gpu.misuse() == []
        held = [report["held"] for report in gpu.reports() if report["pid"] == server.process.pid]
        assert server.process.returncode != 0 or held in ([], [{}]), f"not freed on the device: {held}"


def reload(server: Server) -> None:
    """Unload the model and load it again: what is on disk and on the device is looked at anew."""
    _administer(server, "unload")
    load_again(server)


def load_again(server: Server) -> None:
    """Load versions that have come, beside those that are served."""
    _administer(server, "load")


def _administer(server: Server, what: str) -> None:
    reply = httpx.post(f"{server.url}/v2/repository/models/{NAME}/{what}", timeout=60)
    assert reply.status_code == httpx.codes.OK, reply.text
