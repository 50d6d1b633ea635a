"""Is there a GPU that engines can be built for? Asked in a child, since the answer may be a crash."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest

from modelyard.backends.base import BackendUnavailable
from modelyard.backends.engine import maker
from modelyard.backends.engine.maker import probe
from tests.unit.backends.engine.fake_gpu import DEVICE, FakeGpu

REAL_DRIVER = Path("/proc/driver/nvidia/version").exists()


@pytest.fixture(name="gpu")
def _gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeGpu:
    return FakeGpu(tmp_path, monkeypatch)


@pytest.fixture(autouse=True)
def no_child_is_left() -> Iterator[None]:
    yield
    assert [child for child in psutil.Process().children() if "engine.child" in " ".join(child.cmdline())] == []


def write_tensorrt(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module `tensorrt` that the child finds, beside the real bindings of CUDA."""
    (folder / "tensorrt.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.setattr(maker, "_installed", lambda _: True)


def test_the_device_is_described(gpu: FakeGpu) -> None:
    assert probe() == DEVICE
    gpu.set(name="NVIDIA H100 80GB HBM3 MIG 1g.10gb", compute=[10, 3], memory_bytes=5, driver_version=12080)
    device = probe()
    assert (device.gpu, device.compute_capability) == ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", "10.3")
    assert (device.memory_bytes, device.driver) == (5, "12.8")


@pytest.mark.parametrize(
    ("faults", "reason"),
    [
        ({"driver": False}, "^no NVIDIA driver, or one that is too old$"),
        ({"devices": 0}, "^no NVIDIA device$"),
        ({"probe_crash": True}, "^the probe of the GPU was ended by SIGSEGV$"),
        ({"import_error": {"tensorrt": "libnvinfer.so.10: cannot open"}}, "TensorRT is not installed.*libnvinfer"),
    ],
)
def test_no_gpu_is_a_reason_and_never_a_crash(gpu: FakeGpu, faults: dict[str, object], reason: str) -> None:
    gpu.set(**faults)
    with pytest.raises(BackendUnavailable, match=reason):
        probe()


@pytest.mark.skipif(find_spec("tensorrt") is not None, reason="TensorRT is installed here")
def test_without_the_libraries_no_child_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maker, "ChildProcess", None)
    with pytest.raises(BackendUnavailable, match=r"^TensorRT is not installed$"):
        probe()
    monkeypatch.setattr(maker, "_LIBRARIES", {"no_such_package.bindings.runtime": "cuda-python"})
    with pytest.raises(BackendUnavailable, match=r"^cuda-python is not installed$"):
        probe()


@pytest.mark.skipif(REAL_DRIVER, reason="there is an NVIDIA driver here")
def test_the_real_cuda_without_a_driver_never_gets_as_far_as_tensorrt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_spec("cuda.bindings.runtime") is not None
    write_tensorrt(tmp_path, "import os; os.kill(os.getpid(), 11)", monkeypatch)
    with pytest.raises(BackendUnavailable, match=r"^no NVIDIA driver, or one that is too old$"):
        probe()


def test_a_device_that_does_not_answer_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tensorrt(tmp_path, "", monkeypatch)
    (tmp_path / "cuda" / "bindings").mkdir(parents=True)
    for name in ("cuda/__init__.py", "cuda/bindings/__init__.py"):
        (tmp_path / name).write_text("")
    (tmp_path / "cuda" / "bindings" / "runtime.py").write_text("import time; time.sleep(600)")
    started = time.monotonic()
    with pytest.raises(BackendUnavailable, match=r"^the GPU did not answer within 2 s$"):
        probe(2.0)
    stop = threading.Event()
    threading.Timer(1.0, stop.set).start()
    with pytest.raises(BackendUnavailable, match=r"^stopped$"):
        probe(stop=stop)
    assert time.monotonic() - started < 30


def test_what_a_library_prints_is_no_answer(gpu: FakeGpu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noisy = tmp_path / "noisy"
    noisy.mkdir()
    (noisy / "sitecustomize.py").write_text(
        "import os, sys\n"
        "class Loud:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'tensorrt':\n"
        '            print(\'{"event": "failed"}\')\n'
        "            os.write(1, b'not from Python\\n')\n"
        "            os.system('echo from a shell')\n"
        "sys.meta_path.insert(0, Loud())\n"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(noisy), os.environ["PYTHONPATH"])))
    assert probe() == DEVICE


def test_the_working_folder_lends_no_modules(gpu: FakeGpu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tensorrt.py").write_text("raise SystemExit(7)")
    monkeypatch.chdir(tmp_path)
    assert probe() == DEVICE


def test_a_server_loads_neither_onnx_nor_the_gpu_for_it() -> None:
    script = (
        "import sys, modelyard.backends.engine.maker; sys.exit(bool({'onnx', 'tensorrt', 'cuda'} & {*sys.modules}))"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
