"""The messages of one gRPC stream: answered side by side, sent in their order, and never too many of them at once.

Messages come and go as bytes, so that their size is known without a further look at them. What a stream holds (requests
that are being answered, answers that the peer has not taken) is bounded by number and by size: above that nothing more
is read from it. A first message is always taken, however large. How large an answer is counts from when it is there.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Generic, TypeVar

MAX_STREAM_REQUESTS = 64
"""Requests of one stream that are answered at once."""
MAX_STREAM_BYTES = 16 * 2**20
"""Bytes of requests and answers of one stream above which no further request is read."""

R = TypeVar("R")


class AnswerStream(Generic[R]):
    def __init__(
        self, messages: AsyncIterator[bytes], parse: Callable[[bytes], R], answer: Callable[[R], Awaitable[bytes]]
    ) -> None:
        """`parse` and `answer` never raise, but for cancellation."""
        self._messages = messages
        self._parse = parse
        self._answer = answer
        self._waiting: deque[asyncio.Task[bytes]] = deque()
        self._held = 0
        self._ended = False
        """No further message is read."""
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._reader = asyncio.create_task(self._read())
        self._reader.add_done_callback(self._end)

    def stop_reading(self) -> None:
        """Answer what is here, then end."""
        self._reader.cancel()

    async def answers(self) -> AsyncGenerator[bytes, None]:
        """To be closed: what is not answered then is dropped."""
        try:
            while True:
                if self._waiting:
                    yield await self._waiting[0]
                    self._hold(-len(self._waiting.popleft().result()))
                elif self._ended:
                    return
                else:
                    self._news.clear()
                    await self._news.wait()
        finally:
            self._reader.cancel()
            for left in self._waiting:
                left.cancel()

    async def _read(self) -> None:
        async for message in self._messages:
            self._hold(len(message))
            self._waiting.append(asyncio.create_task(self._answered(self._parse(message), len(message))))
            self._news.set()
            while len(self._waiting) >= MAX_STREAM_REQUESTS or self._held > MAX_STREAM_BYTES:
                self._room.clear()
                await self._room.wait()

    async def _answered(self, request: R, size: int) -> bytes:
        answer = await self._answer(request)
        self._hold(len(answer) - size)
        return answer

    def _hold(self, count: int) -> None:
        self._held += count
        self._room.set()

    def _end(self, reader: asyncio.Task[None]) -> None:
        self._ended = True
        self._news.set()
