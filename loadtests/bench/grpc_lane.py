"""The way of a request over gRPC: a call on one of a few channels, as many calls under way as there are requests."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc

from loadtests.bench.core import Endpoint, Face
from loadtests.bench.grpc_load import METHOD, OPTIONS
from loadtests.bench.lanes import Sink, Ticket
from loadtests.bench.payloads import template

_CODES = {"RESOURCE_EXHAUSTED": "refused", "UNAVAILABLE": "refused", "DEADLINE_EXCEEDED": "expired"}


class GrpcLane:
    """Calls spread over a few channels; gRPC itself carries many calls on one connection."""

    def __init__(self, endpoint: Endpoint, model: str, sink: Sink, deadline: float, channels: int = 2) -> None:
        self.face: Face = endpoint.face
        self.opened = channels
        self._sink = sink
        self._render = template(endpoint, model).render
        self._target = f"{endpoint.host}:{endpoint.port}"
        self._deadline = deadline
        self._channels: list[Any] = []
        self._calls: list[Any] = []
        self._open: set[asyncio.Task[None]] = set()

    async def open(self, count: int) -> None:  # noqa: ARG002  # the number is one of HTTP connections
        """Connect the channels."""
        for _ in range(self.opened):
            channel = grpc.aio.insecure_channel(self._target, options=OPTIONS)
            await asyncio.wait_for(channel.channel_ready(), 10)
            self._channels.append(channel)
            self._calls.append(channel.unary_unary(METHOD))

    def send(self, ticket: Ticket) -> None:
        """One call, at once."""
        ticket.sent = self._sink.now()
        task = asyncio.get_running_loop().create_task(self._call(ticket))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def close(self) -> None:
        """Cancel the calls that are open."""
        for task in tuple(self._open):
            task.cancel()
        for channel in self._channels:
            await channel.close()

    async def _call(self, ticket: Ticket) -> None:
        call = self._calls[ticket.number % len(self._calls)]
        try:
            answer = await call(self._render(ticket.number), timeout=self._deadline)
        except grpc.aio.AioRpcError as error:
            code = error.code().name
            self._sink.ended(ticket, _CODES.get(code, "failed"), f"{code} {error.details()}"[:120])
            return
        except asyncio.CancelledError:
            self._sink.ended(ticket, "broken", "no answer")
            raise
        self._sink.answered(ticket, self.face, answer, None)
