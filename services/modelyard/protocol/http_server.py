"""HTTP/1.1 connections: uvicorn's parser, our own answers on our paths, BentoML's application on all others.

A request on a path of `rest.py` is collected, handled and answered with one write; no ASGI message and no middleware is
in between (measured: a small model answers several times as many requests a second this way). For every path the
connection keeps three promises: a request has arrived whole within the receive deadline, is never larger than the cap,
and while the server drains every answer closes its connection.
"""

import asyncio
import logging
from http import HTTPStatus
from typing import Any, Protocol, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from modelyard.errors import HeadersTooLarge, InvalidInput, ModelyardError, Overloaded, PayloadTooLarge, ReceiveTimeout
from modelyard.protocol.asgi import App
from modelyard.protocol.http_message import HttpRequest, HttpResponse
from modelyard.protocol.rest import Rest, failure
from modelyard.protocol.rest_routes import OPEN_PATHS, owns

log = logging.getLogger("modelyard.http")

MAX_HEADER_BYTES = 64 * 1024
LINGER_SECONDS = 5.0
"""How long the rest of a refused body is read and thrown away, so that the client gets to read the answer."""
LAST_REQUEST_SECONDS = 0.25
"""How long an idle connection is kept when the server stops, for a request that is on its way."""
_STATUS_LINES = {s.value: f"HTTP/1.1 {s.value} {s.phrase}\r\n".encode() for s in HTTPStatus}


class Served(Protocol):
    """What the ASGI application given to uvicorn also is: the way to the face and to the state of the server."""

    max_body_bytes: int
    receive_timeout_seconds: float
    max_held_bytes: int
    held_bytes: int
    """Bytes of bodies that all connections hold together."""

    @property
    def rest(self) -> Rest: ...

    others: App
    """The application behind all paths that are not the face's own."""

    @property
    def draining(self) -> bool: ...


class HttpProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._served = cast(Served, self.app)
        self._max_body = self._served.max_body_bytes
        self._receive_timeout = self._served.receive_timeout_seconds
        self._deadline: asyncio.TimerHandle | None = None
        self._receiving = True
        self._in_body = False
        self._refused = False
        self._header_bytes = 0
        self._body_bytes = 0
        self._held = 0
        """Bytes of bodies that this connection's open requests hold."""
        self._answering: asyncio.Task[None] | None = None

    # --- what arrives -----------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)
        if self._answering is not None:
            self._answering.cancel()  # nobody is left to read the answer: its work may be dropped
            self._answering = None
        # connection, cycle and task refer to each other: a body must not wait for the garbage collector
        for cycle in (self.cycle, *(waiting for waiting, _ in self.pipeline)):
            _drop_body(cycle)
        self.pipeline.clear()
        self._release()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._header_bytes += len(data)
        super().data_received(data)
        if self._receiving and self._listening():
            if self._header_bytes > MAX_HEADER_BYTES and not self._in_body:
                self._refuse(HeadersTooLarge(f"the headers are above {MAX_HEADER_BYTES} bytes"))
            else:
                self._arm()
        else:
            self._disarm()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._receiving = True
        self._in_body = False
        self._body_bytes = 0

    def on_headers_complete(self) -> None:
        self._in_body = True
        super().on_headers_complete()
        length = dict(self.headers).get(b"content-length", b"")
        if length.isdigit() and int(length) > self._max_body:
            self._refuse(self._too_large())

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        if self._refused:
            return
        self._held += len(body)
        self._served.held_bytes += len(body)
        if self._body_bytes > self._max_body:
            self._refuse(self._too_large())
        elif self._served.held_bytes > self._served.max_held_bytes:
            self._refuse(Overloaded("too many requests are being received at once"))
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._receiving = False
        self._header_bytes = 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """uvicorn calls this for bytes that are no HTTP."""
        self._refuse(InvalidInput("this is no valid HTTP/1.1 request"))

    def shutdown(self) -> None:
        """The server stops: an idle connection may just be bringing a request, so it gets a moment to do so."""
        if self._idle():
            self.loop.call_later(LAST_REQUEST_SECONDS, self._close_if_idle)
        else:
            super().shutdown()

    def _close_if_idle(self) -> None:
        if self._idle():
            self.transport.close()

    def _idle(self) -> bool:
        cycle = cast("RequestResponseCycle | None", self.cycle)
        return (cycle is None or cycle.response_complete) and not self._header_bytes

    # --- what is answered -------------------------------------------------------------------------------------------

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        if self._served.draining:
            cycle.keep_alive = False
        path = cycle.scope["raw_path"]
        request = HttpRequest(cycle.scope["method"], path, dict(cycle.scope["headers"]))
        try:
            if path not in OPEN_PATHS:
                self._served.rest.gate(request)  # before a stranger's body is read
        except ModelyardError as error:
            cycle.keep_alive = False
            self._answer(cycle, failure(error))
            return
        if not owns(path):
            super()._start_asgi_task(cycle, cast(Any, self._served.others))
            return
        task = self.loop.create_task(self._handle(cycle, request))
        self._answering = task
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _handle(self, cycle: RequestResponseCycle, request: HttpRequest) -> None:
        while cycle.more_body:
            if cycle.waiting_for_100_continue:
                cycle.waiting_for_100_continue = False
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.flow.resume_reading()
            cycle.message_event.clear()
            await cycle.message_event.wait()
            if cycle.disconnected or cycle.response_complete:
                return
        if self.flow.write_paused:
            await self.flow.drain()  # a client that does not read its answers gets no more of them computed
        request.body = bytes(cycle.body)
        _drop_body(cycle)
        response = await self._served.rest.handle(request)
        self._answer(cycle, response)

    def _answer(self, cycle: RequestResponseCycle, response: HttpResponse) -> None:
        """One write: status, headers, body."""
        if cycle.disconnected or cycle.response_complete or self.transport.is_closing():
            return
        if self._served.draining:
            cycle.keep_alive = False
        self.transport.write(_render(response, cycle.keep_alive, head=cycle.scope["method"] == "HEAD"))
        cycle.response_started = cycle.response_complete = True
        if not cycle.keep_alive and cycle.more_body:
            self._linger()
        elif not cycle.keep_alive:
            self.transport.close()
        self.on_response_complete()

    def on_response_complete(self) -> None:
        self._release()
        super().on_response_complete()
        if self.pipeline and not self.transport.is_closing():
            self.flow.pause_reading()  # answer what is here before reading more: a pipeline must not grow without bound

    def _refuse(self, error: ModelyardError) -> None:
        """Answer in the middle of a request that will not be read to its end, then close."""
        self._refused = True
        self._disarm()
        cycle = cast("RequestResponseCycle | None", self.cycle)
        unanswered = cycle is not None and not cycle.response_complete
        if cycle is not None and unanswered and self._in_body:
            _drop_body(cycle)
            cycle.disconnected = True
            cycle.message_event.set()  # wakes whoever waits for the rest of the body
            unanswered = cycle.response_started
        if not unanswered and not self.pipeline:  # else an earlier request is still being answered: only close
            self.transport.write(_render(failure(error), keep_alive=False))
            self._linger()
        else:
            self.loop.call_later(LINGER_SECONDS, self.transport.close)
        self._release()

    def _linger(self) -> None:
        """Half-close: the client sees answer and end at once, while what it still sends is thrown away."""
        self._refused = True
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(LINGER_SECONDS, self.transport.close)

    def _release(self) -> None:
        self._served.held_bytes -= self._held
        self._held = 0

    def _listening(self) -> bool:
        return not (self._refused or self.transport.is_closing())

    def _too_large(self) -> PayloadTooLarge:
        return PayloadTooLarge(f"the body is above {self._max_body} bytes")

    # --- the receive deadline ---------------------------------------------------------------------------------------

    def _arm(self) -> None:
        """Start the deadline with the first byte of a request, and only when the request did not come whole at once."""
        if self._deadline is None:
            self._deadline = self.loop.call_later(self._receive_timeout, self._expire)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _expire(self) -> None:
        self._deadline = None
        if self.flow.read_paused:
            self._arm()  # it is the server that does not read on, while it answers this connection's earlier requests
        elif not self._header_bytes and not self._in_body:
            self.transport.close()  # a connection that was opened in advance and never used is owed no answer
        elif not self.transport.is_closing():
            self._refuse(ReceiveTimeout(f"the request did not arrive within {self._receive_timeout:g} s"))


def _drop_body(cycle: RequestResponseCycle | None) -> None:
    if cycle is not None:
        cycle.body = bytearray()


def _render(response: HttpResponse, keep_alive: bool, *, head: bool = False) -> bytes:
    length = sum(map(len, response.parts))
    lines = [_STATUS_LINES[response.status], b"content-type: ", response.content_type]
    lines.append(b"\r\ncontent-length: %d\r\n" % length)
    for name, value in response.headers:
        lines += (name, b": ", value, b"\r\n")
    lines.append(b"\r\n" if keep_alive else b"connection: close\r\n\r\n")
    if not head:
        lines += response.parts
    return b"".join(lines)
