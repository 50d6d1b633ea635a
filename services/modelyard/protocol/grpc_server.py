"""The gRPC server: the inference service, grpc.health.v1 and reflection on one port."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthServicer, add_HealthServicer_to_server
from grpc_reflection.v1alpha import reflection

from modelyard.dataplane import DataPlane
from modelyard.errors import InvalidInput, NotFound
from modelyard.protocol._pb import open_inference_grpc_pb2 as pb
from modelyard.protocol.grpc import UNREADABLE, Context, InferenceServicer, fail

_INFERENCE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]
_HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
_LOOKS_ITSELF = frozenset({"ModelInfer", "ModelStreamInfer"})
"""Methods that tell an unreadable message themselves: a coroutine less in every inference."""
HEALTH_POLL_SECONDS = 0.2
_NEVER = 2**31 - 1
"""As the library says it, in milliseconds."""


class Health(HealthServicer):  # type: ignore[misc]  # untyped library
    """grpc.health.v1: the server as a whole under the name "", every model under its own name."""

    def __init__(self, dataplane: DataPlane, stopping: asyncio.Event) -> None:
        self._dataplane = dataplane
        self._stopping = stopping

    async def Check(self, request: health_pb2.HealthCheckRequest, context: Context) -> health_pb2.HealthCheckResponse:
        status = self._status(request.service)
        if status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN:
            await context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return health_pb2.HealthCheckResponse(status=status)

    async def Watch(
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        sent: int | None = None
        while not self._stopping.is_set():  # an open watch must not hold up a shutdown
            status = self._status(request.service)
            if status != sent:
                sent = status
                yield health_pb2.HealthCheckResponse(status=status)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), HEALTH_POLL_SECONDS)

    def _status(self, service: str) -> Any:
        statuses = health_pb2.HealthCheckResponse
        try:
            ready = (
                self._dataplane.ready if service in ("", _INFERENCE.full_name) else self._dataplane.model_ready(service)
            )
        except NotFound:
            return statuses.SERVICE_UNKNOWN
        return statuses.SERVING if ready else statuses.NOT_SERVING


class GrpcServer:
    """The listening server: start, then stop with a grace."""

    def __init__(
        self, dataplane: DataPlane, *, max_message_bytes: int, share_port: bool, connection_seconds: float
    ) -> None:
        """`share_port`: several processes listen on one port. A single one wants a second server there to fail.

        `connection_seconds`: the age at which a connection is ended, 0: none. The library does that without a loss: it
        says GOAWAY, takes what was sent before the caller heard of it, and answers all that is open. Its `stop` does
        not: calls that wait to be taken end as CANCELLED. So callers have to be gone when a server stops.
        """
        self._server = grpc.aio.server(
            options=(
                ("grpc.max_receive_message_length", max_message_bytes),
                ("grpc.max_send_message_length", -1),
                ("grpc.so_reuseport", int(share_port)),
                ("grpc.max_concurrent_streams", 1024),
                ("grpc.max_connection_age_ms", round(connection_seconds * 1000) or _NEVER),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.http2.min_ping_interval_without_data_ms", 5000),
            )
        )
        self._stopping = asyncio.Event()
        self._server.add_generic_rpc_handlers((_handlers(InferenceServicer(dataplane, self._stopping)),))
        add_HealthServicer_to_server(Health(dataplane, self._stopping), self._server)
        reflection.enable_server_reflection((_INFERENCE.full_name, _HEALTH, reflection.SERVICE_NAME), self._server)

    async def start(self, host: str, port: int) -> None:
        """Raises OSError when the port is taken."""
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            bound = self._server.add_insecure_port(address)
        except RuntimeError:
            bound = 0
        if not bound:
            raise OSError(f"gRPC cannot listen on {address}: the port is taken, or the address is not of this machine")
        await self._server.start()

    async def stop(self, grace: float) -> None:
        """Sends GOAWAY, answers what is open within the grace, then closes. Idle streams are ended at once."""
        self._stopping.set()
        await self._server.stop(grace)


def _handlers(servicer: InferenceServicer) -> Any:
    """The service's methods, with deserializers of our own: a message that does not parse becomes None.

    grpc would answer it with the name of an internal class.
    """
    handlers = {}
    for method in _INFERENCE.methods:
        stream = method.client_streaming
        make = grpc.stream_stream_rpc_method_handler if stream else grpc.unary_unary_rpc_method_handler
        behavior = getattr(servicer, method.name)
        handlers[method.name] = make(
            behavior if method.name in _LOOKS_ITSELF else _parsed(behavior),
            request_deserializer=_deserializer(GetMessageClass(method.input_type)),
            response_serializer=GetMessageClass(method.output_type).SerializeToString,
        )
    return grpc.method_handlers_generic_handler(_INFERENCE.full_name, handlers)


def _deserializer(kind: type[Message]) -> Callable[[bytes], Message | None]:
    def deserialize(raw: bytes) -> Message | None:
        try:
            return kind.FromString(raw)
        except DecodeError:
            return None

    return deserialize


def _parsed(behavior: Callable[[Any, Context], Awaitable[Any]]) -> Callable[[Any, Context], Awaitable[Any]]:
    async def checked(request: Any, context: Context) -> Any:
        if request is None:
            await fail(context, InvalidInput(UNREADABLE))
        return await behavior(request, context)

    return checked
