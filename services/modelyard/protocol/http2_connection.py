"""One HTTP/2 connection of the gRPC port: zttp reads and writes the frames, each stream is a Call.

A connection ends as the library's server ends one: GOAWAY for all streams to come, a PING, and when that is answered
(all that was sent before the peer knew has then arrived) GOAWAY with the last stream that is served. So no call is
lost. It ends like that at its age, when the server stops, and before it has had as many streams, or as many resets, as
zttp allows to one connection.
"""

import asyncio
import random
from collections.abc import Callable
from typing import Any, ClassVar, cast

import zttp

from modelyard.errors import ModelyardError, Overloaded, Unimplemented
from modelyard.protocol.grpc_wire import whole_answer
from modelyard.protocol.http2_answer import Answer, status_of
from modelyard.protocol.http2_call import Call
from modelyard.protocol.http2_port import Shared

MAX_STREAMS = 3072
"""Streams after which a connection is ended. zttp takes 4,096 and then closes: measured with 0.0.35."""
MAX_RESETS = 96
"""Cancelled streams after which a connection is ended. zttp takes 256; 128 calls may be open."""
HANDSHAKE_SECONDS = 20.0
"""A peer that has not spoken HTTP/2 by then is closed."""
PING_SECONDS = 5.0
"""How long the answer to the PING is waited for."""
LOOKS = 4
"""How often a message is looked for in the time that it may take to arrive."""
LINGER_SECONDS = 0.5
"""How long a peer that was told to go may take to close the connection itself."""
PENDING_BYTES = 256 * 1024
"""A stream whose peer has so much left to take gets no more answers computed."""
AGE_SPREAD = 0.1
"""Connections that were opened together do not all end together."""
_ALL = 2**31 - 1
_PROTOCOL_ERROR, _REFUSED_STREAM = 1, 7
_PING = b"\x00\x00\x08\x06\x00\x00\x00\x00\x00" + b"farewell"
"""A frame of eight bytes, of type PING, without flags, on the connection: zttp has no call for it."""
_GRPC = b"application/grpc"


