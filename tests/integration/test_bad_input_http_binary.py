"""Wrong requests of the binary tensor extension: lengths that lie, tensors that do not fit."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration import wire
from tests.integration.datatype_values import bytes_tensor, http_document
from tests.integration.harness import Server
from tests.integration.pair_model import INFER, assert_well, binary_document, document

TYPES_INFER = "/v2/models/datatypes/infer"


@pytest.fixture(autouse=True)
def stays_well(pair: Server) -> Iterator[None]:
    """After every bad request: live, and the next good requests are answered right."""
    yield
    assert_well(pair)


def text_length() -> int:
    return len(json.dumps(binary_document()[0]))


HEADER_LENGTHS = {
    "not a number": "abc",
    "a float": "10.0",
    "in exponents": "1e2",
    "in hexadecimal": "0x10",
    "with an underscore": "1_0",
    "other digits": "\u00b2\u00b3",
    "negative": "-1",
    "with a plus": "+10",
    "one above the body": str(text_length() + 33),
    "2^31": str(1 << 31),
    "2^31 - 1": str((1 << 31) - 1),
    "2^32 + the length": str((1 << 32) + text_length()),
    "2^63": str(1 << 63),
    "2^64 + the length": str((1 << 64) + text_length()),
    "10000 digits": "9" * 10_000,
    "zero with two inputs": "0",
    "one short": str(text_length() - 1),
    "one long": str(text_length() + 1),
}


@pytest.mark.parametrize("length", HEADER_LENGTHS.values(), ids=HEADER_LENGTHS.keys())
def test_header_length_that_lies(pair: Server, length: str) -> None:
    request, tail = binary_document()
    wire.post_binary(pair, INFER, request, tail, length=length).refused(400, 431)


def test_empty_header_length(pair: Server) -> None:
    request, tail = binary_document()
    text = json.dumps(request).encode()
    wire.call(pair, "POST", INFER, text + tail, {wire.HEADER_LENGTH: ""}).refused(400)


def test_two_header_lengths(pair: Server) -> None:
    request, tail = binary_document()
    text = json.dumps(request).encode()
    pairs = [
        ("Content-Length", str(len(text + tail))),
        (wire.HEADER_LENGTH, str(len(text))),
        (wire.HEADER_LENGTH, str(len(text) - 1)),
    ]
    (reply,) = wire.exchange(pair, wire.head("POST", INFER, pairs) + text + tail)
    reply.refused(400)


SIZES: dict[str, tuple[Any, bytes]] = {
    "tensor shorter than declared": (16, b"\0" * 31),
    "no tensor at all": (16, b""),
    "bytes after the last tensor": (16, b"\0" * 33),
    "declared shorter than the shape": (12, b"\0" * 28),
    "declared longer than the shape": (20, b"\0" * 36),
    "declared zero": (0, b"\0" * 16),
    "declared negative": (-16, b"\0" * 32),
    "declared a float": (16.0, b"\0" * 32),
    "declared a string": ("16", b"\0" * 32),
    "declared a boolean": (True, b"\0" * 32),
    "declared null": (None, b"\0" * 32),
    "declared 2^31": (1 << 31, b"\0" * 32),
    "declared 2^63": (1 << 63, b"\0" * 32),
    "declared 2^64 + 16": ((1 << 64) + 16, b"\0" * 32),
}


@pytest.mark.parametrize(("size", "tail"), SIZES.values(), ids=SIZES.keys())
@pytest.mark.parametrize("index", [0, 1])
def test_tensor_size_that_lies(pair: Server, index: int, size: Any, tail: bytes) -> None:
    request, _ = binary_document()
    request["inputs"][index]["parameters"]["binary_data_size"] = size
    wire.post_binary(pair, INFER, request, tail).refused(400)


def test_size_of_another_shape_with_the_same_bytes(pair: Server) -> None:
    request, tail = binary_document()
    request["inputs"][0]["shape"] = [2, 4]
    wire.post_binary(pair, INFER, request, tail).refused(400)


def test_data_and_binary_data_size_both(pair: Server) -> None:
    request, tail = binary_document()
    request["inputs"][0]["data"] = [1, 2, 3, 4]
    wire.post_binary(pair, INFER, request, tail).refused(400)


def test_neither_data_nor_binary_data_size(pair: Server) -> None:
    request, tail = binary_document()
    del request["inputs"][0]["parameters"]
    wire.post_binary(pair, INFER, request, tail[16:]).refused(400)


def test_binary_data_size_without_the_header(pair: Server) -> None:
    request, _ = binary_document()
    wire.post_json(pair, INFER, request).refused(400)


def test_binary_bytes_after_a_json_request(pair: Server) -> None:
    wire.post_binary(pair, INFER, document(), b"\0" * 8).refused(400)


WRAPPING = {
    "2^64 + 32 elements": ([2**4, 2**60 + 2], 128),
    "2^64 + 32 bytes": ([2**3, 2**59 + 1], 32),
    "2^65 elements": ([2**63, 4], 0),
    "-2 elements": ([2**63 - 1, 2], 0),
    "2^40 elements": ([1, 2**40], 16),
    "2^31 elements": ([2**16, 2**15], 8),
    "2^32 bytes": ([2**15, 2**15], 0),
}


@pytest.mark.parametrize(("shape", "size"), WRAPPING.values(), ids=WRAPPING.keys())
@pytest.mark.parametrize("datatype", ["FP32", "BYTES"])
def test_products_that_wrap_allocate_nothing(datatypes: Server, datatype: str, shape: list[int], size: int) -> None:
    """The size fits the product as 64 bits (or 32) hold it, not as it is."""
    request, tail = http_document(datatype, shape, b"\0" * size)
    for tensor in request["inputs"]:
        if tensor["datatype"] != datatype:
            tensor["shape"] = [0, 0]
    before = datatypes.memory_bytes()
    wire.post_binary(datatypes, TYPES_INFER, request, tail).refused(400)
    assert datatypes.memory_bytes() - before < 50_000_000
    assert datatypes.status("/v2/health/live") == 200


ELEMENTS = bytes_tensor([b"one", b"two"])
BYTES_LIES = {
    "one element too few": bytes_tensor([b"one"]),
    "one element too many": bytes_tensor([b"one", b"two", b"x"]),
    "no elements": b"",
    "last length too long": ELEMENTS[:7] + struct.pack("<I", 4) + b"two",
    "last length too short": ELEMENTS[:7] + struct.pack("<I", 2) + b"two",
    "first length reaches the end": struct.pack("<I", 10) + ELEMENTS[4:],
    "first length of 2^32 - 1": struct.pack("<I", 0xFFFF_FFFF) + ELEMENTS[4:],
    "first length of 2^31": struct.pack("<I", 1 << 31) + ELEMENTS[4:],
    "cut inside a length": ELEMENTS[:9],
    "big-endian lengths": struct.pack(">I", 3) + b"one" + struct.pack(">I", 3) + b"two",
    "no lengths": b"onetwo",
    "not UTF-8 for a model of strings": bytes_tensor([b"one", b"\xff\xfe"]),
}


@pytest.mark.parametrize("raw", BYTES_LIES.values(), ids=BYTES_LIES.keys())
def test_lengths_of_elements_that_lie(datatypes: Server, raw: bytes) -> None:
    request, tail = http_document("BYTES", [1, 2], raw)
    assert "bytes_in" in wire.post_binary(datatypes, TYPES_INFER, request, tail).refused(400)


@pytest.mark.parametrize("byte", [2, 0x80, 0xFF])
def test_a_boolean_that_is_neither(datatypes: Server, byte: int) -> None:
    """A byte other than 0 and 1 is refused or comes back as true; it is never undefined behaviour."""
    request, tail = http_document("BOOL", [1, 2], bytes([byte, 0]))
    reply = wire.post_binary(datatypes, TYPES_INFER, request, tail)
    if reply.status != 200:
        reply.refused(400)
    else:
        assert reply.tensors() == {"bool_out": b"\x01\x00"}


@pytest.mark.parametrize("size", [1, 3, 7, 4 * 33 + 1])
def test_raw_request_of_a_size_that_fits_no_shape(echo: Server, size: int) -> None:
    path = "/v2/models/echo/infer"
    wire.call(echo, "POST", path, b"\0" * size, {wire.HEADER_LENGTH: "0"}).refused(400)
    assert echo.status("/v2/health/live") == 200


def test_raw_request_to_a_model_with_two_inputs(pair: Server) -> None:
    wire.call(pair, "POST", INFER, b"\0" * 16, {wire.HEADER_LENGTH: "0"}).refused(400)
