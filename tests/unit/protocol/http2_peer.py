"""A client of one HTTP/2 connection, and the server's end of it: bytes go between them when a test says so."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import unquote

import zttp

from modelyard.errors import Unauthenticated
from modelyard.protocol.grpc_wire import framed
from modelyard.protocol.http2_connection import Http2Connection
from modelyard.protocol.http2_port import Method, Shared
from tests.unit.cache.fakes import settle
from tests.unit.clock import Clock
from tests.unit.protocol.fakes import FakeTransport

MAX_MESSAGE = 4096
MAX_HELD = 10_000
RECEIVE_SECONDS = 20.0
HEADERS = {b"content-type": b"application/grpc", b"te": b"trailers"}


@dataclass
class Seen:
    """What the client saw of one stream."""

    status: int = 0
    data: bytes = b""
    trailers: dict[str, str] = field(default_factory=dict)
    reset: int | None = None

    @property
    def messages(self) -> list[bytes]:
        found, data = [], self.data
        while data:
            _, length = struct.unpack_from(">BI", data)
            found.append(data[5 : 5 + length])
            data = data[5 + length :]
        return found

    @property
    def code(self) -> int:
        return int(self.trailers["grpc-status"])

    @property
    def text(self) -> str:
        return unquote(self.trailers.get("grpc-message", ""))


class Peer:
    def __init__(self, methods: Mapping[str, Method], *, age: float = 0.0) -> None:
        self.clock = Clock()
        self.transport = FakeTransport()
        table = {path.encode(): method for path, method in methods.items()}
        self.shared = Shared(table, MAX_MESSAGE, MAX_HELD, lambda: Unauthenticated("unreadable"), RECEIVE_SECONDS, age)
        self.connection = Http2Connection(self.shared, cast(Any, self.clock))
        self.connection.connection_made(self.transport)
        self.client = zttp.Connection(zttp.CLIENT, zttp.HTTP2)
        self.client.initiate_connection()
        self.streams: dict[int, Seen] = {}
        self.goaways: list[int] = []
        """The last streams that the server said it would serve."""
        self.receive()
        self.send()

    def open(self, path: str, headers: Mapping[bytes, bytes] | None = None, method: bytes = b"POST") -> zttp.Stream:
        """The headers of a call; they travel with the next `send`."""
        given = list({**HEADERS, **(headers or {})}.items())
        stream = self.client.send_request(method, path.encode(), b"2", given)
        self.streams[stream.stream_id] = Seen()
        return stream

    def seen(self, stream: zttp.Stream) -> Seen:
        return self.streams[stream.stream_id]

    def send(self) -> None:
        """What the client has to say goes to the server."""
        if data := self.client.data_to_send():
            self.connection.data_received(data)

    def receive(self) -> None:
        """What the server wrote goes to the client."""
        written, self.transport.written = self.transport.written, b""
        if written:
            self.client.receive_data(written)
        while (event := self.client.next_event()) is not zttp.NEED_DATA:
            self._note(event)

    async def exchange(self, turns: int = 6) -> None:
        """Back and forth until there is nothing more to say."""
        for _ in range(turns):
            self.send()
            await settle()
            self.receive()

    async def ask(self, path: str, *messages: bytes, headers: Mapping[bytes, bytes] | None = None) -> Seen:
        """A whole call."""
        return await self.ask_raw(path, [framed(message) for message in messages], headers)

    async def ask_raw(self, path: str, data: Sequence[bytes], headers: Mapping[bytes, bytes] | None = None) -> Seen:
        stream = self.open(path, headers)
        for piece in data:
            stream.send_data(piece)
        stream.end_message()
        await self.exchange()
        return self.seen(stream)

    def lose(self) -> None:
        self.transport.closed = True
        self.connection.connection_lost(None)

    def _note(self, event: Any) -> None:
        if isinstance(event, zttp.GoAway):
            self.goaways.append(event.last_stream_id)
            return
        seen = self.streams.get(getattr(event, "stream_id", 0), Seen())
        if isinstance(event, zttp.Response):
            seen.status = event.status_code
            told = {name.decode(): value.decode() for name, value in event.headers}
            seen.trailers = told if "grpc-status" in told else {}
        elif isinstance(event, zttp.Data):
            seen.data += event.data
        elif isinstance(event, zttp.EndOfMessage) and event.trailers:
            seen.trailers = {name.decode(): value.decode() for name, value in event.trailers}
        elif isinstance(event, zttp.RstStream):
            seen.reset = event.error_code


async def begin(peer: Peer, request: bytes) -> Seen:
    stream = peer.open("/ask")
    stream.send_data(framed(request))
    stream.end_message()
    await peer.exchange()
    return peer.seen(stream)


def fine(seen: Seen, *messages: bytes) -> None:
    assert (seen.status, seen.code, seen.messages) == (200, 0, list(messages))
