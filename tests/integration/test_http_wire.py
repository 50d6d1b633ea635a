"""What tritonclient does not send over HTTP: plain JSON, raw requests, pipelines, chunks, encodings."""

from __future__ import annotations

import gzip
import json
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from tests.integration import wire
from tests.integration.datatype_values import http_document
from tests.integration.harness import Server
from tests.integration.pair_model import (
    A_ROW,
    B_ROW,
    INFER,
    SUM_ROW,
    TWICE_ROW,
    assert_well,
    binary_document,
    document,
    outputs_of,
)

RIGHT = {"sum": SUM_ROW, "twice": TWICE_ROW}
SUM_BYTES = np.array(SUM_ROW, "<f4").tobytes()
TWICE_BYTES = np.array(TWICE_ROW, "<i4").tobytes()
TYPES_INFER = "/v2/models/datatypes/infer"


def test_plain_json_gives_plain_json(pair: Server) -> None:
    reply = wire.post_json(pair, INFER, document())
    assert reply.headers["content-type"].startswith("application/json")
    assert outputs_of(reply) == RIGHT
    first, second = reply.json()["outputs"]
    assert (first["name"], first["datatype"], first["shape"]) == ("sum", "FP32", [1, 4])
    assert (second["name"], second["datatype"], second["shape"]) == ("twice", "INT32", [1, 4])


@pytest.mark.parametrize(
    "data",
    [list(A_ROW), [list(A_ROW)], [[1, 2.5, -3, 0.25]]],
    ids=["flat", "nested", "integers for FP32"],
)
def test_data_flat_or_nested(pair: Server, data: Any) -> None:
    request = document()
    request["inputs"][0]["data"] = data
    assert outputs_of(wire.post_json(pair, INFER, request)) == RIGHT


@pytest.mark.parametrize(
    "content_type", ["application/json", "application/octet-stream", "application/x-www-form-urlencoded", None]
)
def test_content_type_of_json(pair: Server, content_type: str | None) -> None:
    """Without the header of the binary extension a body is JSON; curl calls it a form."""
    headers = {} if content_type is None else {"Content-Type": content_type}
    reply = wire.call(pair, "POST", INFER, json.dumps(document()).encode(), headers)
    assert outputs_of(reply) == RIGHT


def test_inputs_in_any_order(pair: Server) -> None:
    request = document()
    request["inputs"].reverse()
    assert outputs_of(wire.post_json(pair, INFER, request)) == RIGHT


def test_outputs_come_in_the_order_asked(pair: Server) -> None:
    request = document() | {"outputs": [{"name": "twice"}, {"name": "sum"}]}
    assert [output["name"] for output in wire.post_json(pair, INFER, request).json()["outputs"]] == [
        "twice",
        "sum",
    ]


@pytest.mark.parametrize("reverse", [False, True])
def test_binary_tensors_stand_in_listed_order(pair: Server, reverse: bool) -> None:
    request, tail = binary_document()
    request["outputs"] = [{"name": name, "parameters": {"binary_data": True}} for name in ("sum", "twice")]
    if reverse:
        request["inputs"].reverse()
        request["outputs"].reverse()
        tail = tail[16:] + tail[:16]
    reply = wire.post_binary(pair, INFER, request, tail)
    assert reply.status == 200, reply.body
    assert reply.headers["content-type"] == "application/octet-stream"
    assert reply.tensors() == {"sum": SUM_BYTES, "twice": TWICE_BYTES}
    assert list(reply.tensors()) == [output["name"] for output in request["outputs"]]
    assert all("data" not in output for output in reply.json()["outputs"])


def test_request_setting_and_the_output_that_overrides_it(pair: Server) -> None:
    request = document() | {
        "parameters": {"binary_data_output": True},
        "outputs": [{"name": "sum"}, {"name": "twice", "parameters": {"binary_data": False}}],
    }
    reply = wire.post_json(pair, INFER, request)
    assert reply.tensors() == {"sum": SUM_BYTES}
    assert reply.json()["outputs"][1]["data"] == TWICE_ROW


