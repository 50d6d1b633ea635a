"""One stream: answers in order, a bound on what it holds, and nothing that goes on after its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from modelyard.protocol.grpc_stream import MAX_STREAM_BYTES, MAX_STREAM_REQUESTS, AnswerStream
from tests.unit.cache.fakes import settle


class Peer:
    """Sends messages, and knows which of them were read, answered and dropped."""

    def __init__(self, *sizes: int, growth: int = 1) -> None:
        self.sizes = sizes
        self.read = 0
        self.answered: list[int] = []
        self.dropped: list[int] = []
        self.growth = growth
        self.may_answer = asyncio.Event()
        self.stream = AnswerStream(self._messages(), len, self._answer)

    async def _messages(self) -> AsyncIterator[bytes]:
        for size in self.sizes:
            self.read += 1
            yield bytes(size)

    async def _answer(self, size: int) -> bytes:
        try:
            await self.may_answer.wait()
        except asyncio.CancelledError:
            self.dropped.append(size)
            raise
        self.answered.append(size)
        return bytes(size * self.growth)


async def test_answers_come_in_order_and_the_stream_ends() -> None:
    peer = Peer(*range(300))
    peer.may_answer.set()
    assert [len(answer) async for answer in peer.stream.answers()] == list(range(300))


async def test_a_number_of_requests_is_answered_at_once() -> None:
    peer = Peer(*[1] * 300)
    await settle(200)
    assert peer.read == MAX_STREAM_REQUESTS


@pytest.mark.parametrize("size", [MAX_STREAM_BYTES // 4, MAX_STREAM_BYTES * 2])
async def test_a_stream_is_read_no_further_than_it_may_hold(size: int) -> None:
    peer = Peer(*[size] * 20)
    await settle(50)
    held = max(1, MAX_STREAM_BYTES // size + 1)
    assert peer.read == held
    peer.may_answer.set()
    await settle(50)
    assert peer.read == held, "answers that nobody took are held as well"
    assert len([answer async for answer in peer.stream.answers()]) == 20


async def test_large_answers_to_small_requests_count() -> None:
    peer = Peer(*[1] * 200, growth=MAX_STREAM_BYTES // 16)
    peer.may_answer.set()
    await settle(200)
    answers = peer.stream.answers()
    for _ in range(10):
        await anext(answers)
        await settle(50)
    assert peer.read == MAX_STREAM_REQUESTS, "there is room for more requests, but not for more bytes"
    assert len([answer async for answer in answers]) == 190


@pytest.mark.parametrize("cancelled", [False, True])
async def test_nothing_goes_on_after_the_end_of_a_stream(*, cancelled: bool) -> None:
    """Also not the request that there was no room for."""
    peer = Peer(*range(200))

    async def use() -> None:
        async for _ in peer.stream.answers():
            pass

    if cancelled:
        task = asyncio.create_task(use())
        await settle(100)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    else:
        await settle(100)
        answers = peer.stream.answers()
        first = asyncio.ensure_future(anext(answers))
        await settle()
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
    await settle(100)
    peer.may_answer.set()
    await settle(100)
    assert peer.answered == []
    assert len(peer.dropped) == peer.read


async def test_a_stream_that_reads_no_more_answers_what_is_here() -> None:
    peer = Peer(*range(200))
    await settle(100)
    peer.stream.stop_reading()
    peer.may_answer.set()
    assert len([answer async for answer in peer.stream.answers()]) == MAX_STREAM_REQUESTS
