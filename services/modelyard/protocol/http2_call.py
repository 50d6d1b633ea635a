"""One gRPC call over HTTP/2: its messages become the request of a method, what that answers becomes data and trailers.

A Call is also the context that the method is given: the part of grpc.aio.ServicerContext that ours use. Whatever goes
wrong ends this call alone, with a status; the connection and its other calls go on.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Iterable
from typing import Any, NoReturn

import grpc
import zttp
from google.protobuf.message import DecodeError

from modelyard.errors import InvalidInput, ModelyardError, ReceiveTimeout, Unimplemented
from modelyard.protocol.grpc import UNREADABLE, Cancel, trailers
from modelyard.protocol.grpc_wire import PREFIX, Messages, parse_timeout
from modelyard.protocol.http2_answer import OK, Answer, Status, status, status_of
from modelyard.protocol.http2_port import Connection, Method
from modelyard.protocol.http_message import inflate

_ENCODINGS = ("gzip", "deflate")
LARGE_BYTES = 1024
"""A compressed message above this is inflated in a thread: it may become a thousand times as large."""
WAITING_BYTES = 2**20
"""A stream whose method has so much left to take is too far ahead of it."""


class Ended(Exception):
    """What `abort` raises inside of a method."""

    def __init__(self, code: grpc.StatusCode, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


class Call:
    def __init__(
        self, connection: Connection, stream: zttp.Stream, method: Method, headers: dict[bytes, bytes], max_bytes: int
    ) -> None:
        """Raises InvalidInput for a timeout that is none."""
        self._connection = connection
        self._stream = stream
        self._handler = method.handler
        self._submit = method.submit
        self._headers = headers
        self._messages = Messages(max_bytes)
        self._max_bytes = max_bytes
        timeout = headers.get(b"grpc-timeout")
        self._deadline = connection.loop.time() + parse_timeout(timeout.decode("latin-1")) if timeout else None
        self._timer: asyncio.TimerHandle | None = None
        self._arrived: deque[tuple[bool, bytes]] = deque()
        """Messages that the method has not taken yet."""
        self._complete = False
        """The request has come to its end."""
        self._waiting_since: float | None = None if method.handler.request_streaming else connection.loop.time()
        """Since when a message is on its way that has not come whole."""
        self._news = asyncio.Event()
        self._held = 0
        self._drop: Cancel | None = None
        """Drops the work behind the answer."""
        self._answer = Answer(stream)
        self._over = False

    # --- what comes -------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """The headers are here. A method that takes a stream begins at once, all others with their message."""
        if self._handler.request_streaming:
            self._begin()

    def received(self, data: bytes) -> None:
        if self._over:
            return
        before = len(self._arrived)
        try:
            self._hold(len(data))
            self._arrived.extend(self._messages.feed(data))
        except ModelyardError as error:
            self.fail(error)
            return
        if self._handler.request_streaming:
            if self._messages.empty:
                self._waiting_since = None
            elif self._waiting_since is None or len(self._arrived) > before:  # another one has begun
                self._waiting_since = self._connection.loop.time()
            self._news.set()
            if self._arrived and self._held > WAITING_BYTES:
                self._connection.ahead(self._stream.stream_id, too_far=True)
        elif len(self._arrived) > 1:
            self.fail(_not_one(len(self._arrived)))

    def received_all(self) -> None:
        if self._over:
            return
        self._complete = True
        self._waiting_since = None
        if not self._messages.empty:
            self.fail(InvalidInput("the last message is cut off"))
        elif self._handler.request_streaming:
            self._news.set()
        elif len(self._arrived) != 1:
            self.fail(_not_one(len(self._arrived)))
        else:
            self._begin()

    def look(self, seconds: float, *, anew: bool) -> None:
        """Now and then: end the call when a message takes longer than that to come.

        `anew`: the time begins again, as it was the server that did not read.
        """
        if self._waiting_since is None:
            return
        now = self._connection.loop.time()
        if anew:
            self._waiting_since = now
        elif now - self._waiting_since > seconds:
            self.fail(ReceiveTimeout(f"the message did not arrive within {seconds:g} s"))

    def cancel(self) -> None:
        """Nobody waits for the answer any more: the work behind it may be dropped."""
        drop = self._drop
        self._close()
        if drop is not None:
            drop()

    # --- the method's run -------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        remaining = self.time_remaining()
        if self._submit is None and remaining is not None:  # inference looks at it itself
            self._timer = self._connection.loop.call_later(remaining, self._expire)
        if self._submit is not None and not self._arrived[0][0]:  # what is compressed may have to wait for a thread
            try:
                message = self._parsed(self._taken()[1])
            except InvalidInput as error:
                self.fail(error)
                return
            self._drop = self._submit(message, self, self._respond)
        else:
            self._drop = self._connection.loop.create_task(self._run()).cancel

    def _respond(self, outcome: Any) -> None:
        if isinstance(outcome, Exception):
            self.fail(outcome)
            return
        try:
            self._send(outcome)
        except Exception as error:
            self.fail(error)
        self._finish(OK)

    async def _run(self) -> None:
        handler = self._handler
        try:
            request = self._requests() if handler.request_streaming else await self._next()
            if handler.response_streaming:
                async with contextlib.aclosing((handler.stream_stream or handler.unary_stream)(request, self)) as found:
                    async for response in found:
                        self._send(response)
                        await self._connection.drained(self._stream)
            else:
                self._send(await handler.unary_unary(request, self))
            self._finish(OK)
        except Ended as ended:
            self._finish(status(ended.code, ended.text))
        except Exception as error:
            self._finish(status_of(error))

    async def _requests(self) -> AsyncIterator[Any]:
        while True:
            while not self._arrived:
                if self._complete:
                    return
                self._news.clear()
                await self._news.wait()
            try:
                yield await self._next()
            except ModelyardError as error:
                self.fail(error)
                return

    async def _next(self) -> Any:
        """The next message that has come, inflated and parsed. Raises InvalidInput and PayloadTooLarge."""
        compressed, message = self._taken()
        if self._handler.request_streaming and self._held <= WAITING_BYTES:
            self._connection.ahead(self._stream.stream_id, too_far=False)
        return self._parsed(await self._inflated(message) if compressed else message)

    def _taken(self) -> tuple[bool, bytes]:
        compressed, message = self._arrived.popleft()
        self._hold(-len(message) - PREFIX.size)
        return compressed, message

    def _parsed(self, message: bytes) -> Any:
        try:
            return self._handler.request_deserializer(message)
        except DecodeError:
            raise InvalidInput(UNREADABLE) from None

    async def _inflated(self, message: bytes) -> bytes:
        encoding = (self._headers.get(b"grpc-encoding") or b"").decode("latin-1")
        if encoding in ("", "identity"):
            raise InvalidInput("a compressed message, and no grpc-encoding")
        if encoding not in _ENCODINGS:
            raise Unimplemented(f"grpc-encoding '{encoding[:40]}' is not supported; use gzip or deflate")
        if len(message) > LARGE_BYTES:
            return await asyncio.to_thread(inflate, message, encoding, self._max_bytes)
        return inflate(message, encoding, self._max_bytes)

    # --- what goes --------------------------------------------------------------------------------------------------

    def fail(self, error: Exception) -> None:
        """End the call with an error, whatever its method is doing."""
        if not self._over:
            self.set_trailing_metadata(trailers(error))
            self._cut(status_of(error))

    def _expire(self) -> None:
        self._cut(status(grpc.StatusCode.DEADLINE_EXCEEDED, "the deadline of the call is over"))

    def _cut(self, end: Status) -> None:
        drop = self._drop
        self._finish(end)
        if drop is not None:
            drop()

    def _send(self, response: Any) -> None:
        if self._over:
            return
        self._answer.send(self._handler.response_serializer(response))
        self._connection.wrote()

    def _finish(self, end: Status) -> None:
        if self._over:
            return
        self._close()
        self._answer.end(end)
        self._connection.ended(self._stream.stream_id)
        self._connection.wrote()

    def _close(self) -> None:
        self._over = True
        self._drop = None  # with it a call would refer to itself, and wait for the garbage collector
        if self._timer is not None:
            self._timer.cancel()
        self._arrived.clear()
        self._hold(-self._held)

    def _hold(self, count: int) -> None:
        self._held += count
        self._connection.hold(count)

    # --- the context of the method ----------------------------------------------------------------------------------

    async def abort(self, code: grpc.StatusCode, details: str = "") -> NoReturn:
        raise Ended(code, details)

    def set_trailing_metadata(self, metadata: Iterable[tuple[str, str]]) -> None:
        self._answer.trailers = [(name.encode("ascii"), value.encode("ascii")) for name, value in metadata]

    def time_remaining(self) -> float | None:
        return None if self._deadline is None else max(0.0, self._deadline - self._connection.loop.time())

    def invocation_metadata(self) -> list[tuple[str, str]]:
        return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in self._headers.items()]


def _not_one(count: int) -> InvalidInput:
    return InvalidInput(f"one message is expected, {count} came")
