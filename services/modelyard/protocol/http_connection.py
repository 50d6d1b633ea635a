"""What every HTTP connection promises, whoever answers its requests: uvicorn's parser, held to our limits.

A request has arrived whole within the receive deadline and is never larger than the cap; all connections together hold
no more bodies, and answers that nobody reads, than their share of memory. What breaks a promise is answered at once and
its connection closed. A peer that takes nothing of its answer for as long as the receive deadline is cut off.
"""

import asyncio
from typing import Any, Protocol, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from modelyard.errors import HeadersTooLarge, InvalidInput, ModelyardError, Overloaded, PayloadTooLarge, ReceiveTimeout
from modelyard.protocol.asgi import App
from modelyard.protocol.exchange import Exchange, render
from modelyard.protocol.rest import Rest, failure

MAX_HEADER_BYTES = 64 * 1024
LINGER_SECONDS = 5.0
"""How long the rest of a refused body is read and thrown away, so that the client gets to read the answer."""


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


class HttpConnection(HttpToolsProtocol):
    """Receives; its subclass answers."""

    cycle: Any
    """The request that arrived last: an Exchange, or uvicorn's RequestResponseCycle; None before the first."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._served = cast(Served, self.app)
        self._max_body = self._served.max_body_bytes
        self._receive_timeout = self._served.receive_timeout_seconds
        self._deadline: asyncio.TimerHandle | None = None
        self._receiving = True
        self._begun = False
        """The first byte of a request is here, its last one is not."""
        self._in_body = False
        self._refused = False
        self._header_bytes = 0
        self._body_bytes = 0
        self._held = 0
        """Bytes of bodies that this connection's open requests hold."""
        self._unread = 0
        """Bytes of answers that the peer had not taken when that was last looked at; they count as held, too."""
        self._unread_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]  # uvicorn narrows asyncio's type
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        self._all_read()
        super().connection_lost(exc)
        # connection, exchange and task refer to each other: a body must not wait for the garbage collector
        for cycle in (self.cycle, *(waiting for waiting, _ in self.pipeline)):
            drop_body(cycle)
        self.pipeline.clear()
        self._release()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._header_bytes += len(data)
        self._feed(data)
        if self._receiving and self._listening():
            if self._header_bytes > MAX_HEADER_BYTES and not self._in_body:
                self._refuse(HeadersTooLarge(f"the headers are above {MAX_HEADER_BYTES} bytes"))
            else:
                self._arm()
        else:
            self._disarm()

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._decline_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self._refuse(InvalidInput("this is no valid HTTP/1.1 request"))

    def _decline_upgrade(self, rest: bytes) -> None:
        """Answer a request that offers another protocol (h2c, as Java's client does) as one that does not.

        The parser skips the body of such a request; so a new one gets it, without the offer.
        """
        if self.parser.get_method() == b"CONNECT":
            self._refuse(InvalidInput("this is no proxy"))
            return
        head = [self.parser.get_method(), b" ", self.url, b" HTTP/1.1\r\n"]
        for name, value in self.headers:
            if name == b"connection":
                options = [option.strip() for option in value.split(b",")]
                kept = b", ".join(option for option in options if option.lower() not in (b"upgrade", b"http2-settings"))
                head += [b"connection: ", kept, b"\r\n"] if kept else []
            elif name != b"upgrade":
                head += [name, b": ", value, b"\r\n"]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn sets it
        self._feed(b"".join([*head, b"\r\n", rest]))

    def on_message_begin(self) -> None:
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self._receiving = self._begun = True
        self._in_body = False
        self._body_bytes = 0

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade() or not self._listening():
            return
        headers = dict(self.headers)
        length = headers.get(b"content-length")
        if length is not None and length.isdigit() and int(length) > self._max_body:
            self._refuse(self._too_large())
            return
        self._in_body = True
        self._begin(headers)

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        if self._refused or self.cycle is None or self.cycle.response_complete:
            return
        self._held += len(body)
        self._served.held_bytes += len(body)
        if self._body_bytes > self._max_body:
            self._refuse(self._too_large())
        elif self._served.held_bytes > self._served.max_held_bytes:
            self._refuse(Overloaded("too many requests are being received at once"))
        elif isinstance(self.cycle, Exchange):
            self.cycle.chunks.append(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        self._receiving = self._begun = False
        self._header_bytes = 0
        self._disarm()
        begun, self._in_body = self._in_body, False
        if not begun or self._refused:
            return
        if isinstance(self.cycle, Exchange):
            self.cycle.more_body = False
            self._arrived(self.cycle)
        else:
            super().on_message_complete()

    def _begin(self, headers: dict[bytes, bytes]) -> None:
        """The headers are here: make the Exchange or RequestResponseCycle."""
        raise NotImplementedError

    def _arrived(self, exchange: Exchange) -> None:
        """A request is here as a whole."""
        raise NotImplementedError

    def _refuse(self, error: ModelyardError) -> None:
        """Answer in the middle of a request that will not be read to its end, then close."""
        self._refused = True
        self._disarm()
        cycle = self.cycle
        unanswered = cycle is not None and not cycle.response_complete
        if unanswered and self._in_body:
            drop_body(cycle)
            cycle.disconnected = True
            cycle.message_event.set()  # wakes whoever waits for the rest of the body
            unanswered = cycle.response_started
        if not unanswered and not self.pipeline:  # else an earlier request is still being answered: only close
            self.transport.write(render(failure(error), keep_alive=False))
            self._linger()
        else:
            self.loop.call_later(LINGER_SECONDS, self._close)
        self._release()

    def _linger(self) -> None:
        """Half-close: the client sees answer and end at once, while what it still sends is thrown away."""
        self._refused = True
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(LINGER_SECONDS, self._close)

    def _close(self) -> None:
        """A closed transport lives on until its peer has read all: that, too, is watched."""
        self.transport.close()
        self._watch()

    def _listening(self) -> bool:
        return not (self._refused or self.transport.is_closing())

    def _release(self) -> None:
        self._served.held_bytes -= self._held
        self._held = 0

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
        elif not self._begun:
            self._close()  # a connection that was opened in advance and never used is owed no answer
        elif not self.transport.is_closing():
            self._refuse(ReceiveTimeout(f"the request did not arrive within {self._receive_timeout:g} s"))

    # --- a peer that does not read ----------------------------------------------------------------------------------

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.transport.is_closing():
            self._all_read()

    def _watch(self) -> None:
        """Count what the peer has not read as held, and look after a while whether it has read on."""
        if self._unread_timer is None:
            self._count_unread(self.transport.get_write_buffer_size())
            if self._unread:
                self._unread_timer = self.loop.call_later(self._receive_timeout, self._look_at_unread)

    def _look_at_unread(self) -> None:
        self._unread_timer = None
        if self.transport.get_write_buffer_size() < self._unread:
            self._watch()
        else:
            self.transport.abort()  # `close` would wait for the peer for ever

    def _all_read(self) -> None:
        self._count_unread(0)
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None

    def _count_unread(self, count: int) -> None:
        self._served.held_bytes += count - self._unread
        self._unread = count


def drop_body(cycle: Any) -> None:
    if isinstance(cycle, Exchange):
        cycle.chunks.clear()
        cycle.request.body = b""
    elif cycle is not None:
        cycle.body = bytearray()
