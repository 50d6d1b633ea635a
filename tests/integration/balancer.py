"""What a cluster puts before its pods: connections go in turn to servers that say they are ready.

A new connection is passed to the next ready server and stays with it; readiness is asked a few times a second, so that
a server that has just stopped being ready still gets some. It runs in a thread with an event loop of its own.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.integration.harness import Server

POLL_SECONDS = 0.2
CHUNK = 65536


class Balancer:
    """Two listening ports, one for each protocol, before any number of servers."""

    def __init__(self) -> None:
        self.http_port = self.grpc_port = 0
        self.passed: dict[int, int] = {}
        """Connections by the HTTP port of the server that got them."""
        self._servers: list[Server] = []
        self.ready: list[Server] = []
        """Those that said so when they were last asked."""
        self._turns = itertools.count()

    def add(self, server: Server) -> None:
        """From the next poll on it may get connections."""
        self._servers.append(server)
        self.passed[server.http_port] = 0

    def remove(self, server: Server) -> None:
        """It gets no connection any more; those that it has stay."""
        self._servers.remove(server)

    async def run(self, started: threading.Event, stop: asyncio.Event) -> None:
        http = await asyncio.start_server(self._pass_http, "127.0.0.1", 0)
        grpc = await asyncio.start_server(self._pass_grpc, "127.0.0.1", 0)
        self.http_port, self.grpc_port = (one.sockets[0].getsockname()[1] for one in (http, grpc))
        started.set()
        while not stop.is_set():
            servers = list(self._servers)
            answers = await asyncio.gather(*(asyncio.to_thread(server.status, "/readyz") for server in servers))
            self.ready = [server for server, status in zip(servers, answers, strict=True) if status == 200]
            await asyncio.sleep(POLL_SECONDS)
        http.close()
        grpc.close()

    async def _pass_http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._pass(reader, writer, http=True)

    async def _pass_grpc(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._pass(reader, writer, http=False)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, http: bool) -> None:
        if not self.ready:
            writer.transport.abort()
            return
        server = self.ready[next(self._turns) % len(self.ready)]
        self.passed[server.http_port] += 1
        try:
            port = server.http_port if http else server.grpc_port
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            writer.transport.abort()
            return
        await asyncio.gather(_pipe(reader, up_writer), _pipe(up_reader, writer))


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One direction; its end is passed on, the other direction goes on."""
    try:
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
    except OSError:
        writer.transport.abort()
    finally:
        writer.close()


@contextmanager
def balanced() -> Iterator[Balancer]:
    """A balancer that listens."""
    balancer, started = Balancer(), threading.Event()
    loop, stop = asyncio.new_event_loop(), asyncio.Event()

    def run() -> None:
        try:
            loop.run_until_complete(balancer.run(started, stop))
            for task in asyncio.all_tasks(loop):
                task.cancel()
            loop.run_until_complete(asyncio.sleep(0.05))
        finally:
            loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert started.wait(10)
    try:
        yield balancer
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
