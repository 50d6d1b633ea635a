"""The documents about a model, and that gRPC's messages take them as they are."""

from __future__ import annotations

import pytest
from google.protobuf.json_format import ParseDict

from modelyard import describe
from modelyard.protocol._pb import open_inference_grpc_pb2 as pb
from modelyard.spec import BackendName, BatchingSpec, MemberSpec, ModelSpec, TensorSpec
from modelyard.statistics import DURATIONS, Duration, ModelStatistics
from modelyard.tensors import DTYPES

NAMES = sorted(DTYPES)
SPEC = ModelSpec(
    name="m",
    inputs=tuple(TensorSpec(name=name, datatype=name, shape=(-1, 3)) for name in NAMES),
    outputs=(TensorSpec(name="y", datatype="FP32", shape=(-1,)),),
)
BACKENDS: list[BackendName] = ["tensorrt", "onnxruntime-cuda", "onnxruntime-cpu"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_metadata_and_config_are_messages_too(backend: BackendName) -> None:
    metadata = describe.metadata(SPEC, ["1", "2"], backend)
    message = ParseDict(metadata, pb.ModelMetadataResponse())
    assert [list(tensor.shape) for tensor in message.inputs] == [[-1, 3]] * len(NAMES)
    assert list(message.versions) == ["1", "2"]
    config = ParseDict(
        {"config": describe.config(SPEC, "2", "abc", backend, "fp16", "")}, pb.ModelConfigResponse()
    ).config
    assert config.max_batch_size == 32
    assert [list(tensor.dims) for tensor in config.input] == [[3]] * len(NAMES)
    told = {name: config.parameters[name].string_value for name in ("version", "digest", "precision")}
    assert told == {"version": "2", "digest": "abc", "precision": "fp16"}
    assert metadata["platform"] == config.platform


def test_without_batching_the_config_keeps_every_dimension() -> None:
    spec = SPEC.model_copy(update={"batching": BatchingSpec(max_batch_size=0)})
    config = describe.config(spec, "2", "abc", "onnxruntime-cpu", "fp32", "")
    assert config["input"][0]["dims"] == [-1, 3]
    assert "dynamic_batching" not in config


def test_an_ensemble_is_called_so_and_names_its_members() -> None:
    members = tuple(
        MemberSpec(model=model, inputs={"x": NAMES[0]}, outputs={"y": f"of_{model}"}) for model in ("a", "b")
    )
    spec = SPEC.model_copy(update={"ensemble": members})
    config = describe.config(spec, "2", "abc", "onnxruntime-cpu", "fp32", "")
    message = ParseDict({"config": config}, pb.ModelConfigResponse()).config
    assert (message.platform, message.parameters["members"].string_value) == ("ensemble", "a,b")
    assert describe.metadata(spec, ["1"], "onnxruntime-cpu")["platform"] == "ensemble"


def test_the_config_says_why_a_model_is_degraded_without_naming_folders() -> None:
    config = describe.config(SPEC, "2", "abc", "onnxruntime-cpu", "fp32", "onnxruntime-cuda: no file /srv/a/b.onnx")
    assert config["parameters"]["degraded"] == {"string_value": "onnxruntime-cuda: no file b.onnx"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[Errno 2] No such file or directory: '/srv/secret place/m'", "[Errno 2] No such file or directory: 'm'"),
        ("""No such file: "/srv/o'brien x/m" -> '/var/a b/c'""", """No such file: "m" -> 'c'"""),
        ("/srv/secret place/engines cannot be opened", "engines cannot be opened"),
        ("no engine in ~/my things/engines, none is built", "no engine in engines, none is built"),
        ("Load model from /srv/a b/m.onnx failed:/build/core/model.cc:182 bad", "Load model from model.cc:182 bad"),
        ("tensorrt: in /a b/c; onnxruntime-cuda: in (/d e/f)", "tensorrt: in c; onnxruntime-cuda: in (f)"),
        ("/srv/a/model.yaml:3: no\n/srv/a/model.yaml:5: no", "model.yaml:3: no\nmodel.yaml:5: no"),
        ("no /engines", "no engines"),
        ("no '/data'", "no 'data'"),
        ("file:///srv/secret/m", "file:m"),
        ("1/2 of the rows, 3 requests/s, CUDA/TensorRT", "1/2 of the rows, 3 requests/s, CUDA/TensorRT"),
        ("see https://host/a/b and s3://bucket/c", "see https://host/a/b and s3://bucket/c"),
        ("a / b", "a / b"),
    ],
)
def test_no_folder_reaches_a_client(text: str, told: str) -> None:
    assert describe.without_folders(text) == told


def test_statistics_name_every_duration_and_the_batches_in_order() -> None:
    statistics = ModelStatistics("m", "1", inference_count=5, execution_count=2)
    statistics.success.add(0.25, 3)
    statistics.batches = {4: Duration(1, 10), 1: Duration(1, 5)}
    document = describe.statistics(statistics)
    assert list(document["inference_stats"]) == list(DURATIONS)
    assert document["inference_stats"]["success"] == {"count": 3, "ns": 250_000_000}
    assert [batch["batch_size"] for batch in document["batch_stats"]] == [1, 4]
    message = ParseDict({"model_stats": [document]}, pb.ModelStatisticsResponse()).model_stats[0]
    assert (message.inference_count, message.execution_count) == (5, 2)
