"""Another process gets the fakes by PYTHONPATH alone, from any folder, and ends as with the real libraries."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FAKES = Path(__file__).parents[2] / "fakes"
LOGGER = "import tensorrt as trt; log = trt.Logger(); "
CUDA = "from cuda.bindings import runtime; "


def run(folder: Path, code: str, level: str = "10", **faults: Any) -> subprocess.CompletedProcess[str]:
    (folder / "gpu.json").write_text(json.dumps({"report": str(folder / "report"), **faults}))
    environment = {**os.environ, "PYTHONPATH": str(FAKES), "FAKE_GPU": "gpu.json", "FAKE_TENSORRT": level}
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_the_fakes_come_first_and_the_rest_of_cuda_stays(tmp_path: Path) -> None:
    code = (
        "import tensorrt, cuda.bindings.runtime, onnxruntime, importlib.util; "
        "print(tensorrt.__file__, cuda.bindings.runtime.__file__, onnxruntime.get_available_providers()[1]); "
        "assert importlib.util.find_spec('cuda.bindings') and importlib.util.find_spec('tensorrt')"
    )
    answer = run(tmp_path, code)
    assert answer.returncode == 0, answer.stderr
    first, second, provider = answer.stdout.split()
    assert Path(first).is_relative_to(FAKES)
    assert Path(second).is_relative_to(FAKES)
    assert provider == "CUDAExecutionProvider"


@pytest.mark.parametrize(("level", "version"), [("10", "10."), ("11", "11."), ("10.9.0.34", "10.9.0.34")])
def test_the_version_is_chosen_by_a_variable(tmp_path: Path, level: str, version: str) -> None:
    assert run(tmp_path, "import tensorrt; print(tensorrt.__version__)", level).stdout.startswith(version)


@pytest.mark.parametrize("code", ["trt.Builder(log)", "trt.Runtime(log)"])
@pytest.mark.parametrize("why", [{"driver": False}, {"devices": 0}])
def test_tensorrt_without_a_driver_ends_the_process(tmp_path: Path, code: str, why: dict[str, Any]) -> None:
    assert run(tmp_path, LOGGER + code, **why).returncode == -signal.SIGSEGV


def test_the_probe_of_a_process_can_crash(tmp_path: Path) -> None:
    assert run(tmp_path, CUDA + "runtime.cudaGetDeviceCount()", probe_crash=True).returncode == -signal.SIGSEGV


def test_a_library_that_cannot_be_loaded(tmp_path: Path) -> None:
    text = "libnvinfer.so.10: cannot open shared object file: No such file or directory"
    answer = run(tmp_path, "import tensorrt", import_error={"tensorrt": text})
    assert f"ImportError: {text}" in answer.stderr


def test_an_importing_process_can_be_told_of_cuda_as_well(tmp_path: Path) -> None:
    answer = run(tmp_path, "import cuda.bindings.runtime", import_error={"cuda": "libcudart.so.13: no such file"})
    assert "ImportError: libcudart.so.13" in answer.stderr


def test_a_build_can_crash(tmp_path: Path) -> None:
    code = LOGGER + "from tests.unit.fakes.networks import Build; Build(trt).run()"
    assert run(tmp_path, code, build={"fail": "crash"}).returncode == -signal.SIGSEGV


def test_a_process_reports_what_it_left_and_did_wrong(tmp_path: Path) -> None:
    answer = run(tmp_path, CUDA + "runtime.cudaMalloc(10); runtime.cudaFree(4096)")
    assert answer.returncode == 0, answer.stderr
    report = json.loads((tmp_path / "report").read_text())
    assert report["held"] == {"device_bytes": 10, "device_blocks": 1}
    assert "unknown memory" in report["violations"][0]
    assert report["counts"]["cudaMalloc"] == 1


def test_a_wrong_version_is_said(tmp_path: Path) -> None:
    assert "plays TensorRT 10 and 11" in run(tmp_path, "import tensorrt", "8.6").stderr