def test_binary_inputs_alone_do_not_ask_for_binary_outputs(pair: Server) -> None:
    request, tail = binary_document()
    assert outputs_of(wire.post_binary(pair, INFER, request, tail)) == RIGHT


def test_raw_request(echo: Server) -> None:
    """Header value 0: the body is the one input, batch 1, its variable dimension follows from the size."""
    rows = np.arange(5, dtype="<f4")
    path = "/v2/models/echo/infer"
    reply = wire.call(echo, "POST", path, rows.tobytes(), {wire.HEADER_LENGTH: "0"})
    assert reply.status == 200, reply.body
    (output,) = reply.json()["outputs"]
    assert (output["name"], output["datatype"], output["shape"]) == ("y", "FP32", [1, 5])
    assert reply.tensors() == {"y": rows.tobytes()}


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
@pytest.mark.parametrize("binary", [False, True])
def test_request_encodings(pair: Server, algorithm: str, binary: bool) -> None:
    request, tail = binary_document() if binary else (document(), b"")
    text = json.dumps(request).encode()
    compress = gzip.compress if algorithm == "gzip" else zlib.compress
    headers = {"Content-Encoding": algorithm}
    if binary:
        headers |= {wire.HEADER_LENGTH: str(len(text)), "Content-Type": "application/octet-stream"}
    assert outputs_of(wire.call(pair, "POST", INFER, compress(text + tail), headers)) == RIGHT


def inflated(body: bytes, encoding: str | None) -> bytes:
    if encoding == "gzip":
        return gzip.decompress(body)
    return zlib.decompress(body) if encoding == "deflate" else body


@pytest.mark.parametrize(("accepted", "sent"), [("gzip", "gzip"), ("deflate", "deflate"), ("identity", None)])
def test_response_encodings(pair: Server, accepted: str, sent: str | None) -> None:
    request = document(A_ROW * 8, B_ROW * 8) | {"id": "x" * 3_000}
    reply = wire.post_json(pair, INFER, request, {"Accept-Encoding": accepted})
    assert reply.status == 200
    assert reply.headers.get("content-encoding") == sent
    assert json.loads(inflated(reply.body, sent))["outputs"][0]["data"] == SUM_ROW * 8


def test_header_length_of_a_compressed_answer_is_that_of_the_plain_json(pair: Server) -> None:
    request = document(A_ROW * 8, B_ROW * 8) | {"parameters": {"binary_data_output": True}, "id": "x" * 3_000}
    reply = wire.post_json(pair, INFER, request, {"Accept-Encoding": "gzip"})
    plain = gzip.decompress(reply.body)
    length = int(reply.headers[wire.HEADER_LENGTH.lower()])
    assert json.loads(plain[:length])["id"] == "x" * 3_000
    assert plain[length:] == SUM_BYTES * 8 + TWICE_BYTES * 8


def test_pipelined_requests_are_answered_in_order(pair: Server) -> None:
    """Forty requests in one write: good and bad, slow to compute and known, in mixed order."""
    stream = b""
    for number in range(40):
        text = json.dumps(document(A_ROW, [number % 7 + 900] * 4) | {"id": f"n{number}"}).encode()
        if number % 5 == 3:
            text = b"{broken"
        stream += wire.head("POST", INFER, {"Content-Length": str(len(text))}) + text
    replies = wire.exchange(pair, stream, replies=40)
    assert len(replies) == 40
    for number, reply in enumerate(replies):
        if number % 5 == 3:
            reply.refused(400)
        else:
            assert reply.json()["id"] == f"n{number}"
            assert outputs_of(reply)["twice"] == [2 * (number % 7 + 900)] * 4
    assert_well(pair)


