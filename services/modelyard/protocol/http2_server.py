"""The gRPC port without the gRPC library: the same methods over HTTP/2 connections of our own (MODELYARD_GRPC_FRONT).

    bytes -> zttp (frames) -> Http2Connection (streams) -> Call (messages, status) -> the methods of grpc_methods.py

The same callers, the same answers; a call costs a fraction of what it costs in grpc.aio (docs/decisions.md has
the figures). zttp calls itself experimental, so this is asked for, and not the default.
"""

import asyncio
import contextlib
import socket

from modelyard.dataplane import DataPlane
from modelyard.protocol.grpc import InferenceServicer
from modelyard.protocol.grpc_methods import MODEL_INFER, methods
from modelyard.protocol.http2_connection import Http2Connection
from modelyard.protocol.http2_port import Method, Shared

BACKLOG = 2048


class Http2Server:
    """The listening server: start, then stop with a grace."""

    def __init__(
        self,
        dataplane: DataPlane,
        *,
        max_message_bytes: int,
        max_held_bytes: int,
        receive_seconds: float,
        share_port: bool,
        connection_seconds: float,
    ) -> None:
        """As grpc_server.GrpcServer, and:

        `max_held_bytes`: of the requests of all open calls together.
        `receive_seconds`: the most that a message may take to arrive whole.
        """
        self._share_port = share_port
        self._stopping = asyncio.Event()
        servicer = InferenceServicer(dataplane, self._stopping)
        table = {
            f"/{service}/{name}".encode(): Method(handler, servicer.submit if name == MODEL_INFER else None)
            for service, handlers in methods(servicer, dataplane, self._stopping).items()
            for name, handler in handlers.items()
        }
        self._shared = Shared(
            table, max_message_bytes, max_held_bytes, servicer.malformed, receive_seconds, connection_seconds
        )
        self._listener: socket.socket | None = None
        self._listening: asyncio.AbstractServer | None = None

    async def start(self, host: str, port: int) -> None:
        """Raises OSError when the port is taken."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self._listener = socket.create_server(
                (host, port), family=family, backlog=BACKLOG, reuse_port=self._share_port
            )
        except OSError as error:
            raise OSError(f"gRPC cannot listen on {host}:{port}: {error.strerror}") from None
        loop = asyncio.get_running_loop()
        self._listening = await loop.create_server(lambda: Http2Connection(self._shared, loop), sock=self._listener)

    async def stop(self, grace: float) -> None:
        """Tells everybody to go, answers what is open within the grace, then closes. Streams are ended at once."""
        self._stopping.set()
        self._shared.closing = True
        if self._listening is not None and self._listener is not None:
            self._listening.close()
            self._listener.close()  # the loop's acceptor leaves that to whoever opened it
        for connection in list(self._shared.connections):
            connection.go_away()
        if self._shared.connections:
            self._shared.left.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._shared.left.wait(), grace)
        for connection in list(self._shared.connections):
            connection.transport.abort()
