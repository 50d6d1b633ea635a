"""Bodies of the inference call over HTTP, both ways."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.errors import InvalidInput, ModelyardError, Unimplemented
from modelyard.protocol.rest_codec import Encoding, SoleInput, decode_request, encode_response
from modelyard.tensors import InferRequest, InferResponse, Tensor, to_bytes
from tests.unit.strategies import bytes_array, same, tensors

X: dict[str, Any] = {"name": "x", "shape": [2], "datatype": "INT32", "data": [1, 2]}
RAW = np.array([1, 2], np.int32).tobytes()


def no_sole_input() -> SoleInput:
    raise AssertionError("asked for the sole input of a request that is not raw")


def decode(document: object, binary: bytes | None = None) -> tuple[InferRequest, Encoding]:
    text = document if isinstance(document, bytes) else orjson.dumps(document)
    length = None if binary is None else len(text)
    return decode_request(text + (binary or b""), length, "m", "1", no_sole_input)


def binary_input(size: object, **more: object) -> dict[str, Any]:
    return {"name": "x", "shape": [2], "datatype": "INT32", "parameters": {"binary_data_size": size}, **more}


@given(st.lists(tensors(), min_size=1, max_size=3))
def test_binary_outputs_read_as_binary_inputs_are_the_same_tensors(outputs: list[Tensor]) -> None:
    parts, length = encode_response(InferResponse("m", "1", outputs), Encoding(default=True))
    assert length == len(parts[0])
    document = orjson.loads(parts[0])
    request, _ = decode({"inputs": document["outputs"]}, b"".join(parts[1:]))
    assert [(t.name, t.datatype) for t in request.inputs] == [(t.name, t.datatype) for t in outputs]
    assert all(same(got.array, put.array) for got, put in zip(request.inputs, outputs, strict=True))


def test_json_outputs_read_as_inputs_are_the_same_tensors() -> None:
    outputs = [
        Tensor("a", "FP32", np.array([[0.1, -0.0]], np.float32)),
        Tensor("b", "BYTES", bytes_array([b"x"], (1,))),
    ]
    parts, length = encode_response(InferResponse("m", "1", outputs), Encoding())
    assert (len(parts), length) == (1, None)
    request, _ = decode({"inputs": orjson.loads(parts[0])["outputs"]})
    assert all(same(got.array, put.array) for got, put in zip(request.inputs, outputs, strict=True))


def test_json_and_binary_outputs_stand_side_by_side_in_order() -> None:
    one, two, three = (Tensor(name, "UINT8", np.array([i], np.uint8)) for i, name in enumerate("abc"))
    parts, length = encode_response(InferResponse("m", "1", [one, two, three]), Encoding(True, {"b": False}))
    document = orjson.loads(parts[0])
    assert [("data" in output, "parameters" in output) for output in document["outputs"]] == [
        (False, True),
        (True, False),
        (False, True),
    ]
    assert (parts[1:], length) == ([b"\0", b"\x02"], len(parts[0]))


def test_what_a_request_says_arrives() -> None:
    request, encoding = decode(
        {
            "id": "42",
            "inputs": [X],
            "outputs": [{"name": "y", "parameters": {"binary_data": False}}, {"name": "z"}],
            "parameters": {"timeout": 2_500_000, "priority": 1, "binary_data_output": True, "mine": "kept"},
        }
    )
    assert (request.id, request.outputs, request.timeout, request.priority) == ("42", ("y", "z"), 2.5, 1)
    assert (request.model_name, request.model_version, request.protocol) == ("m", "1", "http")
    assert request.parameters["mine"] == "kept"
    assert (encoding.binary("y"), encoding.binary("z")) == (False, True)


@pytest.mark.parametrize(("parameters", "cached"), [({}, True), ({"cache": True}, True), ({"cache": False}, False)])
def test_a_request_says_whether_the_cache_may_serve_it(parameters: dict[str, bool], cached: bool) -> None:
    request, _ = decode({"inputs": [X], "parameters": parameters})
    assert request.cached is cached


@pytest.mark.parametrize("value", [0, 1, "false", 0.5])
def test_a_cache_parameter_of_another_type_is_refused_by_name(value: object) -> None:
    with pytest.raises(InvalidInput, match="'cache'"):
        decode({"inputs": [X], "parameters": {"cache": value}})


def test_an_id_is_echoed_and_an_absent_one_is_not_made_up() -> None:
    for name, document in (("7", {"id": "7"}), ("", {})):
        parts, _ = encode_response(InferResponse("m", "1", [], name), Encoding())
        assert {key: value for key, value in orjson.loads(parts[0]).items() if key == "id"} == document


@pytest.mark.parametrize(
    ("inputs", "binary"),
    [
        ([binary_input(8, data=[1, 2])], RAW),
        ([{"name": "x", "shape": [2], "datatype": "INT32"}], b""),
        ([binary_input(8)], RAW[:7]),
        ([binary_input(7)], RAW[:7]),
        ([binary_input(8)], RAW + b"\0"),
        ([X], b"\0"),
        ([binary_input(9)], RAW + b"\0"),
        ([binary_input(-1)], RAW),
        ([binary_input(True)], RAW),
        ([binary_input("8")], RAW),
        ([binary_input(8.0)], RAW),
        ([binary_input(2**62)], RAW),
        ([binary_input(8), binary_input(8)], RAW),
    ],
)
def test_binary_data_that_is_not_what_the_json_says_is_refused(inputs: list[dict[str, Any]], binary: bytes) -> None:
    with pytest.raises(InvalidInput):
        decode({"inputs": inputs}, binary)


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"[]", b"null", b'{"inputs": 1}', b'{"inputs": [{}]}', b'{"inputs": [], "id": 7}', b'{"id": "\xff"}'],
)
def test_what_is_no_request_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidInput):
        decode(text)


@given(st.binary(max_size=60), st.one_of(st.none(), st.integers(0, 80)))
def test_any_bytes_are_refused_and_never_break_anything(body: bytes, length: int | None) -> None:
    with pytest.raises(ModelyardError):
        decode_request(body, length, "m", "", lambda: ("x", "FP64", [2**20]))


def test_a_header_length_above_the_body_is_refused() -> None:
    with pytest.raises(InvalidInput, match="Content-Length"):
        decode_request(b"{}", 3, "m", "", no_sole_input)


@pytest.mark.parametrize("depth", [101, 250_000])
@pytest.mark.parametrize("bracket", [b"[", b'{"a":'])
def test_deep_json_is_refused(depth: int, bracket: bytes) -> None:
    with pytest.raises(InvalidInput):
        decode(b'{"inputs":[],"more":' + bracket * depth)


def test_many_brackets_are_not_deep_ones_and_those_in_strings_do_not_count() -> None:
    many: list[list[int]] = [[1]] * 500
    request, _ = decode({"inputs": [{**X, "shape": [500, 1], "data": many}]})
    assert request.inputs[0].shape == (500, 1)
    texts = ["[" * 300 + '\\"', "\\"]
    request, _ = decode({"inputs": [{"name": "x", "shape": [2], "datatype": "BYTES", "data": texts}]})
    assert request.inputs[0].array.tolist() == [text.encode() for text in texts]


@pytest.mark.parametrize("tail", [b"", b"\\", b'"', b"\\\n"])
@pytest.mark.parametrize("unit", [b'\\"', b'["', b'"a\\', b'"\\\n'])
def test_the_time_for_hostile_strings_grows_with_their_length_only(unit: bytes, tail: bytes) -> None:
    """A quadratic scan needs minutes for these; a linear one milliseconds."""
    body = b"[" * 101 + b'"' + unit * 100_000 + tail
    started = time.thread_time()
    with pytest.raises(InvalidInput):
        decode(body)
    assert time.thread_time() - started < 2


@pytest.mark.parametrize("where", ["input", "output"])
def test_shared_memory_and_classification_are_said_to_be_unsupported(where: str) -> None:
    region = {"name": "x", "parameters": {"shared_memory_region": "r"}}
    document = {"inputs": [{**X, **region}]} if where == "input" else {"inputs": [X], "outputs": [region]}
    with pytest.raises(Unimplemented):
        decode(document)
    with pytest.raises(Unimplemented):
        decode({"inputs": [X], "outputs": [{"name": "y", "parameters": {"classification": 3}}]})


@given(tensors(min_rows=1))
def test_a_raw_request_is_one_row_of_the_only_input(tensor: Tensor) -> None:
    row = tensor.array[:1]
    body = to_bytes(tensor.datatype, row)
    request, encoding = decode_request(body, 0, "m", "1", lambda: (tensor.name, tensor.datatype, list(row.shape)))
    assert same(request.inputs[0].array, row)
    assert encoding.binary("anything")


@pytest.mark.parametrize(("datatype", "count"), [("FP32", 6), ("BYTES", 6), ("FP32", 0)])
def test_a_raw_request_finds_its_one_free_dimension(datatype: str, count: int) -> None:
    array = bytes_array([b"abc"] * count, (count,)) if datatype == "BYTES" else np.ones(count, np.float32)
    body = to_bytes(datatype, array)
    request, _ = decode_request(body, 0, "m", "", lambda: ("x", datatype, [1, -1, 2]))
    assert request.inputs[0].shape == (1, count // 2, 2)


@pytest.mark.parametrize("shape", [[1, -1, -1], [1, 2], [1, -1, 3]])
def test_a_raw_request_that_does_not_fit_is_refused(shape: list[int]) -> None:
    with pytest.raises(InvalidInput):
        decode_request(bytes(20), 0, "m", "", lambda: ("x", "FP32", shape))


def test_optional_fields_may_be_null() -> None:
    """Typed clients send what they have not got as null."""
    body = orjson.dumps(
        {
            "id": None,
            "parameters": None,
            "outputs": None,
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [2], "data": [1, 2], "parameters": None}],
        }
    )
    request, encoding = decode_request(body, None, "m", "", lambda: ("x", "FP32", [2]))
    assert request.id == ""
    assert request.parameters == {}
    assert request.outputs == ()
    assert request.inputs[0].array.tolist() == [1.0, 2.0]
    assert not encoding.default
