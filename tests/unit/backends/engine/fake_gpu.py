"""A fake GPU for the child processes that a test starts, a small model, and what an engine of it is asked with."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from modelyard.backends.engine import maker
from modelyard.backends.engine.maker import Progress
from modelyard.backends.engine.request import Device
from modelyard.backends.engine.store import EngineStore
from modelyard.spec import BackendSpec, BatchingSpec, ModelSpec, TensorSpec

ROOT = Path(__file__).parents[4]
DEVICE = Device("NVIDIA Fake 10", "9.0", "13.1", "13.5", "10.13.3.9", 16 * 2**30)
"""What the probe finds where the file of faults says nothing else."""
BACKEND = BackendSpec(name="tensorrt", build_seconds=60.0, workspace_mib=64)
SPEC = ModelSpec(
    name="m",
    inputs=(TensorSpec(name="x", datatype="FP32", shape=(-1, 3)),),
    outputs=(TensorSpec(name="y", datatype="FP32", shape=(-1, 3)),),
    backends=(BACKEND, BackendSpec(name="onnxruntime-cpu")),
    batching=BatchingSpec(max_batch_size=4),
)


class FakeGpu:
    """The fake device of the processes that are started from now on, and of those that run."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.file, self.reports = folder / "gpu.json", folder / "reports"
        monkeypatch.setenv("FAKE_GPU", str(self.file))
        monkeypatch.setenv("PYTHONPATH", str(ROOT / "tests" / "fakes"))
        monkeypatch.setattr(maker, "_installed", lambda _: True)  # the fakes are on the path of the child alone
        self.set()

    def set(self, **faults: Any) -> None:
        draft = self.file.with_suffix(".draft")
        draft.write_text(json.dumps({"report": str(self.reports), **faults}))
        draft.replace(self.file)

    def count(self, what: str) -> int:
        """How often the processes that have ended did it."""
        lines = self.reports.read_text().splitlines() if self.reports.exists() else []
        return sum(int(json.loads(line)["counts"].get(what, 0)) for line in lines)


def write_model(folder: Path, operator: str = "Relu") -> Path:
    """A version folder's model.onnx: y = operator(x)."""
    folder.mkdir(parents=True, exist_ok=True)
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 3]) for name in "xy"]
    graph = helper.make_graph([helper.make_node(operator, ["x"], ["y"], name="the_node")], "g", ports[:1], ports[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "model.onnx")
    return folder / "model.onnx"


class Wish:
    """One engine that a test wants, again and again."""

    def __init__(self, folder: Path) -> None:
        self.store = EngineStore(folder / "engines", 10**6)
        self.artifact = write_model(folder / "versions" / "7")
        self.device = DEVICE
        self.sha256 = "ab" * 32
        self.spec, self.backend = SPEC, BACKEND
        self.stop = threading.Event()
        self.seen: list[Progress] = []

    def ensure(self, again: bool = False) -> bytes:
        return maker.ensure(
            self.store,
            self.artifact,
            self.sha256,
            self.spec,
            self.backend,
            self.device,
            self.seen.append,
            self.stop,
            again,
        )

    @property
    def phases(self) -> list[str]:
        return [progress.phase for progress in self.seen]

    def key(self) -> Any:
        return maker.engine_key(self.sha256, self.spec, self.backend, self.device)
