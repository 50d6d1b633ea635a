"""The HTTP side of the load generator: one protocol object a connection, over uvloop, about 15 us a request.

Heads are rendered before the run; an answer is found by its Content-Length (or its chunks), and only the answers whose
values are compared are looked into. HTTP libraries cost more than the server that is to be measured.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import cast

from loadtests.bench.closed_loop import Loop
from loadtests.bench.load import Job
from loadtests.bench.payloads import HEADER_LENGTH

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
JSON_LENGTH = re.compile(rb"\r\n" + HEADER_LENGTH.encode() + rb": *(\d+)", re.IGNORECASE)
RECONNECT_SECONDS = 0.05


class Connection(asyncio.Protocol):
    """One connection that always has one request under way."""

    def __init__(self, loop: Loop, lost: Callable[[Connection], None]) -> None:
        self.loop = loop
        self.lost = lost
        self.buffer = b""
        self.busy = False
        self.number = 0
        self.sent = 0.0
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's has its methods and not its class
        self.send(perf_counter())

    def send(self, now: float) -> None:
        """Send the next request, if the run still goes on."""
        self.busy = self.loop.running
        if self.busy:
            self.number, request = self.loop.next()
            self.sent = now
            self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Take what came; when it is a whole answer, note it and send the next request."""
        if self.buffer:
            data = self.buffer + data
        end = data.find(b"\r\n\r\n") + 4
        length = LENGTH.search(data, 0, end) if end > 3 else None
        if length is not None:
            whole = len(data) >= end + int(length[1])
        else:  # no length: chunks, which end with an empty one
            whole = end > 3 and data.endswith(b"0\r\n\r\n", end)
        if not whole:
            self.buffer = data
            return
        self.buffer = b""
        now = perf_counter()
        self.answered(data, end, now, chunked=length is None)
        self.send(now)

    def answered(self, data: bytes, end: int, now: float, *, chunked: bool) -> None:
        """Note one whole answer."""
        if data[9:12] != b"200":
            status, text = data[9 : data.find(b"\r\n")], data[end : end + 200]
            self.loop.failed(f"{status.decode(errors='replace')}: {text.decode(errors='replace')}")
            return
        self.loop.done(now - self.sent)
        if self.loop.keeps():
            content = joined(data[end:]) if chunked else data[end:]
            header_length = JSON_LENGTH.search(data, 0, end)
            self.loop.kept.append((self.number, content, int(header_length[1]) if header_length else None))

    def connection_lost(self, exc: Exception | None) -> None:
        """Count the request that was under way; another connection takes this one's place."""
        if self.busy:
            self.busy = False
            self.loop.failed(f"connection lost: {exc or 'closed by the server'}")
        self.lost(self)


def joined(chunks: bytes) -> bytes:
    """The content of a chunked body."""
    parts = []
    while chunks:
        size, _, rest = chunks.partition(b"\r\n")
        count = int(size.split(b";")[0], 16)
        parts.append(rest[:count])
        chunks = rest[count + 2 :] if count else b""
    return b"".join(parts)


async def start(loop: Loop, job: Job) -> Callable[[], Awaitable[None]]:
    """Open the connections; returns what closes them."""
    running = asyncio.get_running_loop()
    transports: set[asyncio.BaseTransport] = set()
    tasks: set[asyncio.Task[None]] = set()

    async def connect() -> None:
        try:
            made = await running.create_connection(lambda: Connection(loop, lost), job.endpoint.host, job.endpoint.port)
            transports.add(made[0])
        except OSError as error:
            loop.failures.add(f"cannot connect: {error}")
            await asyncio.sleep(RECONNECT_SECONDS)
            again()

    def again() -> None:
        if loop.running:
            task = running.create_task(connect())
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    def lost(connection: Connection) -> None:
        transports.discard(connection.transport)
        running.call_later(RECONNECT_SECONDS, again)

    async def close() -> None:
        for transport in list(transports):
            transport.close()
        await asyncio.sleep(0)

    await asyncio.gather(*(connect() for _ in range(job.connections)))
    return close
