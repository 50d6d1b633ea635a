"""Every datatype comes back bit for bit, over both protocols alike, with and without a batch dimension."""

from __future__ import annotations

from typing import Any

import grpc
import ml_dtypes
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from numpy.typing import NDArray

from tests.integration import wire
from tests.integration.datatype_values import (
    DATATYPES,
    DTYPES,
    IN_JSON,
    MODELS,
    STRINGS,
    bytes_tensor,
    edge_bits,
    element_count,
    grpc_document,
    http_document,
    json_values,
    model_of,
    typed_grpc_document,
)
from tests.integration.harness import Server
from tests.integration.pair_model import raw_outputs, stub


@pytest.fixture(params=["", "batched_"], ids=["plain", "batched"])
def server(request: pytest.FixtureRequest) -> Server:
    """The identity model of the test's datatype, without and with a batch dimension."""
    datatype = request.node.callspec.params.get("datatype", "FP32")
    server: Server = request.getfixturevalue(request.param + model_of(datatype))
    return server


def over_http(server: Server, datatype: str, shape: list[int], raw: bytes) -> bytes:
    document, tail = http_document(datatype, shape, raw)
    reply = wire.post_binary(server, path_of(server), document, tail)
    assert reply.status == 200, reply.body[:500]
    (output,) = reply.json()["outputs"]
    assert (output["name"], output["datatype"], output["shape"]) == (f"{datatype.lower()}_out", datatype, shape)
    return reply.tensors()[f"{datatype.lower()}_out"]


def path_of(server: Server) -> str:
    return f"/v2/models/{server.name}/infer"


def over_grpc(server: Server, request: Any) -> bytes:
    with grpc.insecure_channel(server.grpc) as channel:
        answer = stub(channel).ModelInfer(request, timeout=20)
    (output,) = answer.outputs
    (asked,) = request.outputs
    tested = next(tensor for tensor in request.inputs if asked.name == tensor.name.replace("_in", "_out"))
    assert (output.name, output.datatype, list(output.shape)) == (asked.name, tested.datatype, list(tested.shape))
    return raw_outputs(answer)[output.name]


@pytest.mark.parametrize("datatype", DATATYPES)
def test_bits_survive_on_both_protocols(server: Server, datatype: str) -> None:
    shape, raw = edge_bits(datatype)
    assert over_http(server, datatype, shape, raw) == raw
    assert over_grpc(server, grpc_document(datatype, shape, raw)) == raw
    # again, now from the cache
    assert over_http(server, datatype, shape, raw) == raw


@pytest.mark.parametrize("datatype", DATATYPES)
def test_zero_length_dimensions(server: Server, datatype: str) -> None:
    for shape in ([0, 3], [2, 0], [0, 0]):
        assert over_http(server, datatype, shape, b"") == b""
        assert over_grpc(server, grpc_document(datatype, shape, b"")) == b""


@pytest.mark.parametrize("datatype", IN_JSON)
@pytest.mark.parametrize("nested", [False, True])
def test_json_there_and_back(server: Server, datatype: str, nested: bool) -> None:
    values = json_values(datatype)
    document, _ = http_document(datatype, [4, 2], b"", values, binary=False)
    if nested:
        tensor = next(item for item in document["inputs"] if item["datatype"] == datatype)
        tensor["data"] = [values[i : i + 2] for i in range(0, 8, 2)]
    reply = wire.post_binary(server, path_of(server), document)
    assert reply.status == 200, reply.body[:500]
    (output,) = reply.json()["outputs"]
    assert output["shape"] == [4, 2]
    assert [type(item) for item in output["data"]] == [type(item) for item in values]
    assert as_bits(datatype, output["data"]) == as_bits(datatype, values)


def as_bits(datatype: str, values: list[Any]) -> bytes:
    if datatype == "BYTES":
        return bytes_tensor([text.encode() for text in values])
    return np.array(values, DTYPES[datatype]).tobytes()


@pytest.mark.parametrize("datatype", IN_JSON)
def test_json_and_typed_contents_are_the_same_numbers_as_raw_bytes(server: Server, datatype: str) -> None:
    values = json_values(datatype)
    raw = as_bits(datatype, values)
    document, _ = http_document(datatype, [4, 2], b"", values, binary=False)
    document["outputs"][0]["parameters"] = {"binary_data": True}
    reply = wire.post_binary(server, path_of(server), document)
    assert reply.status == 200, reply.body[:500]
    assert reply.tensors() == {f"{datatype.lower()}_out": raw}
    typed = [text.encode() for text in values] if datatype == "BYTES" else values
    assert over_grpc(server, typed_grpc_document(datatype, [4, 2], typed)) == raw


@pytest.mark.parametrize("shape", [[1, 6], [6, 1], [2, 3], [3, 2]])
def test_equal_bytes_in_another_shape_keep_their_shape(server: Server, shape: list[int]) -> None:
    raw = np.arange(element_count(shape), dtype="<f4").tobytes()
    assert over_http(server, "FP32", shape, raw) == raw
    assert over_grpc(server, grpc_document("FP32", shape, raw)) == raw


def test_equal_bytes_of_other_datatypes_do_not_meet_in_the_cache(server: Server) -> None:
    raw = np.arange(1, 9, dtype="<i4").tobytes()
    for datatype in ("INT32", "FP32", "UINT32"):
        assert over_http(server, datatype, [4, 2], raw) == raw


def numpy_values(datatype: str) -> NDArray[Any]:
    if datatype == "BYTES":
        return np.array([text.encode() for text in STRINGS], object).reshape(2, 4)
    shape, raw = edge_bits(datatype)
    dtype = ml_dtypes.bfloat16 if datatype == "BF16" else np.dtype(DTYPES[datatype])
    return np.frombuffer(raw, dtype).reshape(shape)


@pytest.mark.parametrize("datatype", DATATYPES)
@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_tritonclient_reads_what_it_sent(server: Server, protocol: str, datatype: str) -> None:
    module: Any = triton_http if protocol == "http" else triton_grpc
    array = numpy_values(datatype)
    tensors = []
    for name in MODELS[server.name]:
        chosen = array if name == datatype else np.zeros((array.shape[0], 0), numpy_values(name).dtype)
        tensor = module.InferInput(f"{name.lower()}_in", list(chosen.shape), name)
        tensor.set_data_from_numpy(chosen)
        tensors.append(tensor)
    output = module.InferRequestedOutput(f"{datatype.lower()}_out")
    with module.InferenceServerClient(server.http if protocol == "http" else server.grpc) as client:
        found = client.infer(server.name, tensors, outputs=[output]).as_numpy(f"{datatype.lower()}_out")
    assert found.shape == array.shape
    assert found.dtype == array.dtype
    assert found.tolist() == array.tolist() if datatype == "BYTES" else found.tobytes() == array.tobytes()
