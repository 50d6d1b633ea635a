"""A fresh device for each test, and the fake `tensorrt` in both versions."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.fakes.fakegpu.machine import machine
from tests.unit.fakes.device import Device

_PREFIXES = ("tests.fakes.faketrt", "tests.fakes.tensorrt")
_loaded: dict[str, dict[str, ModuleType]] = {}
"""The version is chosen when the modules are imported, which is done once for each."""


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    monkeypatch.setenv("FAKE_GPU", str(tmp_path / "gpu.json"))
    machine.reset()
    yield Device(tmp_path / "gpu.json")
    machine.reset()


@pytest.fixture(params=["10", "11"])
def trt(request: pytest.FixtureRequest, device: Device, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setenv("FAKE_TENSORRT", request.param)
    for name in [name for name in sys.modules if name.startswith(_PREFIXES)]:
        monkeypatch.delitem(sys.modules, name)
    if request.param not in _loaded:
        importlib.import_module("tests.fakes.tensorrt")
        _loaded[request.param] = {name: sys.modules[name] for name in sys.modules if name.startswith(_PREFIXES)}
    for name, module in _loaded[request.param].items():
        monkeypatch.setitem(sys.modules, name, module)
    return _loaded[request.param]["tests.fakes.tensorrt"]
