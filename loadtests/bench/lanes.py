"""The ways a request takes to the server, and the one over HTTP: as many connections as are needed, up to a bound.

    lane.send(ticket) -> an idle connection, or a new one, or the queue -> sink.answered(...) or sink.ended(...)

One connection carries one request at a time, as those of ordinary clients do.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol, cast

from loadtests.bench.core import Endpoint, Face
from loadtests.bench.payloads import HEADER_LENGTH, template

REFUSED, EXPIRED = (429, 503), 504
_LENGTH, _JSON_LENGTH = b"\r\ncontent-length:", b"\r\n" + HEADER_LENGTH.encode() + b":"


class Ticket:
    """One request on its way."""

    __slots__ = ("intended", "lane", "number", "place", "sent")

    def __init__(self, number: int, intended: float, lane: str, place: int = 0) -> None:
        """`lane`: the face that it takes, `place`: its endpoint's among those of the plan."""
        self.number = number
        self.intended = intended
        self.sent = 0.0
        self.lane = lane
        self.place = place


class Sink(Protocol):
    """Where a lane says what became of a ticket."""

    def now(self) -> float:
        """Seconds, on the clock of `Ticket.intended`."""
        ...

    def outdated(self, ticket: Ticket) -> bool:
        """Whether a ticket has waited for a connection for too long."""
        ...

    def answered(self, ticket: Ticket, face: Face, answer: bytes, header_length: int | None) -> None:
        """The server answered with a result."""
        ...

    def ended(self, ticket: Ticket, outcome: str, why: str = "") -> None:
        """Anything else."""
        ...


class Lane(Protocol):
    """One way to the server."""

    face: Face
    opened: int
    """Connections so far."""

    async def open(self, count: int) -> None:
        """Have `count` connections before the first request."""
        ...

    def send(self, ticket: Ticket) -> None:
        """Send it as soon as there is a connection for it."""
        ...

    async def close(self) -> None:
        """End every connection."""
        ...


class HttpLane:
    """A pool of keep-alive connections that grows when all are busy."""

    def __init__(self, endpoint: Endpoint, model: str, sink: Sink, most: int) -> None:
        self.face: Face = endpoint.face
        self.sink = sink
        self.render = template(endpoint, model).render
        self.opened = 0
        self._endpoint = endpoint
        self._most = most
        self._idle: deque[_Connection] = deque()
        self._all: set[_Connection] = set()
        self._waiting: deque[Ticket] = deque()
        self._opening: set[asyncio.Task[None]] = set()

    async def open(self, count: int) -> None:
        """Have `count` connections before the first request; OSError when the server takes none."""
        for _ in range(min(count, self._most)):
            self.opened += 1
            await self._connect()

    def send(self, ticket: Ticket) -> None:
        """On the connection that was idle for longest, so that none is closed for being idle; else it waits."""
        if self._idle:
            self._idle.popleft().send(ticket)
            return
        self._waiting.append(ticket)
        if len(self._all) + len(self._opening) < self._most:
            self.opened += 1
            task = asyncio.get_running_loop().create_task(self._connect_for_ticket())
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    def idle(self, connection: _Connection) -> None:
        """A connection is free: for the first that waits and is not outdated."""
        while self._waiting:
            ticket = self._waiting.popleft()
            if not self.sink.outdated(ticket):
                connection.send(ticket)
                return
            self.sink.ended(ticket, "unsent")
        self._idle.append(connection)

    def gone(self, connection: _Connection) -> None:
        """A connection has ended."""
        self._all.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if self._waiting and not self._all and not self._opening:
            self.send(self._waiting.popleft())  # nobody else would take them

    async def close(self) -> None:
        """What waits was not sent; what is under way is cut off."""
        for task in tuple(self._opening):
            task.cancel()
        for ticket in self._waiting:
            self.sink.ended(ticket, "unsent")
        self._waiting.clear()
        for connection in tuple(self._all):
            connection.transport.abort()

    async def _connect_for_ticket(self) -> None:
        try:
            await self._connect()
        except OSError as error:
            if self._waiting:
                self.sink.ended(self._waiting.popleft(), "broken", f"connect: {type(error).__name__}")

    async def _connect(self) -> None:
        host, port = self._endpoint.host, self._endpoint.port
        _, connection = await asyncio.get_running_loop().create_connection(lambda: _Connection(self), host, port)
        self._all.add(connection)
        self.idle(connection)


class _Connection(asyncio.Protocol):
    """HTTP/1.1 for answers with a Content-Length, which is all that is asked here."""

    transport: asyncio.Transport

    def __init__(self, lane: HttpLane) -> None:
        self._lane = lane
        self._ticket: Ticket | None = None
        self._received = b""

    def send(self, ticket: Ticket) -> None:
        """One write a request."""
        self._ticket = ticket
        ticket.sent = self._lane.sink.now()
        self.transport.write(self._lane.render(ticket.number))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        data = self._received + data if self._received else data
        end = data.find(b"\r\n\r\n")
        head = data[: end + 2].lower()
        length = _number(head, _LENGTH) if end >= 0 else 0
        if end < 0 or length is None or len(data) < end + 4 + length:
            self._received = data
            if end >= 0 and length is None:
                self.transport.abort()  # not an answer of a server that we know
            return
        self._received = b""
        self._answered(int(head[9:12]), head, data[end + 4 :])

    def connection_lost(self, exc: Exception | None) -> None:
        ticket, self._ticket = self._ticket, None
        self._lane.gone(self)
        if ticket is not None:
            self._lane.sink.ended(ticket, "broken", type(exc).__name__ if exc else "closed")

    def _answered(self, status: int, head: bytes, body: bytes) -> None:
        ticket, self._ticket = self._ticket, None
        if ticket is None:
            self.transport.abort()
            return
        sink = self._lane.sink
        if status == 200:
            sink.answered(ticket, self._lane.face, body, _number(head, _JSON_LENGTH))
        else:
            outcome = "refused" if status in REFUSED else "expired" if status == EXPIRED else "failed"
            sink.ended(ticket, outcome, f"{status} {body[:80].decode(errors='replace')}" if outcome == "failed" else "")
        if b"\r\nconnection: close\r\n" in head:
            self.transport.close()
        else:
            self._lane.idle(self)


def _number(head: bytes, name: bytes) -> int | None:
    """The value of a header that is a plain number."""
    at = head.find(name)
    if at < 0:
        return None
    return int(head[at + len(name) : head.index(b"\r\n", at + 2)])
