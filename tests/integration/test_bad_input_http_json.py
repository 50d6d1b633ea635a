"""Wrong JSON requests: each gets 400 with a text that says why, and the server goes on as if nothing had come."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.integration import wire
from tests.integration.datatype_values import http_document, model_of
from tests.integration.harness import Server
from tests.integration.pair_model import A_ROW, INFER, assert_well, changed, document

TYPES_INFER = "/v2/models/datatypes/infer"
GOOD = json.dumps(document()).encode()

INPUT_A = ("inputs", 0)
INPUT_B = ("inputs", 1)


@pytest.fixture(autouse=True)
def stays_well(pair: Server) -> Iterator[None]:
    """After every bad request: live, and the next good requests are answered right."""
    yield
    assert_well(pair)


MALFORMED = {
    "empty body": b"",
    "cut": GOOD[:-5],
    "garbage": b"\x00\x01\x02{{{",
    "bytes after the object": GOOD + b"]",
    "two objects": GOOD + GOOD,
    "a list": b"[" + GOOD + b"]",
    "a string": b'"infer"',
    "a number": b"5",
    "null": b"null",
    "depth 101": b'{"inputs":' + b"[" * 101 + b"]" * 101 + b"}",
    "depth 250000": b'{"inputs":' + b"[" * 250_000 + b"]" * 250_000 + b"}",
    "depth 250000 unclosed": b"[" * 250_000,
    "objects 250000 deep": b'{"a":' * 250_000 + b"1" + b"}" * 250_000,
    "depth inside data": GOOD.replace(b"[1.0,", b"[" + b"[" * 150 + b"1.0" + b"]" * 150 + b","),
    "invalid UTF-8 in a string": GOOD.replace(b'"a"', b'"\xff\xfe"'),
    "overlong UTF-8": GOOD.replace(b'"a"', b'"\xc1\xa1"'),
    "half a surrogate": GOOD.replace(b"{", b'{"id": "\\ud800",', 1),
    "NaN": GOOD.replace(b"2.5", b"NaN"),
    "Infinity": GOOD.replace(b"2.5", b"Infinity"),
    "-Infinity": GOOD.replace(b"2.5", b"-Infinity"),
    "1e400": GOOD.replace(b"2.5", b"1e400"),
    "UTF-16": json.dumps(document()).encode("utf-16"),
    "comment": b"/* */" + GOOD,
    "trailing comma": GOOD[:-1] + b",}",
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_json(pair: Server, body: bytes) -> None:
    assert body != GOOD
    wire.post_json(pair, INFER, body).refused(400)


WRONG = {
    "no inputs key": {"outputs": []},
    "zero inputs": {"inputs": []},
    "inputs an object": {"inputs": {}},
    "inputs null": {"inputs": None},
    "input not an object": {"inputs": [1, 2]},
    "missing input": {"inputs": document()["inputs"][:1]},
    "duplicate input": {"inputs": [*document()["inputs"], document()["inputs"][0]]},
    "duplicate instead of the other": {"inputs": [document()["inputs"][0]] * 2},
    "unknown input": changed((*INPUT_A, "name"), "z"),
    "one input too many": {"inputs": [*document()["inputs"], document()["inputs"][0] | {"name": "c"}]},
    "no name": {"inputs": [{**document()["inputs"][0], "name": None}, document()["inputs"][1]]},
    "name a number": changed((*INPUT_A, "name"), 5),
    "wrong datatype": changed((*INPUT_A, "datatype"), "FP64"),
    "wrong datatype of the same size": changed((*INPUT_B, "datatype"), "UINT32"),
    "unknown datatype": changed((*INPUT_A, "datatype"), "FP31"),
    "numpy's word for it": changed((*INPUT_A, "datatype"), "float32"),
    "datatype in lower case": changed((*INPUT_A, "datatype"), "fp32"),
    "datatype null": changed((*INPUT_A, "datatype"), None),
    "rank too low": changed((*INPUT_A, "shape"), [4]),
    "rank too high": changed((*INPUT_A, "shape"), [1, 1, 4]),
    "rank zero": changed((*INPUT_A, "shape"), []),
    "wrong fixed dimension": changed((*INPUT_A, "shape"), [2, 2]),
    "negative dimension": changed((*INPUT_A, "shape"), [-1, 4]),
    "both negative": changed((*INPUT_A, "shape"), [-1, -4]),
    "dimension a float": changed((*INPUT_A, "shape"), [1.0, 4]),
    "dimension a string": changed((*INPUT_A, "shape"), ["1", 4]),
    "dimension a boolean": changed((*INPUT_A, "shape"), [True, 4]),
    "dimension null": changed((*INPUT_A, "shape"), [None, 4]),
    "dimension of 2^64": changed((*INPUT_A, "shape"), [1 << 64, 4]),
    "shape a number": changed((*INPUT_A, "shape"), 4),
    "shape null": changed((*INPUT_A, "shape"), None),
    "batch above the maximum": document(A_ROW * 9, [1, 2, 3, 4] * 9),
    "inputs of unequal batch": document(A_ROW * 2),
    "data longer than the shape": changed((*INPUT_A, "data"), [1, 2, 3, 4, 5]),
    "data shorter than the shape": changed((*INPUT_A, "data"), [1, 2, 3]),
    "no elements": changed((*INPUT_A, "data"), []),
    "ragged": changed((*INPUT_A, "data"), [[1, 2, 3], [4]]),
    "nested otherwise than the shape": changed((*INPUT_A, "data"), [[1, 2], [3, 4]]),
    "data a number": changed((*INPUT_A, "data"), 1),
    "data null": changed((*INPUT_A, "data"), None),
    "data a string": changed((*INPUT_A, "data"), "1234"),
    "data an object": changed((*INPUT_A, "data"), {"0": 1}),
    "neither data nor binary_data_size": {"inputs": [{"name": "a", "shape": [1, 4], "datatype": "FP32"}]},
    "both data and binary_data_size": changed((*INPUT_A, "parameters"), {"binary_data_size": 16}),
    "2^31 for INT32": changed((*INPUT_B, "data", 0), 1 << 31),
    "-2^31-1 for INT32": changed((*INPUT_B, "data", 0), -(1 << 31) - 1),
    "2^64 for INT32": changed((*INPUT_B, "data", 0), 1 << 64),
    "2^32+1 for INT32": changed((*INPUT_B, "data", 0), (1 << 32) + 1),
    "10^400 for INT32": changed((*INPUT_B, "data", 0), 10**400),
    "1.5 for INT32": changed((*INPUT_B, "data", 0), 1.5),
    "1.0 for INT32": changed((*INPUT_B, "data", 0), 1.0),
    "a string for INT32": changed((*INPUT_B, "data", 0), "1"),
    "true for INT32": changed((*INPUT_B, "data", 0), True),
    "null for INT32": changed((*INPUT_B, "data", 0), None),
    "a list for INT32": changed((*INPUT_B, "data", 0), [1]),
    "true for FP32": changed((*INPUT_A, "data", 0), True),
    "a string for FP32": changed((*INPUT_A, "data", 0), "1.0"),
    "null for FP32": changed((*INPUT_A, "data", 0), None),
    "an object for FP32": changed((*INPUT_A, "data", 0), {}),
    "1e39 for FP32": changed((*INPUT_A, "data", 0), 1e39),
    "unknown output": document() | {"outputs": [{"name": "sum"}, {"name": "z"}]},
    "duplicate output": document() | {"outputs": [{"name": "sum"}, {"name": "sum"}]},
    "output without a name": document() | {"outputs": [{}]},
    "output not an object": document() | {"outputs": ["sum"]},
    "outputs an object": document() | {"outputs": {"name": "sum"}},
    "id a number": document() | {"id": 5},
    "id an object": document() | {"id": {}},
    "parameters a list": document() | {"parameters": []},
    "parameters of an input a string": changed((*INPUT_A, "parameters"), "x"),
    "parameters of an output a number": document() | {"outputs": [{"name": "sum", "parameters": 1}]},
    "binary_data_output a string": document() | {"parameters": {"binary_data_output": "yes"}},
    "binary_data a number": document() | {"outputs": [{"name": "sum", "parameters": {"binary_data": 3}}]},
    "timeout a string": document() | {"parameters": {"timeout": "soon"}},
    "timeout negative": document() | {"parameters": {"timeout": -1}},
    "priority negative": document() | {"parameters": {"priority": -1}},
    "cache a string": document() | {"parameters": {"cache": "false"}},
    "cache a number": document() | {"parameters": {"cache": 0}},
    "shape of too many dimensions": changed((*INPUT_A, "shape"), [1] * 100_000),
}


@pytest.mark.parametrize("request_document", WRONG.values(), ids=WRONG.keys())
def test_wrong_request(pair: Server, request_document: dict[str, Any]) -> None:
    wire.post_json(pair, INFER, request_document).refused(400)


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ((*INPUT_A, "name"), "z", ["a"]),
        ((*INPUT_A, "datatype"), "FP64", ["a", "FP64", "FP32"]),
        ((*INPUT_A, "shape"), [2, 2], ["a", "4"]),
        ((*INPUT_B, "data", 0), 1 << 31, ["b", "INT32"]),
    ],
)
def test_the_text_names_what_to_change(pair: Server, place: tuple[Any, ...], value: Any, words: list[str]) -> None:
    text = wire.post_json(pair, INFER, changed(place, value)).refused(400)
    assert all(word in text for word in words), text


HUGE = [[2**63 - 1, 2], [1, 2**40], [2**4, 2**60 + 2], [2**32, 2**32], [2**62, 4], [2**63, 1], [0, 2**63 - 1]]


@pytest.mark.parametrize("shape", HUGE, ids=str)
@pytest.mark.parametrize("kind", ["datatypes", "echo"])
@pytest.mark.parametrize("data", [[], [1.0, 2.0]], ids=["no data", "little data"])
def test_huge_shapes_allocate_nothing(
    request: pytest.FixtureRequest, shape: list[int], kind: str, data: list[float]
) -> None:
    server: Server = request.getfixturevalue(kind)
    before = server.memory_bytes()
    if kind == "echo":
        document = {"inputs": [{"name": "x", "datatype": "FP32", "shape": shape, "data": data}]}
        reply = wire.post_json(server, "/v2/models/echo/infer", document)
    else:
        request_document, _ = http_document("FP32", shape, b"", data, binary=False)
        for tensor in request_document["inputs"]:
            tensor["shape"] = shape if tensor["datatype"] == "FP32" else [0, 0]
        reply = wire.post_binary(server, TYPES_INFER, request_document)
    reply.refused(400)
    assert server.memory_bytes() - before < 50_000_000
    assert server.status("/v2/health/live") == 200


OUT_OF_RANGE = [
    *[("UINT8", n) for n in (-1, 256)],
    *[("UINT16", n) for n in (-1, 65536)],
    *[("UINT32", n) for n in (-1, 2**32)],
    *[("UINT64", n) for n in (-1, 2**64, 2**65)],
    *[("INT8", n) for n in (-129, 128)],
    *[("INT16", n) for n in (-32769, 32768)],
    *[("INT64", n) for n in (-(2**63) - 1, 2**63)],
    *[("UINT8", 1.0), ("INT64", 1.0), ("UINT64", 1e19), ("INT8", "1"), ("UINT16", True)],
    *[("BOOL", "true"), ("BOOL", 2), ("BOOL", None), ("FP64", True), ("FP64", "1")],
    *[("BYTES", 5), ("BYTES", None), ("BYTES", True), ("BYTES", {})],
]


@pytest.mark.parametrize(("datatype", "value"), OUT_OF_RANGE, ids=str)
def test_values_outside_their_datatype(datatypes: Server, datatype: str, value: Any) -> None:
    document, _ = http_document(datatype, [1, 1], b"", [value], binary=False)
    text = wire.post_binary(datatypes, TYPES_INFER, document).refused(400)
    assert f"{datatype.lower()}_in" in text


@pytest.mark.parametrize("datatype", ["FP16", "BF16"])
def test_half_floats_travel_in_binary_only(request: pytest.FixtureRequest, datatype: str) -> None:
    server: Server = request.getfixturevalue(model_of(datatype))
    path = f"/v2/models/{server.name}/infer"
    document, _ = http_document(datatype, [1, 2], b"", [1.0, 2.0], binary=False)
    assert "binary" in wire.post_binary(server, path, document).refused(400)
    document, tail = http_document(datatype, [1, 2], b"\0\x3c\0\x3c", binary_output=False)
    assert "binary" in wire.post_binary(server, path, document, tail).refused(400)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf], ids=str)
@pytest.mark.parametrize("datatype", ["FP32", "FP64"])
def test_numbers_that_json_cannot_hold(datatypes: Server, datatype: str, number: float) -> None:
    raw = np.array([1.0, number], "<f4" if datatype == "FP32" else "<f8").tobytes()
    document, tail = http_document(datatype, [1, 2], raw, binary_output=False)
    assert "binary" in wire.post_binary(datatypes, TYPES_INFER, document, tail).refused(400)
    document, tail = http_document(datatype, [1, 2], raw)
    assert wire.post_binary(datatypes, TYPES_INFER, document, tail).tensors()[f"{datatype.lower()}_out"] == raw


def test_bytes_that_are_no_text_cannot_be_json(datatypes: Server) -> None:
    """An answer is refused (by name of the way out) rather than changed."""
    raw = b"\x02\0\0\0\xff\xfe"
    document, tail = http_document("BYTES", [1, 1], raw, binary_output=False)
    wire.post_binary(datatypes, TYPES_INFER, document, tail).refused(400)


def test_a_timeout_that_no_float_can_hold_is_a_long_one(pair: Server) -> None:
    text = json.dumps(document() | {"parameters": {"timeout": 10**310}})
    assert wire.post_json(pair, INFER, text.encode()).status == 200
