"""Methods that echo, in all the ways in which a method can be asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from modelyard.errors import Overloaded
from modelyard.protocol.grpc import Cancel
from modelyard.protocol.http2_port import Method


class Service:
    """Remembers what happened to its calls."""

    def __init__(self) -> None:
        self.cancelled = 0
        self.may_go = asyncio.Event()
        self.held: list[tuple[bytes, Callable[[Any], None]]] = []
        self.dropped = 0
        self.contexts: list[Any] = []

    def methods(self) -> dict[str, Method]:
        unary, answers = grpc.unary_unary_rpc_method_handler, grpc.unary_stream_rpc_method_handler
        both = grpc.stream_stream_rpc_method_handler
        kinds = {"refuse": unary, "fail": unary, "echo": unary, "wait": unary, "count": answers, "stream": both}
        made = {
            f"/{name}": Method(kind(getattr(self, name), request_deserializer=_parse, response_serializer=bytes))
            for name, kind in kinds.items()
        }
        plain = unary(self.echo, request_deserializer=_parse, response_serializer=bytes)
        return {**made, "/now": Method(plain, self.now), "/later": Method(plain, self.later)}

    async def echo(self, request: bytes, context: Any) -> bytes:
        self.contexts.append(context)
        return request[::-1]

    async def refuse(self, request: bytes, context: Any) -> bytes:
        context.set_trailing_metadata((("retry-after", "1.5"),))
        await context.abort(grpc.StatusCode.NOT_FOUND, f"no {request.decode()} at 100 %: ä")
        raise AssertionError

    async def fail(self, _request: bytes, _context: Any) -> bytes:
        raise RuntimeError("a secret")

    async def wait(self, request: bytes, _context: Any) -> bytes:
        try:
            await self.may_go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return request

    async def count(self, request: bytes, _context: Any) -> AsyncIterator[bytes]:
        try:
            for number in range(int(request)):
                yield b"%d" % number
            await self.may_go.wait()
        finally:
            self.cancelled += 1

    async def stream(self, requests: AsyncIterator[bytes], _context: Any) -> AsyncIterator[bytes]:
        async for request in requests:
            if request == b"wait":
                await self.may_go.wait()
            yield request[::-1]

    def now(self, request: bytes, _context: Any, respond: Callable[[Any], None]) -> Cancel | None:
        respond(Overloaded("full", 2.0) if request == b"full" else request[::-1])
        return None

    def later(self, request: bytes, _context: Any, respond: Callable[[Any], None]) -> Cancel | None:
        self.held.append((request, respond))
        return self.drop

    def drop(self) -> None:
        self.dropped += 1


def _parse(message: bytes) -> bytes:
    if message == b"\xff":
        raise DecodeError
    return message


class Held:
    """Answers of calls that wait, by request."""

    def __init__(self) -> None:
        self.respond: dict[bytes, Callable[[Any], None]] = {}

    def submit(self, request: bytes, _context: Any, respond: Callable[[Any], None]) -> None:
        if request == b"now":
            respond(request)
        else:
            self.respond[request] = respond


def asking(held: Held) -> dict[str, Method]:
    """The method that `held` answers."""

    async def unused(request: bytes, context: Any) -> bytes:
        raise AssertionError

    handler = grpc.unary_unary_rpc_method_handler(unused, request_deserializer=bytes, response_serializer=bytes)
    return {"/ask": Method(handler, held.submit)}
