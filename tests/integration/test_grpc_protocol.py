"""The Open Inference Protocol over gRPC: tritonclient, plain messages, health and reflection."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from numpy.testing import assert_array_equal
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2 as pb
from tritonclient.utils import InferenceServerException

from tests.integration.harness import Server
from tests.integration.pair_model import (
    A_ROW,
    B_ROW,
    NAME,
    SUM_ROW,
    TWICE_ROW,
    grpc_request,
    outcome,
    raw_outputs,
    stub,
    typed_grpc_request,
)

SERVICE = "inference.GRPCInferenceService"
A = np.array([A_ROW, [4, 3, 2, 1]], np.float32)
B = np.array([B_ROW, [-1, -2, -3, -4]], np.int32)
RIGHT = {"sum": np.array(SUM_ROW, "<f4").tobytes(), "twice": np.array(TWICE_ROW, "<i4").tobytes()}


@pytest.fixture
def client(pair: Server) -> Iterator[Any]:
    with triton.InferenceServerClient(pair.grpc) as client:
        yield client


@pytest.fixture
def channel(pair: Server) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(pair.grpc) as channel:
        yield channel


@pytest.fixture
def service(channel: grpc.Channel) -> Any:
    return stub(channel)


def tensors(a: NDArray[Any] = A, b: NDArray[Any] = B) -> list[Any]:
    found = [triton.InferInput("a", list(a.shape), "FP32"), triton.InferInput("b", list(b.shape), "INT32")]
    for tensor, array in zip(found, (a, b), strict=True):
        tensor.set_data_from_numpy(array)
    return found


def test_live_and_ready(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(NAME)
    assert client.is_model_ready(NAME, "1")


@pytest.mark.parametrize(("name", "version"), [("nobody", ""), (NAME, "77")])
def test_an_unknown_model_is_not_ready(service: Any, name: str, version: str) -> None:
    """Both "not ready" and NOT_FOUND tell the truth."""
    answer = outcome(service.ModelReady, pb.ModelReadyRequest(name=name, version=version))
    if isinstance(answer, grpc.RpcError):
        assert answer.code() == grpc.StatusCode.NOT_FOUND
    else:
        assert not answer.ready


def test_server_metadata(client: Any) -> None:
    metadata = client.get_server_metadata()
    assert metadata.name
    assert metadata.version
    assert {"statistics", "model_repository"} <= set(metadata.extensions)
    assert not {name for name in metadata.extensions if "memory" in name or name in {"trace", "logging"}}


@pytest.mark.parametrize("version", ["", "1"])
def test_model_metadata(client: Any, version: str) -> None:
    metadata = client.get_model_metadata(NAME, version)
    assert (metadata.name, list(metadata.versions)) == (NAME, ["1"])
    assert metadata.platform
    described = [(item.name, item.datatype, list(item.shape)) for item in (*metadata.inputs, *metadata.outputs)]
    assert described == [
        ("a", "FP32", [-1, 4]),
        ("b", "INT32", [-1, 4]),
        ("sum", "FP32", [-1, 4]),
        ("twice", "INT32", [-1, 4]),
    ]


def test_model_config(client: Any) -> None:
    config = client.get_model_config(NAME).config
    assert (config.name, config.max_batch_size) == (NAME, 8)
    assert [(item.name, item.data_type, list(item.dims)) for item in (*config.input, *config.output)] == [
        ("a", triton.model_config_pb2.TYPE_FP32, [4]),
        ("b", triton.model_config_pb2.TYPE_INT32, [4]),
        ("sum", triton.model_config_pb2.TYPE_FP32, [4]),
        ("twice", triton.model_config_pb2.TYPE_INT32, [4]),
    ]


def test_statistics_count_rows_and_runs(client: Any) -> None:
    (before,) = client.get_inference_statistics(NAME).model_stats
    fresh = np.arange(12, dtype=np.float32).reshape(3, 4) + 2_000
    client.infer(NAME, tensors(fresh, np.zeros((3, 4), np.int32)))
    (after,) = client.get_inference_statistics(NAME, "1").model_stats
    assert (after.name, after.version) == (NAME, "1")
    assert after.inference_count == before.inference_count + 3
    assert after.execution_count == before.execution_count + 1
    assert after.inference_stats.success.count == before.inference_stats.success.count + 1
    assert after.inference_stats.success.ns > before.inference_stats.success.ns
    assert any(batch.batch_size == 3 for batch in after.batch_stats)
    assert [entry.name for entry in client.get_inference_statistics().model_stats] == [NAME]


def test_repository_index(client: Any) -> None:
    (entry,) = client.get_model_repository_index().models
    assert (entry.name, entry.version, entry.state) == (NAME, "1", "READY")


def test_all_outputs_when_none_is_asked(client: Any) -> None:
    result = client.infer(NAME, tensors())
    assert_array_equal(result.as_numpy("sum"), A + B)
    assert_array_equal(result.as_numpy("twice"), 2 * B)


def test_only_the_outputs_that_were_asked_for_in_their_order(client: Any) -> None:
    one = client.infer(NAME, tensors(), outputs=[triton.InferRequestedOutput("twice")])
    assert [output.name for output in one.get_response().outputs] == ["twice"]
    asked = [triton.InferRequestedOutput("twice"), triton.InferRequestedOutput("sum")]
    two = client.infer(NAME, tensors(), outputs=asked)
    assert [output.name for output in two.get_response().outputs] == ["twice", "sum"]
    assert_array_equal(two.as_numpy("sum"), A + B)


def test_answer_names_what_gave_it(client: Any) -> None:
    answer = client.infer(NAME, tensors(), request_id="an id / ä").get_response()
    assert (answer.id, answer.model_name, answer.model_version) == ("an id / ä", NAME, "1")
    assert answer.parameters["backend"].string_param == "onnxruntime-cpu"
    assert answer.parameters["cache"].string_param in {"hit", "join", "partial", "miss", "bypass"}


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compression(client: Any, algorithm: str) -> None:
    result = client.infer(NAME, tensors(), compression_algorithm=algorithm)
    assert_array_equal(result.as_numpy("sum"), A + B)


def test_raw_and_typed_contents_say_the_same(service: Any) -> None:
    raw = service.ModelInfer(grpc_request(), timeout=20)
    typed = service.ModelInfer(typed_grpc_request(), timeout=20)
    assert raw_outputs(raw) == raw_outputs(typed) == RIGHT
    assert typed.parameters["cache"].string_param == "hit"


@pytest.mark.parametrize("kind", ["bool_param", "int64_param", "string_param", "double_param", "uint64_param"])
def test_parameters_of_every_kind(service: Any, kind: str) -> None:
    values = {
        "bool_param": True,
        "int64_param": -5,
        "string_param": "x",
        "double_param": 0.5,
        "uint64_param": 1 << 63,
    }
    request = grpc_request()
    setattr(request.parameters["anything"], kind, values[kind])
    answer = outcome(service.ModelInfer, request)
    if isinstance(answer, grpc.RpcError):
        # kept or refused, never silently changed
        assert answer.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert "anything" in answer.details()
    else:
        assert raw_outputs(answer) == RIGHT


def test_stream_answers_in_order(client: Any) -> None:
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    client.start_stream(callback=lambda result, error: answers.put((result, error)))
    for number in range(20):
        b = np.full((1, 4), number, np.int32)
        client.async_stream_infer(NAME, tensors(A[:1], b), request_id=f"n{number}")
    for number in range(20):
        result, error = answers.get(timeout=20)
        assert error is None
        assert result.get_response().id == f"n{number}"
        assert result.as_numpy("twice").tolist() == [[2 * number] * 4]
    client.stop_stream()


def test_an_error_in_the_middle_keeps_the_stream(service: Any) -> None:
    bad = grpc_request()
    bad.raw_input_contents[0] = b"short"
    requests = [grpc_request(), bad, grpc_request("nobody"), grpc_request()]
    for number, request in enumerate(requests):
        request.id = f"n{number}"
    answers = list(service.ModelStreamInfer(iter(requests), timeout=20))
    assert [bool(answer.error_message) for answer in answers] == [False, True, True, False]
    assert raw_outputs(answers[0].infer_response) == raw_outputs(answers[3].infer_response) == RIGHT
    assert (answers[0].infer_response.id, answers[3].infer_response.id) == ("n0", "n3")
    assert "nobody" in answers[2].error_message


def test_empty_stream(service: Any) -> None:
    assert list(service.ModelStreamInfer(iter(()), timeout=20)) == []


def test_versions(client: Any) -> None:
    assert_array_equal(client.infer(NAME, tensors(), model_version="1").as_numpy("twice"), 2 * B)
    with pytest.raises(InferenceServerException) as refusal:
        client.infer(NAME, tensors(), model_version="2")
    assert refusal.value.status() == "StatusCode.NOT_FOUND"


@pytest.mark.parametrize("name", ["", SERVICE])
def test_health(channel: grpc.Channel, name: str) -> None:
    answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=name), timeout=20)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_health_of_an_unknown_service_and_watch(channel: grpc.Channel) -> None:
    health = health_pb2_grpc.HealthStub(channel)
    with pytest.raises(grpc.RpcError) as refusal:
        health.Check(health_pb2.HealthCheckRequest(service="no.such.Service"), timeout=20)
    assert refusal.value.code() == grpc.StatusCode.NOT_FOUND
    watch = health.Watch(health_pb2.HealthCheckRequest(), timeout=20)
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
    watch.cancel()


def test_health_of_everything(channel: grpc.Channel) -> None:
    answer = health_pb2_grpc.HealthStub(channel).List(health_pb2.HealthListRequest(), timeout=20)
    statuses = {name: entry.status for name, entry in answer.statuses.items()}
    assert statuses == dict.fromkeys(("", SERVICE, NAME), health_pb2.HealthCheckResponse.SERVING)


def test_reflection_describes_the_service(channel: grpc.Channel) -> None:
    """A pool of its own: tritonclient's descriptors have the same names."""
    database = ProtoReflectionDescriptorDatabase(channel)
    assert {SERVICE, "grpc.health.v1.Health"} <= set(database.get_services())
    methods = DescriptorPool(database).FindServiceByName(SERVICE).methods_by_name
    wanted = """ServerLive ServerReady ModelReady ServerMetadata ModelMetadata ModelInfer ModelStreamInfer
        ModelConfig ModelStatistics RepositoryIndex RepositoryModelLoad RepositoryModelUnload"""
    assert set(wanted.split()) <= set(methods)
    fields = methods["ModelInfer"].input_type.fields_by_name
    own = pb.ModelInferRequest.DESCRIPTOR.fields_by_name
    assert {name: field.number for name, field in fields.items()} == {name: field.number for name, field in own.items()}


def test_a_deadline_shorter_than_the_run(busy: Server) -> None:
    request = pb.ModelInferRequest(model_name=busy.name)
    request.inputs.add(name="x", datatype="FP32", shape=[1, 1])
    request.raw_input_contents.append(np.array([300], "<f4").tobytes())
    with grpc.insecure_channel(busy.grpc) as channel:
        late = outcome(stub(channel).ModelInfer, request, timeout=0.05)
        assert late.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        request.raw_input_contents[0] = np.array([1], "<f4").tobytes()
        assert raw_outputs(stub(channel).ModelInfer(request, timeout=20)) == {"y": request.raw_input_contents[0]}
