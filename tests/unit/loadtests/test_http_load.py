"""The HTTP client of the load generator, fed with bytes: what it takes for an answer, an error, and more to come."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.bench.closed_loop import Loop
from loadtests.bench.core import Endpoint
from loadtests.bench.http_load import Connection, joined
from loadtests.bench.payloads import template

ENDPOINT = Endpoint("oip-json", "127.0.0.1", 1, "/infer", "mlp")
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nserver: x\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"
REFUSAL = b"HTTP/1.1 503 Busy\r\ncontent-length: 4\r\n\r\nlate"


class Wire(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))


def connected() -> tuple[Connection, Wire, Loop]:
    """A connection that has sent its first request."""
    loop, wire = Loop(template(ENDPOINT, "mlp"), 0), Wire()
    connection = Connection(loop, lambda _: None)
    connection.connection_made(wire)
    return connection, wire, loop


@given(st.sampled_from([ANSWER, CHUNKED]), st.integers(1, len(ANSWER) - 1))
def test_an_answer_in_two_pieces_is_one_answer(answer: bytes, cut: int) -> None:
    connection, wire, loop = connected()
    connection.data_received(answer[:cut])
    assert (len(loop.latencies), len(wire.written)) == (0, 1)
    connection.data_received(answer[cut:])
    assert (len(loop.latencies), len(wire.written), loop.failures.count) == (1, 2, 0)
    assert loop.kept[0][1] == b"hello"


def test_every_request_is_another() -> None:
    connection, wire, _ = connected()
    for _ in range(50):
        connection.data_received(ANSWER)
    assert len(set(wire.written)) == 51


def test_another_status_is_an_error_and_not_an_answer() -> None:
    connection, wire, loop = connected()
    connection.data_received(REFUSAL)
    assert (len(loop.latencies), loop.failures.count, len(wire.written)) == (0, 1, 2)
    assert loop.failures.first == "503 Busy: late"


def test_a_connection_that_ends_before_the_answer_is_an_error() -> None:
    connection, _, loop = connected()
    connection.data_received(ANSWER[:20])
    connection.connection_lost(None)
    assert (loop.failures.count, loop.waiting) == (1, 0)
    assert "closed by the server" in loop.failures.first


def test_after_the_run_nothing_more_is_sent_and_a_close_is_no_error() -> None:
    connection, wire, loop = connected()
    loop.running = False
    connection.data_received(ANSWER)
    connection.connection_lost(None)
    assert (len(wire.written), loop.waiting, loop.failures.count) == (1, 0, 0)


@pytest.mark.parametrize(
    ("chunks", "content"),
    [(b"5\r\nhello\r\n0\r\n\r\n", b"hello"), (b"1;a=b\r\nh\r\n2\r\ni!\r\n0\r\n\r\n", b"hi!"), (b"0\r\n\r\n", b"")],
)
def test_chunks_are_joined(chunks: bytes, content: bytes) -> None:
    assert joined(chunks) == content


def test_a_sample_of_the_answers_is_kept_and_no_more() -> None:
    connection, _, loop = connected()
    for _ in range(40_000):
        connection.data_received(ANSWER)
    assert 16 < len(loop.kept) <= 256
    assert len(loop.latencies) == 40_000
