"""Messages of the inference call over gRPC, both ways."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.errors import InvalidInput, Unimplemented
from modelyard.protocol._pb import open_inference_grpc_pb2 as pb
from modelyard.protocol.grpc_codec import CONTENTS, decode_request, encode_response
from modelyard.tensors import DTYPES, InferResponse, Tensor, to_bytes
from tests.unit.strategies import Array, arrays, same, tensors


def raw_message(*given: Tensor) -> pb.ModelInferRequest:
    message = pb.ModelInferRequest(model_name="m", model_version="2", id="7")
    for tensor in given:
        message.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        message.raw_input_contents.append(to_bytes(tensor.datatype, tensor.array))
    return message


def typed_message(datatype: str, shape: list[int], values: list[Any], field: str = "") -> pb.ModelInferRequest:
    message = pb.ModelInferRequest(model_name="m")
    given = message.inputs.add(name="x", datatype=datatype, shape=shape)
    getattr(given.contents, field or CONTENTS[datatype]).extend(values)
    return message


@given(st.lists(tensors(), min_size=1, max_size=3))
def test_raw_contents_come_through_bit_for_bit_both_ways(given: list[Tensor]) -> None:
    request = decode_request(pb.ModelInferRequest.FromString(raw_message(*given).SerializeToString()))
    assert (request.model_name, request.model_version, request.id, request.protocol) == ("m", "2", "7", "grpc")
    assert [(t.name, t.datatype) for t in request.inputs] == [(t.name, t.datatype) for t in given]
    assert all(same(got.array, put.array) for got, put in zip(request.inputs, given, strict=True))
    answer = encode_response(InferResponse("m", "2", given, "7", {"cache": "hit"}))
    assert list(answer.raw_output_contents) == [to_bytes(t.datatype, t.array) for t in given]
    assert [tuple(output.shape) for output in answer.outputs] == [t.shape for t in given]
    assert (answer.id, answer.parameters["cache"].string_param) == ("7", "hit")


@pytest.mark.parametrize("datatype", sorted(CONTENTS))
@given(data=st.data())
def test_typed_contents_are_the_values(datatype: str, data: st.DataObject) -> None:
    array: Array = data.draw(arrays(datatype, (2, 2)))
    if array.dtype.kind == "f":
        array = np.nan_to_num(array)  # a signalling NaN does not survive Python's float
    (tensor,) = decode_request(typed_message(datatype, [2, 2], array.ravel().tolist())).inputs
    assert same(tensor.array, array)


@pytest.mark.parametrize("datatype", ["UINT8", "UINT16", "INT8", "INT16"])
def test_what_does_not_fit_in_8_or_16_bits_is_refused(datatype: str) -> None:
    bounds = np.iinfo(DTYPES[datatype])
    good = decode_request(typed_message(datatype, [2], [int(bounds.min), int(bounds.max)]))
    assert good.inputs[0].array.tolist() == [bounds.min, bounds.max]
    with pytest.raises(InvalidInput):
        decode_request(typed_message(datatype, [1], [int(bounds.max) + 1]))
    if bounds.min:
        with pytest.raises(InvalidInput):
            decode_request(typed_message(datatype, [1], [int(bounds.min) - 1]))


@pytest.mark.parametrize(
    "message",
    [
        typed_message("INT32", [2], [1]),
        typed_message("INT32", [1], [1, 2]),
        typed_message("INT32", [-1], [1]),
        typed_message("INT32", [2**62, 4], [1]),
        typed_message("INT32", [1], [1], "int64_contents"),
        typed_message("FP16", [1], [1.0], "fp32_contents"),
        typed_message("BF16", [1], [1.0], "fp32_contents"),
        typed_message("FLOAT", [1], [1.0], "fp32_contents"),
    ],
)
def test_typed_contents_that_do_not_fit_are_refused(message: pb.ModelInferRequest) -> None:
    with pytest.raises(InvalidInput):
        decode_request(message)


def test_raw_and_typed_contents_together_are_refused() -> None:
    message = typed_message("INT32", [1], [1])
    message.raw_input_contents.append(b"\0\0\0\0")
    with pytest.raises(InvalidInput, match="both"):
        decode_request(message)


@pytest.mark.parametrize("change", [-1, 1])
def test_raw_contents_are_one_for_each_input(change: int) -> None:
    message = raw_message(*(Tensor("x", "UINT8", np.zeros(1, np.uint8)),) * 2)
    if change > 0:
        message.raw_input_contents.append(b"")
    else:
        message.raw_input_contents.pop()
    with pytest.raises(InvalidInput, match="raw contents"):
        decode_request(message)


def test_parameters_outputs_priority_and_timeout_arrive() -> None:
    message = raw_message(Tensor("x", "UINT8", np.zeros(1, np.uint8)))
    message.parameters["priority"].int64_param = 1
    message.parameters["timeout"].uint64_param = 500_000
    message.parameters["mine"].double_param = 0.5
    message.outputs.add(name="y")
    request = decode_request(message)
    assert (request.priority, request.timeout, request.parameters["mine"], request.outputs) == (1, 0.5, 0.5, ("y",))


def test_a_request_says_whether_the_cache_may_serve_it() -> None:
    message = raw_message(Tensor("x", "UINT8", np.zeros(1, np.uint8)))
    assert decode_request(message).cached
    message.parameters["cache"].bool_param = False
    assert not decode_request(message).cached
    message.parameters["cache"].string_param = "false"
    with pytest.raises(InvalidInput, match="'cache'"):
        decode_request(message)


def test_a_parameter_without_a_value_is_refused() -> None:
    message = raw_message()
    message.parameters["empty"].SetInParent()
    with pytest.raises(InvalidInput, match="empty"):
        decode_request(message)


@pytest.mark.parametrize("name", ["shared_memory_region", "classification"])
def test_extensions_that_are_not_there_are_said_to_be_unsupported(name: str) -> None:
    message = raw_message(Tensor("x", "UINT8", np.zeros(1, np.uint8)))
    message.outputs.add(name="y").parameters[name].int64_param = 1
    with pytest.raises(Unimplemented):
        decode_request(message)
