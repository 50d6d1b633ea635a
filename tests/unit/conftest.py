"""The fake GPU within the process of a test: put in for one test, taken out after it, nothing left on the device."""

from __future__ import annotations

import gc
import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.fakes.fakegpu.machine import Machine, machine

_LOADED = ("tensorrt", "cuda", "cuda.bindings", "cuda.bindings.runtime", "cuda.bindings.utils")


class Gpu:
    """The device of this process, and the file that says how it fails."""

    def __init__(self, file: Path, trt: ModuleType) -> None:
        self._file, self.trt = file, trt
        self.machine: Machine = machine
        self.forgiven = False
        """A test may end with memory held where the context is dead."""
        self.set()

    def set(self, **faults: Any) -> None:
        draft = self._file.with_suffix(".draft")
        draft.write_text(json.dumps(faults))
        draft.replace(self._file)

    def count(self, what: str) -> int:
        return self.machine.counts.get(what, 0)


@pytest.fixture
def level() -> str:
    """Of TensorRT; a test parametrizes it to see more than one."""
    return "10"


@pytest.fixture
def gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, level: str) -> Iterator[Gpu]:
    monkeypatch.setenv("FAKE_GPU", str(tmp_path / "gpu.json"))
    monkeypatch.setenv("FAKE_TENSORRT", level)
    machine.reset()
    for name in [name for name in sys.modules if name.startswith(("tests.fakes.faketrt", "tests.fakes.tensorrt"))]:
        monkeypatch.delitem(sys.modules, name)  # a level is chosen when they are imported
    trt = importlib.import_module("tests.fakes.tensorrt")
    runtime = importlib.import_module("tests.fakes.cuda.bindings.runtime")
    bindings = importlib.import_module("tests.fakes.cuda.bindings")
    monkeypatch.setattr(bindings, "runtime", runtime, raising=False)
    fakes = (trt, importlib.import_module("tests.fakes.cuda"), bindings, runtime, None)
    for name, module in zip(_LOADED, fakes, strict=True):
        monkeypatch.setitem(sys.modules, name, module)
    device = Gpu(tmp_path / "gpu.json", trt)
    yield device
    violations, held = list(machine.violations), machine.held()
    if held:
        gc.collect()  # what this test left must not be counted as freed in another
    machine.reset()
    assert violations == []
    assert device.forgiven or held == {}, "freed it must be without a collection of garbage"
