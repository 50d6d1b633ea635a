"""Wrong gRPC requests: each gets its status and a text, and the server goes on as if nothing had come."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2 as pb

from tests.integration.datatype_values import bytes_tensor, grpc_document, model_of, typed_grpc_document
from tests.integration.harness import Server
from tests.integration.pair_model import (
    A_ROW,
    NAME,
    assert_well,
    grpc_request,
    outcome,
    refused,
    stub,
    typed_grpc_request,
)

INVALID = grpc.StatusCode.INVALID_ARGUMENT
ROW = np.array(A_ROW, "<f4").tobytes()
Change = Callable[[Any], object]


@pytest.fixture(autouse=True)
def stays_well(pair: Server) -> Iterator[None]:
    """After every bad request: live, and the next good requests are answered right."""
    yield
    assert_well(pair)


@pytest.fixture
def service(pair: Server) -> Iterator[Any]:
    with grpc.insecure_channel(pair.grpc) as channel:
        yield stub(channel)


@pytest.fixture
def types(datatypes: Server) -> Iterator[Any]:
    with grpc.insecure_channel(datatypes.grpc) as channel:
        yield stub(channel)


def reshape(index: int, *shape: int) -> Change:
    def change(request: Any) -> None:
        request.inputs[index].shape[:] = shape

    return change


def assign(index: int, field: str, value: Any) -> Change:
    return lambda request: setattr(request.inputs[index], field, value)


def raw(index: int, data: bytes) -> Change:
    def change(request: Any) -> None:
        request.raw_input_contents[index] = data

    return change


def batch_of(count: int) -> Change:
    def change(request: Any) -> None:
        for index in (0, 1):
            request.inputs[index].shape[:] = [count, 4]
            request.raw_input_contents[index] = ROW * count

    return change


def outputs(*names: str) -> Change:
    return lambda request: [request.outputs.add(name=name) for name in names]


def parameter(name: str, kind: str, value: Any) -> Change:
    return lambda request: setattr(request.parameters[name], kind, value)


def both_contents(request: Any) -> None:
    request.inputs[0].contents.fp32_contents.extend(A_ROW)


def one_input_only(request: Any) -> None:
    del request.inputs[1], request.raw_input_contents[1]


def no_inputs(request: Any) -> None:
    del request.inputs[:], request.raw_input_contents[:]


WRONG: dict[str, Change] = {
    "zero inputs": no_inputs,
    "missing input": one_input_only,
    "unknown input": assign(0, "name", "z"),
    "empty name": assign(0, "name", ""),
    "duplicate input": assign(1, "name", "a"),
    "one input too many": lambda request: request.inputs.add(name="c", datatype="FP32", shape=[1, 4]),
    "wrong datatype": assign(0, "datatype", "FP64"),
    "wrong datatype of the same size": assign(1, "datatype", "UINT32"),
    "unknown datatype": assign(0, "datatype", "FP31"),
    "empty datatype": assign(0, "datatype", ""),
    "rank too low": reshape(0, 4),
    "rank too high": reshape(0, 1, 1, 4),
    "rank zero": reshape(0),
    "wrong fixed dimension": reshape(0, 2, 2),
    "negative dimension": reshape(0, -1, 4),
    "both negative": reshape(0, -1, -4),
    "batch above the maximum": batch_of(9),
    "inputs of unequal batch": lambda request: (reshape(0, 2, 4)(request), raw(0, ROW * 2)(request)),
    "shape of another size": reshape(0, 2, 4),
    "raw too short": raw(0, b"\0" * 15),
    "raw too long": raw(0, b"\0" * 17),
    "raw empty": raw(0, b""),
    "contents and raw both": both_contents,
    "raw contents fewer than inputs": lambda request: request.raw_input_contents.pop(),
    "raw contents more than inputs": lambda request: request.raw_input_contents.append(ROW),
    "neither contents nor raw": lambda request: request.ClearField("raw_input_contents"),
    "unknown output": outputs("sum", "z"),
    "duplicate output": outputs("sum", "sum"),
    "output without a name": outputs(""),
    "timeout negative": parameter("timeout", "int64_param", -1),
    "timeout a string": parameter("timeout", "string_param", "soon"),
    "cache a string": parameter("cache", "string_param", "false"),
    "cache a number": parameter("cache", "int64_param", 0),
    "shape [2^63-1, 2]": reshape(0, 2**63 - 1, 2),
    "shape [1, 2^40]": reshape(0, 1, 2**40),
    "shape of 100000 dimensions": reshape(0, *[1] * 100_000),
}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG.keys())
def test_wrong_request(service: Any, change: Change) -> None:
    request = grpc_request()
    change(request)
    refused(outcome(service.ModelInfer, request), INVALID)
    # the same on a stream, which goes on
    answers = list(service.ModelStreamInfer(iter([request, grpc_request()]), timeout=20))
    assert [bool(answer.error_message) for answer in answers] == [True, False]


WRONG_CONTENTS: dict[str, Change] = {
    "too few": lambda request: request.inputs[0].contents.fp32_contents.pop(),
    "too many": lambda request: request.inputs[0].contents.fp32_contents.append(1.0),
    "none for one": lambda request: request.inputs[0].ClearField("contents"),
    "field of another datatype": lambda request: (
        request.inputs[0].ClearField("contents"),
        request.inputs[0].contents.fp64_contents.extend(A_ROW),
    ),
    "two fields": lambda request: request.inputs[0].contents.int_contents.extend([1, 2, 3, 4]),
    "int64 for INT32": lambda request: (
        request.inputs[1].ClearField("contents"),
        request.inputs[1].contents.int64_contents.extend([1, 2, 3, 4]),
    ),
}


@pytest.mark.parametrize("change", WRONG_CONTENTS.values(), ids=WRONG_CONTENTS.keys())
def test_wrong_typed_contents(service: Any, change: Change) -> None:
    request = typed_grpc_request()
    change(request)
    refused(outcome(service.ModelInfer, request), INVALID)


@pytest.mark.parametrize(
    ("datatype", "value"),
    [("INT8", 128), ("INT8", -129), ("INT16", 32768), ("UINT8", 256), ("UINT16", 65536), ("INT8", 2**31 - 1)],
)
def test_typed_contents_outside_their_datatype(types: Any, datatype: str, value: int) -> None:
    """Small integers travel in 32-bit fields: what does not fit is refused, never wrapped."""
    text = refused(outcome(types.ModelInfer, typed_grpc_document(datatype, [1, 1], [value])), INVALID)
    assert f"{datatype.lower()}_in" in text


@pytest.mark.parametrize("datatype", ["FP16", "BF16"])
def test_half_floats_travel_raw_only(request: pytest.FixtureRequest, datatype: str) -> None:
    server: Server = request.getfixturevalue(model_of(datatype))
    message = grpc_document(datatype, [1, 2], b"")
    del message.raw_input_contents[:]
    tensor = next(item for item in message.inputs if item.datatype == datatype)
    tensor.contents.fp32_contents.extend([1.0, 2.0])
    with grpc.insecure_channel(server.grpc) as channel:
        refused(outcome(stub(channel).ModelInfer, message), INVALID)


HUGE = [[2**63 - 1, 2], [1, 2**40], [2**4, 2**60 + 2], [2**32, 2**32], [2**62, 4], [0, 2**63 - 1], [2**3, 2**59 + 1]]


@pytest.mark.parametrize("shape", HUGE, ids=str)
@pytest.mark.parametrize("datatype", ["FP32", "BYTES", "BOOL"])
@pytest.mark.parametrize("size", [8, 32, 128])
def test_huge_shapes_allocate_nothing(
    types: Any, datatypes: Server, datatype: str, shape: list[int], size: int
) -> None:
    request = grpc_document(datatype, shape, b"\0" * size)
    for tensor in request.inputs:
        if tensor.datatype != datatype:
            tensor.shape[:] = [0, 0]
    before = datatypes.memory_bytes()
    refused(outcome(types.ModelInfer, request), INVALID)
    assert datatypes.memory_bytes() - before < 50_000_000


ELEMENTS = bytes_tensor([b"one", b"two"])
BYTES_LIES = {
    "one element too few": bytes_tensor([b"one"]),
    "one element too many": bytes_tensor([b"one", b"two", b"x"]),
    "last length too long": ELEMENTS[:7] + struct.pack("<I", 4) + b"two",
    "last length too short": ELEMENTS[:7] + struct.pack("<I", 2) + b"two",
    "first length of 2^32 - 1": struct.pack("<I", 0xFFFF_FFFF) + ELEMENTS[4:],
    "cut inside a length": ELEMENTS[:9],
    "no lengths": b"onetwo",
    "not UTF-8 for a model of strings": bytes_tensor([b"one", b"\xff\xfe"]),
}


@pytest.mark.parametrize("data", BYTES_LIES.values(), ids=BYTES_LIES.keys())
def test_lengths_of_elements_that_lie(types: Any, data: bytes) -> None:
    assert "bytes_in" in refused(outcome(types.ModelInfer, grpc_document("BYTES", [1, 2], data)), INVALID)


NAMES = ["nobody", "", "../pair", "..%2fpair", "pair\0", "..\\pair", "pair/versions/1", ".", "x" * 100_000, "PAIR"]


@pytest.mark.parametrize("name", NAMES, ids=lambda name: repr(name[:20]))
def test_names_that_lead_nowhere(service: Any, name: str) -> None:
    found = (grpc.StatusCode.NOT_FOUND, INVALID)
    text = refused(outcome(service.ModelInfer, grpc_request(name)), *found)
    if name == "nobody":
        assert "unknown model" in text
        assert "nobody" in text
    refused(outcome(service.ModelMetadata, pb.ModelMetadataRequest(name=name)), *found)
    refused(outcome(service.ModelConfig, pb.ModelConfigRequest(name=name)), *found)
    if name:
        refused(outcome(service.ModelStatistics, pb.ModelStatisticsRequest(name=name)), *found)


@pytest.mark.parametrize("version", ["9", "..", "../1", "1\0", "01", " 1", "-1", "latest"])
def test_versions_that_lead_nowhere(service: Any, version: str) -> None:
    request = grpc_request()
    request.model_version = version
    refused(outcome(service.ModelInfer, request), grpc.StatusCode.NOT_FOUND, INVALID)
    request_of_metadata = pb.ModelMetadataRequest(name=NAME, version=version)
    refused(outcome(service.ModelMetadata, request_of_metadata), grpc.StatusCode.NOT_FOUND, INVALID)