class Http2Connection(asyncio.Protocol):
    transport: asyncio.Transport

    def __init__(self, shared: Shared, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._shared = shared
        self._engine = zttp.Connection(zttp.SERVER, zttp.HTTP2)
        self._calls: dict[int, Call] = {}
        self._ahead: set[int] = set()
        self._timers: list[asyncio.TimerHandle] = []
        self._looks: asyncio.TimerHandle | None = None
        self._moved = asyncio.Event()
        self._newest = self._streams = self._resets = 0
        self._last: int | None = None
        """The last stream that is served, once that has been said."""
        self._greeted = self._leaving = self._done = False
        self._flushing = self._writing_paused = False
        self._reading_paused = self._was_paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._shared.connections.add(self)
        self._engine.initiate_connection()
        self._flush()
        self._later(HANDSHAKE_SECONDS, self._close_stranger)
        if self._shared.closing:
            self.go_away()
        if age := self._shared.connection_seconds:
            self._later(age * random.uniform(1 - AGE_SPREAD, 1 + AGE_SPREAD), self.go_away)  # noqa: S311  (no secret)

    def connection_lost(self, exc: Exception | None) -> None:
        self._shared.connections.discard(self)
        if not self._shared.connections:
            self._shared.left.set()
        for timer in (*self._timers, *([self._looks] if self._looks else [])):
            timer.cancel()
        self._cancel_all()
        self._moved.set()

    # --- what comes -------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        try:
            self._engine.receive_data(data)
            while (event := self._engine.next_event()) is not zttp.NEED_DATA:
                if handle := self._HANDLERS.get(type(event)):
                    handle(self, event)
        except zttp.RemoteProtocolError:
            self._flush()
            self._cancel_all()
            self._close()
            return
        self._moved.set()
        self._moved.clear()
        self._flush()

    def _on_settings(self, event: zttp.Settings) -> None:
        self._greeted = True

    def _on_request(self, event: zttp.Request) -> None:
        number = self._newest = event.stream_id
        stream = self._engine.stream(number)
        if self._last is not None and number > self._last:
            stream.reset(_REFUSED_STREAM)  # a caller may send it again, elsewhere
            return
        self._streams += 1
        if self._streams == MAX_STREAMS:
            self.go_away()
        headers = dict(event.headers)
        if event.method != b"POST":
            stream.send_response(405, [(b"allow", b"POST")], end_stream=True)
        elif headers.get(b"content-type", b"")[: len(_GRPC) + 1] not in (_GRPC, _GRPC + b"+", _GRPC + b";"):
            stream.send_response(415, [], end_stream=True)
        else:
            self._open(stream, event, headers)

    def _open(self, stream: zttp.Stream, event: zttp.Request, headers: dict[bytes, bytes]) -> None:
        method = self._shared.methods.get(event.path)
        if method is None:
            Answer(stream).end(status_of(Unimplemented("there is no such method")))
            return
        try:
            call = Call(self, stream, method, headers, self._shared.max_message_bytes)
        except ModelyardError as error:
            Answer(stream).end(status_of(error))
            return
        self._calls[event.stream_id] = call
        if self._looks is None:
            self._looks = self.loop.call_later(self._shared.receive_seconds / LOOKS, self._look)
        call.start()
        if event.end_stream:
            call.received_all()

    def _look(self) -> None:
        """While calls are open: do their messages arrive?"""
        self._looks = None
        anew, self._was_paused = self._was_paused, self._reading_paused
        for call in list(self._calls.values()):
            call.look(self._shared.receive_seconds, anew=anew)
        if self._calls and not self.transport.is_closing():
            self._looks = self.loop.call_later(self._shared.receive_seconds / LOOKS, self._look)

    def _on_data(self, event: zttp.Data) -> None:
        if call := self._calls.get(event.stream_id):  # else it has its answer: what still comes is thrown away
            call.received(event.data)

    def _on_end(self, event: zttp.EndOfMessage) -> None:
        if call := self._calls.get(event.stream_id):
            call.received_all()

    def _on_reset(self, event: zttp.RstStream) -> None:
        if event.stream_id > self._newest:
            self._newest = event.stream_id
            if event.error_code == _PROTOCOL_ERROR:
                self._answer_malformed(event.stream_id)
        self._resets += 1
        if self._resets == MAX_RESETS:
            self.go_away()
        if call := self._calls.get(event.stream_id):
            call.cancel()
            self.ended(event.stream_id)

    def _answer_malformed(self, stream_id: int) -> None:
        """zttp resets a stream whose headers break HTTP/2 (a value that ends with a blank) and says no more of it.

        The caller is to read why: so an answer goes out before that reset.
        """
        self.transport.write(whole_answer(stream_id, status_of(self._shared.malformed())))

    def _on_ping(self, event: zttp.Ping) -> None:
        if event.ack and self._leaving:
            self._say_last()

    _HANDLERS: ClassVar[dict[type, Callable[[Any, Any], None]]] = {
        zttp.Settings: _on_settings,
        zttp.Request: _on_request,
        zttp.Data: _on_data,
        zttp.EndOfMessage: _on_end,
        zttp.RstStream: _on_reset,
        zttp.Ping: _on_ping,
    }

    # --- what calls need (http2_port.Connection) ---------------------------------------------------------------------

    def wrote(self) -> None:
        """Sent at the end of this turn of the loop: answers of one batch go in one write."""
        if not self._flushing:
            self._flushing = True
            self.loop.call_soon(self._flush)

    def hold(self, count: int) -> None:
        self._shared.held_bytes += count
        if count > 0 and self._shared.held_bytes > self._shared.max_held_bytes:
            raise Overloaded("too many requests are being received at once")

    def ended(self, stream_id: int) -> None:
        self._calls.pop(stream_id, None)
        self._ahead.discard(stream_id)

    def ahead(self, stream_id: int, *, too_far: bool) -> None:
        if too_far:
            self._ahead.add(stream_id)
        else:
            self._ahead.discard(stream_id)
        self._balance()

    async def drained(self, stream: zttp.Stream) -> None:
        if self._flushing:
            await asyncio.sleep(0)  # a method that never waits would keep the loop, and nothing would be sent
        while not self.transport.is_closing() and (self._writing_paused or (stream.pending_bytes or 0) > PENDING_BYTES):
            await self._moved.wait()

    # --- what goes --------------------------------------------------------------------------------------------------

    def pause_writing(self) -> None:
        self._writing_paused = True
        self._balance()

    def resume_writing(self) -> None:
        self._writing_paused = False
        self._moved.set()
        self._moved.clear()
        self._balance()

    def _flush(self) -> None:
        self._flushing = False
        if self.transport.is_closing():
            return
        if data := self._engine.data_to_send():
            self.transport.write(data)
        self._balance()
        idle = not self._calls and not self._engine.has_pending_send()
        if self._last is not None and idle and not self._done:
            self._done = True
            self._later(LINGER_SECONDS, self._close)

    def _balance(self) -> None:
        """Read on unless the peer does not take its answers, or is too far ahead of a method.

        Credit for answers that wait has to be read: with it a method that is behind can go on.
        """
        paused = self._writing_paused or bool(self._ahead and not self._engine.has_pending_send())
        if paused != self._reading_paused and not self.transport.is_closing():
            self._reading_paused = paused
            self._was_paused = self._was_paused or paused
            if paused:
                self.transport.pause_reading()
            else:
                self.transport.resume_reading()

    # --- the end of a connection ------------------------------------------------------------------------------------

    def go_away(self) -> None:
        """Have the peer open its next streams elsewhere, and close when those that are open have their answers."""
        if self._leaving or self.transport.is_closing():
            return
        self._leaving = True
        self._engine.close(zttp.H2ErrorCode.NO_ERROR, _ALL)
        self._flush()
        self.transport.write(_PING)
        self._later(PING_SECONDS, self._stop_waiting)

    def _stop_waiting(self) -> None:
        if self._reading_paused:  # the answer to the PING may be here, behind calls that are to be served
            self._later(PING_SECONDS, self._stop_waiting)
        else:
            self._say_last()

    def _say_last(self) -> None:
        if self._last is None and not self.transport.is_closing():
            self._last = self._newest
            self._engine.close(zttp.H2ErrorCode.NO_ERROR, self._last)
            self._flush()

    def _close_stranger(self) -> None:
        if not self._greeted:
            self._close()

    def _cancel_all(self) -> None:
        for call in list(self._calls.values()):
            call.cancel()
        self._calls.clear()

    def _close(self) -> None:
        """A peer that does not read keeps a closed connection: it gets a moment."""
        self.transport.close()
        self._later(LINGER_SECONDS, self.transport.abort)

    def _later(self, seconds: float, what: Callable[[], None]) -> None:
        self._timers.append(self.loop.call_later(seconds, what))
