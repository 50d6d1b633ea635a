"""onnxruntime-gpu lists CUDA where there is none, and answers a request for it with a CPU session: nobody is fooled.

The wheel and onnxruntime are one module in two builds, so these tests cannot share an environment with the others.
"""

from __future__ import annotations

from importlib.metadata import distributions
from pathlib import Path

import httpx
import onnxruntime
import pytest

from modelyard.backends.base import BackendUnavailable
from modelyard.backends.onnxruntime import open_session
from tests.integration.harness import import_model, modelyard, serve
from tests.integration.onnx_models import two_inputs


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    import_model(folder, "pair", two_inputs())
    return folder


@pytest.fixture(scope="module")
def artifact(repository: Path) -> Path:
    return next((repository / "pair" / "versions").glob("*/*.onnx"))


def test_the_wheel_under_test_is_the_one_for_gpus() -> None:
    names = {distribution.metadata["Name"] for distribution in distributions()}
    assert "onnxruntime-gpu" in names
    assert "onnxruntime" not in names
    assert "CUDAExecutionProvider" in onnxruntime.get_available_providers()


def test_a_session_that_silently_fell_back_to_the_cpu_is_refused(artifact: Path) -> None:
    with pytest.raises(BackendUnavailable):
        open_session(artifact, "CUDAExecutionProvider")


def test_the_cpu_provider_of_the_same_wheel_works(artifact: Path) -> None:
    assert open_session(artifact).get_providers() == ["CPUExecutionProvider"]


def test_inspect_says_why_the_cpu_is_active(repository: Path) -> None:
    shown = modelyard("inspect", "pair", "--repository", repository)
    assert shown.code == 0, shown.err
    assert "backend  onnxruntime-cpu" in shown.out
    assert "not onnxruntime-cuda" in shown.out
    assert "not tensorrt" in shown.out


def test_a_server_is_ready_and_degraded(repository: Path) -> None:
    with serve(repository, "pair") as server:
        assert httpx.get(f"{server.url}/v2/health/ready").status_code == 200
        config = httpx.get(f"{server.url}/v2/models/pair/config").json()
        assert config["parameters"]["backend"] == {"string_value": "onnxruntime-cpu"}
        assert "onnxruntime-cuda" in config["parameters"]["degraded"]["string_value"]
        inputs = [
            {"name": "a", "datatype": "FP32", "shape": [1, 4], "data": [1.0, 2.0, 3.0, 4.0]},
            {"name": "b", "datatype": "INT32", "shape": [1, 4], "data": [10, 20, 30, 40]},
        ]
        answer = httpx.post(f"{server.url}/v2/models/pair/infer", json={"inputs": inputs}).json()
        assert next(one["data"] for one in answer["outputs"] if one["name"] == "sum") == [11.0, 22.0, 33.0, 44.0]
        assert answer["parameters"]["backend"] == "onnxruntime-cpu"
