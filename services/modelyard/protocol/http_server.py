"""HTTP/1.1: our own answers on our paths, BentoML's application on all others. `modelyard serve` gives it to uvicorn.

    bytes -> httptools -> HttpConnection (limits) -> Exchange -> Rest.submit -> one write
                                                  `-> ASGI scope -> BentoML's application, as uvicorn runs it

On a path of ours no ASGI message, no middleware and no task is in between (measured: a small model answers several
times as many requests a second this way). While the server drains, every answer closes its connection.
"""

import asyncio
import time
from functools import lru_cache, partial
from typing import Any, cast

import httptools
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from modelyard.errors import ModelyardError
from modelyard.protocol.exchange import Exchange, render
from modelyard.protocol.http_connection import HttpConnection, drop_body
from modelyard.protocol.http_message import HttpRequest, HttpResponse
from modelyard.protocol.rest import Cancel, failure
from modelyard.protocol.rest_routes import MAX_REMEMBERED, OPEN_PATHS, owns

LAST_REQUEST_SECONDS = 0.25
"""How long an idle connection is kept when the server stops, for a request that is on its way."""


class HttpProtocol(HttpConnection):
    """One connection."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._rest = self._served.rest
        self._idle_timer: asyncio.TimerHandle | None = None
        self._last_used = 0.0
        self._turning = False
        self._cancel: Cancel | None = None
        """Drops the request that is being answered."""

    # --- the way of a request ---------------------------------------------------------------------------------------

    def _begin(self, headers: dict[bytes, bytes]) -> None:
        url = self.url
        path, ours = _place(url) if len(url) <= MAX_REMEMBERED else _place.__wrapped__(url)
        if not ours:
            self._begin_asgi()
            return
        exchange = Exchange(
            HttpRequest(self.parser.get_method().decode("ascii"), path, headers, peer=self.client),
            keep_alive=self.parser.should_keep_alive() and (b"connection" not in headers or self._is_http_1_1()),
            expects_continue=self.expect_100_continue and self._is_http_1_1(),
        )
        earlier, self.cycle = self.cycle, exchange
        if earlier is None or earlier.response_complete:
            self._start(exchange)
        else:  # pipelined: its turn comes when the earlier ones are answered
            self.flow.pause_reading()
            self.pipeline.appendleft((cast(Any, exchange), cast(Any, None)))

    def _start(self, exchange: Exchange) -> None:
        """The headers are here, and it is this request's turn."""
        if not self._listening():
            return
        if exchange.request.path not in OPEN_PATHS:
            try:
                self._rest.gate(exchange.request)  # before a stranger's body is read
            except ModelyardError as error:
                exchange.keep_alive = False
                self._answer(exchange, failure(error))
                return
        if not exchange.more_body:
            self._handle(exchange)
        elif exchange.expects_continue:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _arrived(self, exchange: Exchange) -> None:
        if not self.pipeline and not exchange.response_complete:
            self._handle(exchange)

    def _handle(self, exchange: Exchange) -> None:
        if self.flow.write_paused:  # a client that does not read its answers gets no more of them computed
            task = self.loop.create_task(self._handle_when_read(exchange))
            self._cancel = task.cancel
            return
        chunks, request = exchange.chunks, exchange.request
        request.body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        cancel = self._rest.submit(request, partial(self._answer, exchange))
        if not exchange.response_complete:
            self._cancel = cancel

    async def _handle_when_read(self, exchange: Exchange) -> None:
        await self.flow.drain()
        self._handle(exchange)

    def _answer(self, exchange: Any, response: HttpResponse, *, head: bool = False) -> None:
        """One write: status, headers, body."""
        if exchange.disconnected or exchange.response_complete or self.transport.is_closing():
            return
        if self._served.draining:
            exchange.keep_alive = False
        head = head or (isinstance(exchange, Exchange) and exchange.request.method == "HEAD")
        self.transport.write(render(response, exchange.keep_alive, head=head))
        exchange.response_started = exchange.response_complete = True
        self._cancel = None
        if not exchange.keep_alive:
            if exchange.more_body:
                self._linger()
            else:
                self.transport.close()
        self.on_response_complete()

    def on_response_complete(self) -> None:
        """Also called by uvicorn, for its cycles."""
        self._release()
        if self.cycle.response_complete:  # kept until the next request comes, and no limit counts its body any more
            drop_body(self.cycle)
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            self._watch()
            return
        self._last_used = time.monotonic()
        if self.pipeline:
            self._turn()
            return
        self.flow.resume_reading()
        if self._idle_timer is None:
            self._idle_timer = self.loop.call_later(self.timeout_keep_alive, self._close_if_unused)

    def _turn(self) -> None:
        """Start what was pipelined: one after the other, not each inside the answer of the one before."""
        if self._turning:
            return
        self._turning = True
        cycle: Any = None
        while self.pipeline and (cycle is None or cycle.response_complete) and self._listening():
            cycle, app = self.pipeline.pop()
            if self.pipeline:
                self.flow.pause_reading()  # answer what is here before reading more: a pipeline must not grow
            else:
                self.flow.resume_reading()
            self._start_asgi_task(cycle, app)
        self._turning = False

    def connection_lost(self, exc: Exception | None) -> None:
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        if self._cancel is not None:
            self._cancel()  # nobody is left to read the answer: its work may be dropped
            self._cancel = None
        super().connection_lost(exc)

    def _is_http_1_1(self) -> bool:
        version: str = self.parser.get_http_version()
        return version != "1.0"

    # --- other paths ------------------------------------------------------------------------------------------------

    def _begin_asgi(self) -> None:
        """uvicorn's own way, from the ASGI scope on, which only these requests need."""
        url, headers, expected = self.url, self.headers, self.expect_100_continue
        super(HttpConnection, self).on_message_begin()
        self.url, self.expect_100_continue = url, expected
        self.headers += headers
        super(HttpConnection, self).on_headers_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """It is a request's turn: uvicorn's, or one of ours that was pipelined."""
        waiting: Any = cycle
        if isinstance(waiting, Exchange):
            self._start(waiting)
            return
        if self._served.draining:
            cycle.keep_alive = False
        request = HttpRequest(cycle.scope["method"], cycle.scope["raw_path"], dict(cycle.scope["headers"]))
        try:
            self._rest.gate(request)
        except ModelyardError as error:
            cycle.keep_alive = False
            self._answer(cycle, failure(error), head=request.method == "HEAD")
            return
        super()._start_asgi_task(cycle, cast(Any, self._served.others))

    # --- the end of a connection ------------------------------------------------------------------------------------

    def shutdown(self) -> None:
        """The server stops: an idle connection may just be bringing a request, so it gets a moment to do so."""
        if self._idle():
            self.loop.call_later(LAST_REQUEST_SECONDS, self._close_if_idle)
        else:
            super().shutdown()

    def _close_if_idle(self) -> None:
        if self._idle():
            self._close()

    def _close_if_unused(self) -> None:
        """One timer for the life of a connection, put off while it is used: a new one for each answer costs more."""
        self._idle_timer = None
        left = self._last_used + self.timeout_keep_alive - time.monotonic()
        if left <= 0 and self._idle():
            self._close()
        elif not self.transport.is_closing():
            self._idle_timer = self.loop.call_later(max(left, 1.0), self._close_if_unused)

    def _idle(self) -> bool:
        return (self.cycle is None or self.cycle.response_complete) and not self._begun


@lru_cache(maxsize=4096)
def _place(url: bytes) -> tuple[bytes, bool]:
    """The path as it came, without the query, and whether it is one of ours."""
    path: bytes = httptools.parse_url(url).path
    return path, owns(path)
