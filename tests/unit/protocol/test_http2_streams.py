"""Methods that take or give streams of messages over HTTP/2: order, deadlines, and neither side far ahead."""

from __future__ import annotations

import asyncio

import pytest

from modelyard.protocol.grpc_wire import framed
from modelyard.protocol.http2_call import WAITING_BYTES
from tests.unit.protocol.http2_peer import MAX_MESSAGE, RECEIVE_SECONDS, Peer, fine
from tests.unit.protocol.http2_service import Service

OK, DEADLINE = 0, 4


@pytest.fixture(name="peer")
async def _peer(service: Service) -> Peer:
    return Peer(service.methods())


def paused(peer: Peer) -> bool:
    """Does the server read no further?"""
    return peer.transport.reading_paused


async def test_answers_of_a_stream_in_order(peer: Peer, service: Service) -> None:
    service.may_go.set()
    fine(await peer.ask("/count", b"4"), b"0", b"1", b"2", b"3")
    fine(await peer.ask("/stream", b"ab", b"cd", b"ef"), b"ba", b"dc", b"fe")
    fine(await peer.ask("/stream"))


async def test_a_stream_is_answered_while_it_goes_on(peer: Peer) -> None:
    stream = peer.open("/stream")
    for number in range(3):
        stream.send_data(framed(b"ab%d" % number))
        await peer.exchange()
        assert len(peer.seen(stream).messages) == number + 1
    stream.end_message()
    await peer.exchange()
    assert peer.seen(stream).code == OK


async def test_a_stream_may_be_silent_between_its_messages_and_not_inside_of_one(peer: Peer) -> None:
    stream = peer.open("/stream")
    stream.send_data(framed(b"ab"))
    await peer.exchange()
    peer.clock.advance(10 * RECEIVE_SECONDS)
    stream.send_data(framed(b"cd")[:-1])
    await peer.exchange()
    peer.clock.advance(RECEIVE_SECONDS * 1.5)
    await peer.exchange()
    assert peer.seen(stream).messages == [b"ba"]
    assert peer.seen(stream).code == DEADLINE


async def test_a_stream_whose_frames_end_inside_of_messages_may_go_on_for_long(peer: Peer) -> None:
    stream = peer.open("/stream")
    messages = b"".join(framed(b"%04d" % number) for number in range(20))
    stream.send_data(messages[:3])
    for begin in range(3, len(messages), len(framed(b"0000"))):
        await peer.exchange(2)
        peer.clock.advance(RECEIVE_SECONDS / 4)
        stream.send_data(messages[begin : begin + len(framed(b"0000"))])
    stream.end_message()
    await peer.exchange()
    assert (peer.seen(stream).code, len(peer.seen(stream).messages)) == (OK, 20)


async def test_the_deadline_of_a_stream(peer: Peer, service: Service) -> None:
    stream = peer.open("/count", {b"grpc-timeout": b"5S"})
    stream.send_data(framed(b"1"))
    stream.end_message()
    await peer.exchange()
    peer.clock.advance(5.1)
    await peer.exchange()
    assert peer.seen(stream).code == DEADLINE
    assert service.cancelled == 1


async def test_a_stream_that_is_far_ahead_of_its_method_is_read_no_further(peer: Peer, service: Service) -> None:
    peer.shared.max_held_bytes = 4 * WAITING_BYTES
    stream = peer.open("/stream")
    stream.send_data(framed(b"wait"))
    message = framed(bytes(MAX_MESSAGE))
    sent = 0
    while not paused(peer):
        stream.send_data(message)
        sent += 1
        await peer.exchange(1)
        assert sent * len(message) < 2 * WAITING_BYTES
    assert sent * len(message) > WAITING_BYTES
    service.may_go.set()
    await peer.exchange(sent)
    assert not paused(peer)
    stream.end_message()
    await peer.exchange()
    assert peer.seen(stream).code == OK
    assert len(peer.seen(stream).messages) == sent + 1
    assert peer.shared.held_bytes == 0


async def test_a_peer_that_does_not_take_its_answers_gets_no_more_of_them_computed(
    peer: Peer, service: Service
) -> None:
    stream = peer.open("/count")
    stream.send_data(framed(b"1000000"))
    stream.end_message()
    peer.send()
    peer.connection.pause_writing()
    for _ in range(100):
        await asyncio.sleep(0)
    written = len(peer.transport.written)
    assert written < 10_000
    assert paused(peer)
    peer.connection.resume_writing()
    assert not paused(peer)
    for _ in range(100):
        await asyncio.sleep(0)
    assert len(peer.transport.written) > written
    peer.lose()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert service.cancelled == 1
