"""The Open Inference Protocol over HTTP, as tritonclient speaks it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
from numpy.testing import assert_array_equal
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException

from tests.integration import wire
from tests.integration.harness import Server
from tests.integration.pair_model import A_ROW, B_ROW, INFER, NAME, SUM_ROW, TWICE_ROW, assert_well, document

A = np.array([A_ROW, [4, 3, 2, 1]], np.float32)
B = np.array([B_ROW, [-1, -2, -3, -4]], np.int32)
SUM = A + B
TWICE = 2 * B


@pytest.fixture
def client(pair: Server) -> Iterator[Any]:
    with triton.InferenceServerClient(pair.http) as client:
        yield client


def tensors(a: NDArray[Any] = A, b: NDArray[Any] = B, *, binary: tuple[bool, bool] = (True, True)) -> list[Any]:
    found = []
    for name, array, datatype, as_binary in (("a", a, "FP32", binary[0]), ("b", b, "INT32", binary[1])):
        tensor = triton.InferInput(name, list(array.shape), datatype)
        tensor.set_data_from_numpy(array, binary_data=as_binary)
        found.append(tensor)
    return found


def output_of(result: Any, name: str) -> dict[str, Any]:
    """The description of one output; it must be there."""
    found: dict[str, Any] = result.get_output(name)
    assert found is not None, f"no output {name}"
    return found


def is_binary(output: dict[str, Any]) -> bool:
    return "binary_data_size" in output.get("parameters", {})


def test_live_and_ready(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(NAME)
    assert client.is_model_ready(NAME, "1")
    assert not client.is_model_ready("nobody")
    assert not client.is_model_ready(NAME, "77")


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/healthz", "/metrics"])
def test_probes_of_the_platform(pair: Server, path: str) -> None:
    assert pair.status(path) == 200


def test_server_metadata(client: Any) -> None:
    metadata = client.get_server_metadata()
    assert metadata["name"]
    assert metadata["version"]
    assert {"binary_tensor_data", "statistics", "model_repository"} <= set(metadata["extensions"])
    # only what works is named
    assert not {name for name in metadata["extensions"] if "memory" in name or name in {"trace", "logging"}}


@pytest.mark.parametrize("version", ["", "1"])
def test_model_metadata(client: Any, version: str) -> None:
    metadata = client.get_model_metadata(NAME, version)
    assert metadata["name"] == NAME
    assert metadata["versions"] == ["1"]
    assert metadata["platform"]
    assert metadata["inputs"] == [
        {"name": "a", "datatype": "FP32", "shape": [-1, 4]},
        {"name": "b", "datatype": "INT32", "shape": [-1, 4]},
    ]
    assert metadata["outputs"] == [
        {"name": "sum", "datatype": "FP32", "shape": [-1, 4]},
        {"name": "twice", "datatype": "INT32", "shape": [-1, 4]},
    ]


def test_model_config(client: Any) -> None:
    config = client.get_model_config(NAME)
    assert config["name"] == NAME
    assert config["max_batch_size"] == 8
    # as Triton writes it: without the batch dimension, datatypes with a TYPE_ in front
    assert [(tensor["name"], tensor["data_type"]) for tensor in config["input"]] == [
        ("a", "TYPE_FP32"),
        ("b", "TYPE_INT32"),
    ]
    assert [list(map(int, tensor["dims"])) for tensor in config["output"]] == [[4], [4]]


def test_statistics_count_rows_and_runs(client: Any) -> None:
    before = client.get_inference_statistics(NAME)["model_stats"][0]
    fresh = np.arange(12, dtype=np.float32).reshape(3, 4) + 1_000
    client.infer(NAME, tensors(fresh, np.zeros((3, 4), np.int32)))
    after = client.get_inference_statistics(NAME, "1")["model_stats"][0]
    assert (after["name"], after["version"]) == (NAME, "1")
    assert after["inference_count"] == before["inference_count"] + 3
    assert after["execution_count"] == before["execution_count"] + 1
    stats, earlier = after["inference_stats"], before["inference_stats"]
    assert stats["success"]["count"] == earlier["success"]["count"] + 1
    assert stats["success"]["ns"] > earlier["success"]["ns"]
    for name in (
        "fail",
        "queue",
        "compute_input",
        "compute_infer",
        "compute_output",
        "cache_hit",
        "cache_miss",
    ):
        assert {"count", "ns"} <= set(stats[name])
    assert any(batch["batch_size"] == 3 for batch in after["batch_stats"])


def test_statistics_of_every_model(client: Any) -> None:
    models = client.get_inference_statistics()["model_stats"]
    assert (NAME, "1") in [(entry["name"], entry["version"]) for entry in models]


def test_repository_index(client: Any, pair: Server) -> None:
    (entry,) = client.get_model_repository_index()
    assert (entry["name"], entry["version"], entry["state"]) == (NAME, "1", "READY")
    assert wire.post_json(pair, "/v2/repository/index", b"").json() == [entry]
    assert wire.post_json(pair, "/v2/repository/index", {"ready": True}).json() == [entry]


@pytest.mark.parametrize("b_binary", [True, False])
@pytest.mark.parametrize("a_binary", [True, False])
def test_json_and_binary_inputs_mix(client: Any, a_binary: bool, b_binary: bool) -> None:
    result = client.infer(NAME, tensors(binary=(a_binary, b_binary)))
    assert_array_equal(result.as_numpy("sum"), SUM)
    assert_array_equal(result.as_numpy("twice"), TWICE)
    # tritonclient asks for binary_data_output when it names no outputs
    assert is_binary(output_of(result, "sum"))
    assert is_binary(output_of(result, "twice"))


@pytest.mark.parametrize("twice_binary", [True, False])
@pytest.mark.parametrize("sum_binary", [True, False])
def test_each_output_is_sent_as_it_is_asked_for(client: Any, sum_binary: bool, twice_binary: bool) -> None:
    asked = [
        triton.InferRequestedOutput("twice", binary_data=twice_binary),
        triton.InferRequestedOutput("sum", binary_data=sum_binary),
    ]
    result = client.infer(NAME, tensors(), outputs=asked)
    assert_array_equal(result.as_numpy("sum"), SUM)
    assert_array_equal(result.as_numpy("twice"), TWICE)
    assert is_binary(output_of(result, "sum")) is sum_binary
    assert is_binary(output_of(result, "twice")) is twice_binary


def test_only_the_outputs_that_were_asked_for(client: Any) -> None:
    result = client.infer(NAME, tensors(), outputs=[triton.InferRequestedOutput("twice")])
    assert [output["name"] for output in result.get_response()["outputs"]] == ["twice"]


def test_answer_names_what_gave_it(client: Any, pair: Server) -> None:
    result = client.infer(NAME, tensors(), request_id="an id / ä").get_response()
    assert result["id"] == "an id / ä"
    assert (result["model_name"], result["model_version"]) == (NAME, "1")
    assert result["parameters"]["backend"] == "onnxruntime-cpu"
    assert result["parameters"]["cache"] in {"hit", "join", "partial", "miss", "bypass"}
    reply = wire.post_json(pair, INFER, document())
    assert reply.headers["x-modelyard-backend"] == "onnxruntime-cpu"
    assert "id" not in reply.json()


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
@pytest.mark.parametrize("way", ["request", "response", "both"])
def test_compression(client: Any, algorithm: str, way: str) -> None:
    encodings = {}
    if way in {"request", "both"}:
        encodings["request_compression_algorithm"] = algorithm
    if way in {"response", "both"}:
        encodings["response_compression_algorithm"] = algorithm
    a, b = np.tile(A, (4, 1)), np.tile(B, (4, 1))
    result = client.infer(NAME, tensors(a, b, binary=(True, False)), **encodings)
    assert_array_equal(result.as_numpy("sum"), a + b)
    assert_array_equal(result.as_numpy("twice"), 2 * b)


def test_versions(client: Any) -> None:
    result = client.infer(NAME, tensors(), model_version="1")
    assert_array_equal(result.as_numpy("sum"), SUM)
    with pytest.raises(InferenceServerException) as refusal:
        client.infer(NAME, tensors(), model_version="2")
    assert refusal.value.status() == "404"


def test_same_request_again_comes_from_the_cache(client: Any) -> None:
    a = np.full((1, 4), 31.25, np.float32)
    first = client.infer(NAME, tensors(a, B[:1]))
    again = client.infer(NAME, tensors(a, B[:1], binary=(False, False)))
    assert first.get_response()["parameters"]["cache"] == "miss"
    assert again.get_response()["parameters"]["cache"] == "hit"
    assert first.as_numpy("sum").tobytes() == again.as_numpy("sum").tobytes()


def test_answer_of_the_lasting_connection(client: Any, pair: Server) -> None:
    """Refusals do not break a kept connection for the requests after them."""
    for _ in range(5):
        with pytest.raises(InferenceServerException):
            client.infer(NAME, tensors()[:1])
        assert_array_equal(client.infer(NAME, tensors()).as_numpy("twice"), TWICE)
    assert_well(pair)


def test_row_constants_agree() -> None:
    assert SUM[0].tolist() == SUM_ROW
    assert TWICE[0].tolist() == TWICE_ROW
