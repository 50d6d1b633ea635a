"""The parts of the GPU checks that need no GPU: networks, differences, names, what a crash becomes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from loadtests.bench.core import DOCS, Endpoint, Sample, Server
from loadtests.bench.models import INFO, model_path
from loadtests.bench.payloads import reference, rows
from loadtests.gpu import catalog, device, remote, run, served
from loadtests.gpu.chain import forced
from loadtests.gpu.data import NO_ANSWER, difference, prepare, read
from loadtests.gpu.direct import Plan
from loadtests.gpu.run import Options
from loadtests.gpu.subject import FOLDER, Given
from loadtests.gpu.taken import Taken
from loadtests.gpu.torch_subjects import TorchEager
from modelyard.spec import parse_spec
from tests.unit.loadtests.gpu_figures import document, taken

GPU_JSON = DOCS / "benchmarks" / "gpu.json"


def _given(model: str, tmp_path: Path) -> Given:
    return Given(model, model_path(model), tmp_path, (1, 3))


def test_torch_has_the_weights_of_the_onnx_file(tmp_path: Path) -> None:
    for precision in ("fp32", "fp16"):
        subject = TorchEager(precision, "cpu")
        subject.load(_given("mlp", tmp_path))
        values = rows("mlp", range(3))
        found = difference(subject.run(values), reference("mlp").infer(values), precision)
        assert found.right
        assert found.largest < (1e-6 if precision == "fp32" else 1e-2)


def test_torch_has_the_encoder_of_the_benchmark(tmp_path: Path) -> None:
    subject = TorchEager("fp32", "cpu")
    subject.load(_given("encoder", tmp_path))
    values = np.random.default_rng(1).integers(0, 30_000, (2, INFO["encoder"].columns))
    assert difference(subject.run(values), reference("encoder").infer(values), "fp32").largest < 1e-5


def test_weights_that_do_not_fit_are_no_network(tmp_path: Path) -> None:
    wrong = Given("mlp", model_path("echo"), tmp_path, (1,))
    with pytest.raises((ValueError, RuntimeError)):
        TorchEager("fp32", "cpu").load(wrong)


def test_without_cuda_torch_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    assert "without CUDA" in TorchEager("fp32").why_not()
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert TorchEager("fp32").why_not() == "torch finds no CUDA device or driver"


def test_the_data_of_a_model_tells_its_rows_apart() -> None:
    inputs, expected = read(prepare("mlp", 4))
    assert inputs.shape == (4, 64)
    assert difference(reference("mlp").infer(inputs), expected, "fp32").right
    assert not difference(expected[::-1], expected, "fp16").right


def test_what_is_no_number_or_of_another_shape_is_wrong() -> None:
    expected = np.ones((2, 3), np.float32)
    for answer in (np.full((2, 3), np.nan, np.float32), expected[:1], expected + 1):
        assert not difference(answer, expected, "fp16").right
    assert difference(expected[:1], expected, "fp32").largest == NO_ANSWER
    assert difference(expected + 0.005, expected, "fp16").right
    assert not difference(expected + 0.005, expected, "fp32").right


def test_a_chain_is_forced_to_one_backend() -> None:
    content = {
        "name": "m",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 4]}],
    }
    forced("tensorrt", "fp16", (1, 8))(content)
    spec = parse_spec(json.dumps(content))
    assert spec.minimum_backend == spec.backends[0].name == "tensorrt"
    assert spec.backends[0].precision == "fp16"
    assert spec.batching.buckets == (1, 8)
    forced("onnxruntime-cuda", "fp32", (1, 8))(content)
    assert [backend.name for backend in parse_spec(json.dumps(content)).backends] == ["onnxruntime-cuda"]


def test_names_are_chosen_by_their_parts_and_every_server_has_its_subject() -> None:
    names = list(catalog.SUBJECTS)
    assert catalog.chosen(names, []) == names
    assert catalog.chosen(names, ["tensorrt"]) == ["TensorRT fp32", "TensorRT fp16"]
    assert all(subject in catalog.SUBJECTS for _, _, subject in catalog.SERVED.values())


def test_only_a_whole_run_with_figures_goes_into_the_documentation(tmp_path: Path) -> None:
    with_figures, without = document(), {**document(), "direct": []}
    assert Options().path(with_figures) == GPU_JSON
    assert Options().path(without).is_relative_to(FOLDER)
    for less in (Options(quick=True), Options(only=("torch",)), Options(models=("mlp",))):
        assert less.path(with_figures).is_relative_to(FOLDER)
    assert Options(out=tmp_path).path(without) == tmp_path / "benchmarks" / "gpu.json"


def test_no_figure_of_a_fake_device_is_in_the_documentation() -> None:
    names = [json.loads(path.read_text())["device"]["name"] for path in GPU_JSON.parent.glob(GPU_JSON.name)]
    assert not any("fake" in name.lower() for name in names)


def test_figures_are_medians_of_the_rounds_with_their_spread() -> None:
    cell = next(cell for cell in document()["direct"] if cell["name"] == "TensorRT fp16")
    assert (cell["rate"], cell["spread"], cell["batch"], cell["calls"]) == (2500.0, 0.4, 1, 200)
    assert cell["first_seconds"] == 1.0


def test_what_failed_or_was_wrong_is_not_trusted_again() -> None:
    assert taken().against("TensorRT fp16", "encoder") == ""
    assert taken(right=False).against("TensorRT fp16", "encoder") == "TensorRT fp16 answers wrong"
    assert taken().against("ONNX Runtime CUDA fp32", "encoder") == "no | wheel"


def test_a_model_that_cannot_be_made_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(model: str) -> Path:
        raise ModuleNotFoundError("No module named 'torch'")

    monkeypatch.setattr(run, "model_path", refuse)
    monkeypatch.setattr(device, "facts", lambda: {"absent": "no NVIDIA device"})
    said: list[str] = []
    made, path = run.run(Options(out=tmp_path, models=("convnet",)), said.append)
    reason = "ModuleNotFoundError: No module named 'torch'"
    assert made["failures"] == [{"name": "everything", "model": "convnet", "reason": reason}]
    assert json.loads(path.read_text()) == made
    assert any(reason in line for line in said)


@pytest.mark.parametrize(("requests", "reason"), [(0, "oip-grpc, 8 connections: gone"), (5, "")])
def test_a_server_that_answers_nothing_has_no_figure(
    requests: int, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = Sample(1.0, requests, 0, 0, 0.1, 0.2, first_error="gone")
    monkeypatch.setattr(served, "measure_load", lambda _: sample)
    server, noted = Server("s", "mlp", 0, {"oip-grpc": Endpoint("oip-grpc", "h", 1)}), Taken()
    cell = served._cell(server, "oip-grpc", 8, 0, Plan((8,), 1, 0.1), noted)
    assert [failure["reason"] for failure in noted.failures] == ([] if requests else [reason])
    assert cell.get("rate") == (5.0 if requests else None)


@pytest.fixture
def subject(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> remote.Remote:
    monkeypatch.setattr(remote, "LOGS", tmp_path)
    return remote.Remote("torch eager fp32", _given("mlp", tmp_path), tmp_path / "none.npz")


def test_an_error_in_the_process_of_a_subject_is_its_reason(subject: remote.Remote) -> None:
    with pytest.raises(remote.Failed, match="FileNotFoundError"):
        subject.ask("load")
    assert "why" in subject.ask("why")  # it lives on
    subject.end()


def test_the_end_of_its_process_is_a_reason_too(subject: remote.Remote) -> None:
    assert "why" in subject.ask("why")
    subject._process.kill()
    with pytest.raises(remote.Failed, match="signal SIGKILL"):
        subject.ask("why")
    subject.end()


def test_a_subject_that_does_not_answer_is_ended(subject: remote.Remote) -> None:
    with pytest.raises(remote.Failed, match="no answer to 'why' within"):
        subject.ask("why", 0.01)
    assert subject._process.poll() is not None
    subject.end()
