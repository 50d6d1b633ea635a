"""How an HTTP/2 connection ends without losing a call: at its age, at a stop, before it has had too much."""

from __future__ import annotations

import pytest
import zttp

from modelyard.protocol.grpc_wire import framed
from modelyard.protocol.http2_connection import AGE_SPREAD, LINGER_SECONDS, MAX_RESETS, MAX_STREAMS, PING_SECONDS
from modelyard.protocol.http2_port import Method
from tests.unit.protocol.http2_peer import Peer, begin, fine
from tests.unit.protocol.http2_service import Held

ALL = 2**31 - 1
REFUSED_STREAM = 7
AGE = 30.0


@pytest.fixture(name="peer")
async def _peer(methods: dict[str, Method]) -> Peer:
    return Peer(methods, age=AGE)


async def test_at_its_age_a_connection_takes_what_is_on_its_way_answers_what_is_open_and_closes(
    peer: Peer, held: Held
) -> None:
    first = await begin(peer, b"first")
    age = 0.0
    while not peer.transport.written:
        peer.clock.advance(1.0)
        age += 1.0
    assert AGE * (1 - AGE_SPREAD) <= age <= AGE * (1 + AGE_SPREAD) + 1.0
    late = peer.open("/ask")  # sent before the client hears of it
    late.send_data(framed(b"late"))
    late.end_message()
    peer.send()
    peer.receive()
    assert peer.goaways == [ALL]
    await peer.exchange()
    assert peer.goaways == [ALL, late.stream_id]
    assert not peer.transport.closed
    for request in (b"first", b"late"):
        held.respond[request](request)
    await peer.exchange()
    fine(first, b"first")
    fine(peer.seen(late), b"late")
    assert not peer.transport.closed, "the client closes first"
    peer.clock.advance(LINGER_SECONDS)
    assert peer.transport.closed


async def test_a_stream_above_the_last_one_is_refused_for_another_try(peer: Peer, held: Held) -> None:
    await begin(peer, b"first")
    peer.connection.go_away()
    peer.clock.advance(PING_SECONDS)  # no answer to the PING: the last word is said nevertheless
    late = peer.open("/ask")
    late.send_data(framed(b"late"))
    late.end_message()
    peer.send()
    peer.receive()
    assert peer.goaways == [ALL, 1]
    assert (peer.seen(late).reset, peer.seen(late).status) == (REFUSED_STREAM, 0), "no answer: it may be sent again"
    assert list(held.respond) == [b"first"]


async def test_an_idle_connection_is_told_and_closed(peer: Peer) -> None:
    peer.connection.go_away()
    peer.connection.go_away()
    await peer.exchange()
    assert peer.goaways == [ALL, 0]
    peer.clock.advance(LINGER_SECONDS)
    assert peer.transport.closed


async def test_no_age_no_end(methods: dict[str, Method]) -> None:
    peer = Peer(methods)
    peer.clock.advance(1e6)
    fine(await peer.ask("/ask", b"now"), b"now")
    assert peer.goaways == []


async def test_a_connection_ends_before_it_has_had_too_many_streams(methods: dict[str, Method]) -> None:
    peer = Peer(methods)
    for _ in range(MAX_STREAMS - 1):
        stream = peer.open("/ask")
        stream.send_data(framed(b"now"))
        stream.end_message()
        peer.send()
        peer.receive()
        fine(peer.seen(stream), b"now")
    assert peer.goaways == []
    fine(await begin(peer, b"now"), b"now")
    assert peer.goaways == [ALL, 2 * MAX_STREAMS - 1]


async def test_a_connection_ends_before_it_has_had_too_many_resets(methods: dict[str, Method], held: Held) -> None:
    peer = Peer(methods)
    for number in range(MAX_RESETS):
        stream = peer.open("/ask")
        stream.send_data(framed(b"%d" % number))
        stream.end_message()
        await peer.exchange(1)
        assert peer.goaways == []
        stream.reset(8)
        await peer.exchange(1)
    await peer.exchange()
    assert peer.goaways[0] == ALL
    assert len(held.respond) == MAX_RESETS


def test_the_engine_still_has_the_limits_that_are_kept_from() -> None:
    """When zttp allows more streams or resets, a connection may live longer."""
    assert _until_refused(reset=False) > MAX_STREAMS + 128
    assert _until_refused(reset=True) >= MAX_RESETS + 128


def _until_refused(*, reset: bool) -> int:
    server, client = zttp.Connection(zttp.SERVER, zttp.HTTP2), zttp.Connection(zttp.CLIENT, zttp.HTTP2)
    for number in range(MAX_STREAMS * 2):
        stream = client.send_request(b"POST", b"/x", b"2", [])
        if reset:
            stream.reset(8)
        else:
            stream.end_message()
        server.receive_data(client.data_to_send())
        try:
            while server.next_event() is not zttp.NEED_DATA:
                pass
        except zttp.RemoteProtocolError:
            return number
        if not reset:
            answer = server.stream(stream.stream_id)
            answer.send_response(200, [])
            answer.end_message()
        client.receive_data(server.data_to_send())
        while client.next_event() is not zttp.NEED_DATA:
            pass
    return MAX_STREAMS * 2
