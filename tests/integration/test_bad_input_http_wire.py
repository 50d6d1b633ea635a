"""Wrong HTTP below the protocol: sizes, bombs, framing, floods, and clients that never finish."""

from __future__ import annotations

import contextlib
import json
import socket
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.integration import wire
from tests.integration.calls import until
from tests.integration.conftest import RECEIVE_SECONDS, STRICT_BODY_BYTES
from tests.integration.harness import Server
from tests.integration.pair_model import A_ROW, B_ROW, INFER, assert_well, document

GOOD = json.dumps(document()).encode()
LENGTH = str(len(GOOD))


@pytest.fixture(autouse=True)
def stays_well(strict: Server) -> Iterator[None]:
    """After every bad request: live, and the next good requests are answered right."""
    yield
    assert_well(strict)


def test_body_above_the_cap(strict: Server) -> None:
    wire.post_json(strict, INFER, GOOD + b" " * STRICT_BODY_BYTES).refused(413)


def test_body_at_the_cap(strict: Server) -> None:
    reply = wire.post_json(strict, INFER, GOOD + b" " * (STRICT_BODY_BYTES - len(GOOD)))
    assert reply.status == 200, reply.body


@pytest.mark.parametrize("length", [STRICT_BODY_BYTES + 1, 1 << 31, 1 << 40, (1 << 63) - 1])
def test_announced_body_above_the_cap_is_refused_before_it_comes(strict: Server, length: int) -> None:
    began = time.monotonic()
    (reply,) = wire.exchange(strict, wire.head("POST", INFER, {"Content-Length": str(length)}))
    reply.refused(413)
    assert time.monotonic() - began < RECEIVE_SECONDS


def test_chunks_above_the_cap(strict: Server) -> None:
    """Nobody announced the size: the server stops reading at the cap."""
    before = strict.memory_bytes()
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    with wire.connect(strict) as connection, connection.makefile("rb") as stream:
        try:
            connection.sendall(wire.head("POST", INFER, {"Transfer-Encoding": "chunked"}))
            for _ in range(200):
                connection.sendall(chunk)
        except OSError:
            pass  # the server has closed: what it said may still be read, or is lost with the reset
        try:
            reply = wire.read_reply(stream)
        except OSError:
            reply = None
    if reply is not None:
        reply.refused(413)
    assert strict.memory_bytes() - before < 20_000_000


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_bomb(strict: Server, encoding: str) -> None:
    """200 MB of blanks in 200 KB: refused, and the memory stays within the cap."""
    compress = zlib.compressobj(9, zlib.DEFLATED, 31 if encoding == "gzip" else 15)
    blanks = b" " * 1_000_000
    body = b"".join(compress.compress(blanks) for _ in range(200)) + compress.flush()
    assert len(body) < STRICT_BODY_BYTES
    before = strict.memory_bytes()
    wire.call(strict, "POST", INFER, body, {"Content-Encoding": encoding}).refused(413)
    assert strict.memory_bytes() - before < 20_000_000


def framing(*pairs: tuple[str, str], body: bytes = GOOD) -> bytes:
    """A request with these headers, then another one, as a smuggler would have it."""
    return wire.head("POST", INFER, pairs) + body + wire.head("GET", "/v2/health/live")


CHUNKED_GOOD = b"%x\r\n%s\r\n0\r\n\r\n" % (len(GOOD), GOOD)
TE = ("Transfer-Encoding", "chunked")
FRAMINGS = {
    "CL and TE": framing(("Content-Length", LENGTH), TE, body=CHUNKED_GOOD),
    "TE and CL": framing(TE, ("Content-Length", "4"), body=CHUNKED_GOOD),
    "two different lengths": framing(("Content-Length", LENGTH), ("Content-Length", "4")),
    "the same length twice": framing(("Content-Length", LENGTH), ("Content-Length", LENGTH)),
    "a list of lengths": framing(("Content-Length", f"{LENGTH}, {LENGTH}")),
    "negative length": framing(("Content-Length", "-1")),
    "length with a plus": framing(("Content-Length", f"+{LENGTH}")),
    "hexadecimal length": framing(("Content-Length", hex(len(GOOD)))),
    "length with an underscore": framing(("Content-Length", "1_0")),
    "empty length": framing(("Content-Length", "")),
    "length above 2^64": framing(("Content-Length", str(2**64 + len(GOOD)))),
    "unknown transfer encoding": framing(("Transfer-Encoding", "cow"), body=CHUNKED_GOOD),
    "chunked twice": framing(TE, TE, body=CHUNKED_GOOD),
    "chunked not last": framing(("Transfer-Encoding", "chunked, identity"), body=CHUNKED_GOOD),
    "chunk size not hexadecimal": framing(TE, body=b"zz\r\n" + CHUNKED_GOOD),
    "chunk size negative": framing(TE, body=b"-5\r\nabcde\r\n0\r\n\r\n"),
    "chunk size of 2^64": framing(TE, body=b"10000000000000000\r\nabc\r\n0\r\n\r\n"),
    "chunk longer than its size": framing(TE, body=b"3\r\nabcdef\r\n0\r\n\r\n"),
    "blank before the colon": framing(("Content-Length ", LENGTH)),
    "header without a colon": wire.head("POST", INFER)[:-2] + b"nonsense\r\n\r\n",
    "NUL in a header": framing(("Content-Length", LENGTH), ("X-A", "a\0b")),
    "unknown version": b"GET /v2/health/live HTTP/9.9\r\nHost: x\r\n\r\n",
}