def test_a_slow_request_holds_back_the_pipelined_ones_behind_it(busy: Server) -> None:
    stream = b""
    for number, milliseconds in enumerate((150, 1, 50, 1, 1)):
        tensor = {"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [milliseconds]}
        text = json.dumps({"id": f"n{number}", "inputs": [tensor]}).encode()
        stream += wire.head("POST", "/v2/models/busy/infer", {"Content-Length": str(len(text))}) + text
        stream += wire.head("GET", "/v2/health/live")
    replies = wire.exchange(busy, stream, replies=10)
    assert [reply.json().get("id") for reply in replies[::2]] == [f"n{number}" for number in range(5)]
    assert [reply.json() for reply in replies[1::2]] == [{"live": True}] * 5


def test_the_server_s_own_slowness_is_not_held_against_a_pipeline(busy: Server) -> None:
    """Two seconds of work in one write: the time to receive (1 s) does not run while the server does not read."""
    stream = b""
    for number in range(20):
        tensor = {"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [100]}
        text = json.dumps({"id": f"{number}-" + "x" * 40_000, "inputs": [tensor]}).encode()
        stream += wire.head("POST", "/v2/models/busy/infer", {"Content-Length": str(len(text))}) + text
    with wire.connect(busy) as connection, connection.makefile("rb") as answers, ThreadPoolExecutor(1) as pool:
        pool.submit(connection.sendall, stream)
        for number in range(20):
            reply = wire.read_reply(answers)
            assert reply is not None, f"closed after {number} answers"
            assert reply.status == 200, reply.body
            assert reply.json()["id"].startswith(f"{number}-")


def test_chunked_request(pair: Server) -> None:
    text = json.dumps(document()).encode()
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(text[i : i + 50]), text[i : i + 50]) for i in range(0, len(text), 50))
    data = wire.head("POST", INFER, {"Transfer-Encoding": "chunked"}) + chunks + b"0\r\n\r\n"
    first, second = wire.exchange(pair, data * 2, replies=2)
    assert outputs_of(first) == outputs_of(second) == RIGHT


def test_expect_continue(pair: Server) -> None:
    """curl asks before it sends a larger body."""
    text = json.dumps(document()).encode()
    headers = {"Content-Length": str(len(text)), "Expect": "100-continue"}
    with wire.connect(pair) as connection, connection.makefile("rb") as stream:
        connection.sendall(wire.head("POST", INFER, headers))
        assert stream.readline().startswith(b"HTTP/1.1 100")
        assert stream.readline() == b"\r\n"
        connection.sendall(text)
        reply = wire.read_reply(stream)
    assert reply is not None
    assert outputs_of(reply) == RIGHT


def test_a_request_in_single_bytes(pair: Server) -> None:
    text = json.dumps(document()).encode()
    with wire.connect(pair) as connection, connection.makefile("rb") as stream:
        for byte in wire.head("POST", INFER, {"Content-Length": str(len(text))}) + text:
            connection.sendall(bytes([byte]))
        reply = wire.read_reply(stream)
    assert reply is not None
    assert outputs_of(reply) == RIGHT


def test_unknown_parameters_do_not_change_the_answer(pair: Server) -> None:
    """Kept or refused, never silently turned into something else."""
    request = document() | {"parameters": {"colour": "green", "depth": 3}}
    reply = wire.post_json(pair, INFER, request)
    if reply.status == 400:
        assert "colour" in reply.error() or "depth" in reply.error()
    else:
        assert outputs_of(reply) == RIGHT


@pytest.mark.parametrize("shape", [[0, 4], [0, 0], [3, 0]])
def test_zero_length_dimensions(datatypes: Server, shape: list[int]) -> None:
    for binary in (False, True):
        request, tail = http_document("FP32", shape, b"", binary=binary)
        reply = wire.post_binary(datatypes, TYPES_INFER, request, tail)
        assert reply.status == 200, reply.body
        (output,) = reply.json()["outputs"]
        assert output["shape"] == shape
        if binary:
            assert reply.tensors() == {"fp32_out": b""}
        else:
            assert np.array(output["data"]).size == 0
