"""One HTTP/2 connection: who is let in, and what becomes of what does not arrive."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from modelyard.protocol.grpc_wire import framed
from modelyard.protocol.http2_connection import HANDSHAKE_SECONDS, LINGER_SECONDS, LOOKS, Http2Connection
from modelyard.protocol.http2_port import Method
from tests.unit.protocol.fakes import FakeTransport
from tests.unit.protocol.http2_peer import RECEIVE_SECONDS, Peer, Seen, begin, fine
from tests.unit.protocol.http2_service import Held


@pytest.fixture(name="peer")
async def _peer(methods: dict[str, Method]) -> Peer:
    return Peer(methods)


async def test_an_unknown_method(peer: Peer) -> None:
    assert (await peer.ask("/nothing", b"x")).code == 12
    fine(await peer.ask("/ask", b"now"), b"now")


@pytest.mark.parametrize("content_type", [b"application/grpc+proto", b"application/grpc;charset=utf-8"])
async def test_what_is_grpc(peer: Peer, content_type: bytes) -> None:
    fine(await peer.ask("/ask", b"now", headers={b"content-type": content_type}), b"now")


@pytest.mark.parametrize(
    ("headers", "method", "status"),
    [
        ({b"content-type": b"text/html"}, b"POST", 415),
        ({b"content-type": b"application/grpc-web"}, b"POST", 415),
        ({b"content-type": b""}, b"POST", 415),
        ({}, b"GET", 405),
    ],
)
async def test_what_is_no_grpc(peer: Peer, headers: dict[bytes, bytes], method: bytes, status: int) -> None:
    stream = peer.open("/ask", headers, method)
    stream.end_message()
    await peer.exchange()
    assert peer.seen(stream).status == status
    fine(await peer.ask("/ask", b"now"), b"now")


async def test_a_timeout_that_is_none(peer: Peer) -> None:
    seen = await peer.ask("/ask", b"now", headers={b"grpc-timeout": b"soon"})
    assert seen.code == 3
    assert "grpc-timeout" in seen.text


async def test_headers_that_break_http_2_are_answered_nevertheless(peer: Peer, held: Held) -> None:
    """zttp's own client does not send them: a HEADERS frame by hand. The compression of headers goes on as it was."""
    waiting = await begin(peer, b"first")
    block = b"\x83\x86\x04\x04/ask" + b"\x00\x0dauthorization\x07Bearer "
    stream = 3
    peer.streams[stream] = Seen()
    peer.connection.data_received(len(block).to_bytes(3, "big") + b"\x01\x05" + stream.to_bytes(4, "big") + block)
    frames = list(frames_of(peer.transport.written))
    assert [(kind, number) for kind, number, _ in frames] == [(1, stream), (3, stream)], "an answer, then the reset"
    assert b"grpc-status\x0216" in frames[0][2]
    peer.transport.written = b""
    held.respond[b"first"](b"first")
    await peer.exchange()
    fine(waiting, b"first")


def frames_of(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Type, stream and content of each frame."""
    while data:
        end = 9 + int.from_bytes(data[:3], "big")
        yield data[3], int.from_bytes(data[5:9], "big"), data[9:end]
        data = data[end:]


@pytest.mark.parametrize("noise", [b"GET / HTTP/1.1\r\n\r\n", bytes(1000), b"\xff" * 100])
async def test_noise_ends_its_connection(methods: dict[str, Method], noise: bytes) -> None:
    peer = Peer(methods)
    transport = FakeTransport()
    connection = Http2Connection(peer.shared, peer.connection.loop)
    connection.connection_made(transport)
    connection.data_received(noise)
    assert transport.closed
    connection.connection_lost(None)
    assert peer.shared.connections == {peer.connection}


async def test_who_says_nothing_is_closed(methods: dict[str, Method]) -> None:
    peer = Peer(methods)
    silent = FakeTransport()
    Http2Connection(peer.shared, peer.connection.loop).connection_made(silent)
    peer.clock.advance(HANDSHAKE_SECONDS + 1)
    assert silent.closed
    assert not peer.transport.closed, "this one has said who it is"


async def test_answers_of_one_turn_go_in_one_write(peer: Peer, held: Held) -> None:
    seen = [await begin(peer, b"%d" % number) for number in range(5)]
    writes = 0
    write = peer.transport.write

    def counted(data: bytes) -> None:
        nonlocal writes
        writes += 1
        write(data)

    peer.transport.write = counted  # type: ignore[method-assign,assignment]
    for request, respond in held.respond.items():
        respond(request)
    await peer.exchange()
    assert writes == 1
    for number, one in enumerate(seen):
        fine(one, b"%d" % number)


async def test_a_broken_connection_holds_nothing(peer: Peer) -> None:
    stream = peer.open("/ask")
    stream.send_data(framed(bytes(1000))[:-1])
    peer.send()
    assert peer.shared.held_bytes
    peer.connection.data_received(b"\xff" * 100)
    assert peer.transport.closed
    assert peer.shared.held_bytes == 0


@pytest.mark.parametrize("data", [b"", framed(b"now")[:-1]], ids=["nothing", "a part"])
async def test_a_message_that_does_not_arrive(peer: Peer, data: bytes) -> None:
    peer.connection.go_away()  # at its age a connection waits for its calls
    stream = peer.open("/ask")
    if data:
        stream.send_data(data)
    peer.send()
    peer.clock.advance(RECEIVE_SECONDS)
    assert not peer.seen(stream).trailers
    peer.clock.advance(RECEIVE_SECONDS / LOOKS)
    await peer.exchange()
    assert peer.seen(stream).code == 4
    assert "20 s" in peer.seen(stream).text
    assert peer.shared.held_bytes == 0
    peer.clock.advance(LINGER_SECONDS)
    assert peer.transport.closed


async def test_a_call_whose_message_has_come_may_take_its_time(methods: dict[str, Method], held: Held) -> None:
    peer = Peer(methods)
    seen = await begin(peer, b"slow")
    peer.clock.advance(10 * RECEIVE_SECONDS)
    held.respond[b"slow"](b"slow")
    await peer.exchange()
    fine(seen, b"slow")
    peer.clock.advance(RECEIVE_SECONDS)
    assert not peer.clock.timers, "nobody is looked after"