#: 400, but for these, where another status says it better.
ELSE = {
    "length above 2^64": {400, 413},
    "chunk size of 2^64": {400, 413},
    "unknown transfer encoding": {400, 501},
    "chunked not last": {400, 501},
    "chunked twice": {400, 501},
    "unknown version": {400, 505},
}


@pytest.mark.parametrize(("name", "data"), FRAMINGS.items(), ids=FRAMINGS.keys())
def test_ambiguous_framing_is_refused_and_closes(strict: Server, name: str, data: bytes) -> None:
    """The second request, hidden in the first, is never answered."""
    reply = wire.exchange_until_closed(strict, data)
    assert reply is not None, "closed without a word"
    reply.refused(*ELSE.get(name, {400}))


@pytest.mark.parametrize("kind", ["many", "long", "long line"])
def test_header_flood(strict: Server, kind: str) -> None:
    before = strict.memory_bytes()
    flood = {
        "many": b"GET /v2 HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(200_000)),
        "long": b"GET /v2 HTTP/1.1\r\nHost: x\r\nX-Long: " + b"y" * 4_000_000,
        "long line": b"GET /v2?" + b"y" * 4_000_000,
    }[kind]
    try:
        reply = wire.exchange_until_closed(strict, flood + b"\r\n\r\n")
    except (ConnectionResetError, BrokenPipeError):
        reply = None
    assert reply is None or reply.status in {400, 413, 414, 431}
    assert strict.memory_bytes() - before < 20_000_000


SLOW = [
    b"POST /v2/mod",
    b"POST /v2 HTTP/1.1\r\nHost: x\r\nX-Slow: ",
    wire.head("POST", INFER, {"Content-Length": "500"}),
    wire.head("POST", INFER, {"Content-Length": "500"}) + GOOD[:20],
    wire.head("POST", INFER, {"Transfer-Encoding": "chunked"}) + b"ff\r\nabc",
]


def drip(connections: list[socket.socket], seconds: float) -> None:
    """One byte now and then: an idle limit alone would never end this."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.sendall(b"x")
        time.sleep(0.2)


def test_slow_clients_are_closed_while_others_are_served(strict: Server) -> None:
    began = time.monotonic()
    connections = [wire.connect(strict) for _ in range(40)]
    try:
        for number, connection in enumerate(connections):
            connection.sendall(SLOW[number % len(SLOW)])
        assert_well(strict)
        assert time.monotonic() - began < 1.0, "slow clients hold up the others"
        drip(connections[::2], RECEIVE_SECONDS + 0.5)
        for connection in connections:
            received = wire.until_closed(connection, 1.5)
            assert not received or received.split()[1] == b"408", received
    finally:
        for connection in connections:
            connection.close()


def test_the_time_to_receive_starts_anew_with_each_request(strict: Server) -> None:
    """A kept connection may live longer than one request may take to arrive."""
    one = wire.head("POST", INFER, {"Content-Length": LENGTH}) + GOOD
    with wire.connect(strict) as connection, connection.makefile("rb") as stream:
        for _ in range(3):
            connection.sendall(one[:60])
            time.sleep(RECEIVE_SECONDS / 2.5)
            connection.sendall(one[60:])
            reply = wire.read_reply(stream)
            assert reply is not None
            assert reply.status == 200


def test_a_client_that_reads_nothing(strict: Server) -> None:
    """Many pipelined requests and no reading: the server's memory does not grow without bound."""
    before = strict.memory_bytes()
    text = json.dumps(document(A_ROW * 8, B_ROW * 8) | {"id": "x" * 10_000}).encode()
    one = wire.head("POST", INFER, {"Content-Length": str(len(text))}) + text
    with wire.connect(strict, timeout=2.0) as connection:
        try:
            for _ in range(20_000):
                connection.sendall(one)
        except OSError:
            pass
        assert_well(strict)
    assert strict.memory_bytes() - before < 40_000_000


def test_a_client_that_reads_late_loses_nothing(strict: Server) -> None:
    """What was held back while it did not read comes in order once it reads."""
    count = 2_000
    with wire.connect(strict) as connection, connection.makefile("rb") as stream, ThreadPoolExecutor(1) as pool:

        def send() -> None:
            for number in range(count):
                text = json.dumps(document() | {"id": f"{number}-" + "x" * 5_000}).encode()
                connection.sendall(wire.head("POST", INFER, {"Content-Length": str(len(text))}) + text)

        sent = pool.submit(send)
        time.sleep(RECEIVE_SECONDS / 2)
        for number in range(count):
            reply = wire.read_reply(stream)
            assert reply is not None, f"closed after {number} answers"
            assert reply.status == 200, reply.body
            assert reply.json()["id"].startswith(f"{number}-")
        sent.result()


def test_a_client_that_never_reads_is_cut_off(strict: Server) -> None:
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", strict.http_port))
        connection.settimeout(RECEIVE_SECONDS / 4)
        with contextlib.suppress(OSError):
            connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 1000)
        own = connection.getsockname()
        until(lambda: own not in _peers(strict), "the server has closed the connection")


def _peers(server: Server) -> set[object]:
    """The other ends of the connections that a server has."""
    return {found.raddr for process in server.processes() for found in process.net_connections()}
