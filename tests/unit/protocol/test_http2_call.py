"""One call over HTTP/2: what a client gets for what it sends, and how a call ends early."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import Callable

import pytest

from modelyard.errors import InvalidInput
from modelyard.protocol.grpc_wire import PREFIX, framed
from tests.unit.protocol.http2_peer import MAX_HELD, MAX_MESSAGE, Peer, fine
from tests.unit.protocol.http2_service import Service

OK, BAD_ARGUMENT, DEADLINE, NOT_FOUND, EXHAUSTED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE = 0, 3, 4, 5, 8, 12, 13, 14


@pytest.fixture(name="peer")
async def _peer(service: Service) -> Peer:
    return Peer(service.methods())


@pytest.mark.parametrize("path", ["/echo", "/now"])
async def test_an_answer(peer: Peer, path: str) -> None:
    fine(await peer.ask(path, b"abc"), b"cba")
    fine(await peer.ask(path, b""), b"")
    assert peer.shared.held_bytes == 0


async def test_an_answer_that_comes_later(peer: Peer, service: Service) -> None:
    stream = peer.open("/later")
    stream.send_data(framed(b"abc"))
    stream.end_message()
    await peer.exchange()
    ((request, respond),) = service.held
    respond(request * 2)
    await peer.exchange()
    fine(peer.seen(stream), b"abcabc")


async def test_a_request_in_pieces(peer: Peer) -> None:
    stream = peer.open("/echo")
    for byte in framed(b"abcdef"):
        stream.send_data(bytes([byte]))
        await peer.exchange(1)
    assert peer.shared.held_bytes == len(framed(b"abcdef"))
    stream.end_message()
    await peer.exchange()
    fine(peer.seen(stream), b"fedcba")
    assert peer.shared.held_bytes == 0


@pytest.mark.parametrize(("encoding", "deflate"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
@pytest.mark.parametrize("path", ["/echo", "/now", "/stream"])
async def test_a_compressed_request(peer: Peer, path: str, encoding: str, deflate: Callable[[bytes], bytes]) -> None:
    body = deflate(b"abc" * 1000)
    data = PREFIX.pack(1, len(body)) + body
    fine(await peer.ask_raw(path, [data], {b"grpc-encoding": encoding.encode()}), b"cba" * 1000)


@pytest.mark.parametrize("path", ["/echo", "/now", "/stream"])
@pytest.mark.parametrize(
    ("encoding", "body", "code"),
    [
        ("", b"abc", BAD_ARGUMENT),
        ("br", b"abc", UNIMPLEMENTED),
        ("gzip", b"abc", BAD_ARGUMENT),
        ("gzip", gzip.compress(bytes(MAX_MESSAGE + 1)), EXHAUSTED),
    ],
    ids=["no encoding", "an unknown one", "not what it says", "a bomb"],
)
async def test_a_compressed_request_that_is_wrong(peer: Peer, path: str, encoding: str, body: bytes, code: int) -> None:
    headers = {b"grpc-encoding": encoding.encode()} if encoding else None
    seen = await peer.ask_raw(path, [PREFIX.pack(1, len(body)) + body], headers)
    assert (seen.code, seen.messages) == (code, [])
    fine(await peer.ask("/echo", b"abc"), b"cba")


@pytest.mark.parametrize("path", ["/echo", "/now", "/stream"])
@pytest.mark.parametrize(
    ("data", "code"),
    [
        (framed(b"abc")[:-1], BAD_ARGUMENT),
        (b"\x00\x00", BAD_ARGUMENT),
        (b"\x07" + framed(b"abc"), BAD_ARGUMENT),
        (PREFIX.pack(0, MAX_MESSAGE + 1), EXHAUSTED),
        (framed(b"\xff"), BAD_ARGUMENT),
    ],
    ids=["cut off", "cut off in its prefix", "an unknown flag", "too large", "no message"],
)
async def test_wrong_data(peer: Peer, path: str, data: bytes, code: int) -> None:
    seen = await peer.ask_raw(path, [data])
    assert (seen.status, seen.code, seen.messages) == (200, code, [])
    assert seen.text
    assert peer.shared.held_bytes == 0
    fine(await peer.ask("/echo", b"abc"), b"cba")


@pytest.mark.parametrize("messages", [[], [b"a", b"b"]], ids=["none", "two"])
async def test_a_method_that_takes_one_message(peer: Peer, messages: list[bytes]) -> None:
    seen = await peer.ask("/echo", *messages)
    assert seen.code == BAD_ARGUMENT
    assert f"{len(messages)} came" in seen.text


async def test_what_is_too_large_is_refused_before_it_has_come(peer: Peer) -> None:
    stream = peer.open("/echo")
    stream.send_data(PREFIX.pack(0, MAX_MESSAGE + 1))
    await peer.exchange()
    assert peer.seen(stream).code == EXHAUSTED
    stream.send_data(bytes(MAX_MESSAGE))  # what still comes is thrown away
    stream.end_message()
    await peer.exchange()
    assert peer.shared.held_bytes == 0
    fine(await peer.ask("/echo", b"abc"), b"cba")


async def test_all_requests_together_hold_a_bounded_number_of_bytes(peer: Peer) -> None:
    streams = [peer.open("/echo") for _ in range(4)]
    for stream in streams:
        stream.send_data(framed(bytes(MAX_MESSAGE))[:-1])
    await peer.exchange()
    refused = [peer.seen(stream) for stream in streams if peer.seen(stream).trailers]
    assert [seen.code for seen in refused] == [UNAVAILABLE] * 2
    assert 0 < peer.shared.held_bytes <= MAX_HELD
    peer.lose()
    assert peer.shared.held_bytes == 0


async def test_a_status_its_text_and_what_else_it_says(peer: Peer) -> None:
    seen = await peer.ask("/refuse", b"model")
    assert (seen.code, seen.text) == (NOT_FOUND, "no model at 100 %: ä")
    assert seen.trailers["retry-after"] == "1.5"
    seen = await peer.ask("/now", b"full")
    assert (seen.code, seen.text, seen.trailers["retry-after"]) == (UNAVAILABLE, "full", "2.0")


async def test_an_unexpected_error_says_nothing_of_itself(peer: Peer, caplog: pytest.LogCaptureFixture) -> None:
    seen = await peer.ask("/fail", b"abc")
    assert seen.code == INTERNAL
    assert "secret" not in seen.text
    assert "request id" in seen.text
    assert "a secret" in caplog.text


async def test_what_the_method_learns_of_its_call(peer: Peer, service: Service) -> None:
    await peer.ask("/echo", b"abc", headers={b"grpc-timeout": b"5S", b"authorization": b"Bearer x"})
    (context,) = service.contexts
    assert context.time_remaining() == pytest.approx(5.0)
    assert ("authorization", "Bearer x") in context.invocation_metadata()
    await peer.ask("/echo", b"abc")
    assert service.contexts[1].time_remaining() is None


@pytest.mark.parametrize("path", ["/wait", "/count"])
async def test_a_reset_cancels_the_method(peer: Peer, service: Service, path: str) -> None:
    stream = peer.open(path)
    stream.send_data(framed(b"3"))
    stream.end_message()
    await peer.exchange()
    stream.reset(8)
    await peer.exchange()
    assert service.cancelled == 1
    fine(await peer.ask("/echo", b"abc"), b"cba")


async def test_a_reset_drops_the_work_behind_an_answer(peer: Peer, service: Service) -> None:
    stream = peer.open("/later")
    stream.send_data(framed(b"3"))
    stream.end_message()
    await peer.exchange()
    stream.reset(8)
    await peer.exchange()
    assert service.dropped == 1
    service.held[0][1](b"too late")
    await peer.exchange()


async def test_a_lost_connection_cancels_everything(peer: Peer, service: Service) -> None:
    for path in ("/wait", "/later", "/wait"):
        stream = peer.open(path)
        stream.send_data(framed(b"3"))
        stream.end_message()
    await peer.exchange()
    peer.lose()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert (service.cancelled, service.dropped) == (2, 1)
    assert not peer.clock.timers
    service.held[0][1](InvalidInput("too late"))
