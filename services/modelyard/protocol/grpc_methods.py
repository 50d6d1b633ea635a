"""What is called on the gRPC port: inference, grpc.health.v1 and reflection, whatever server carries them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, TypeAlias

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthServicer
from grpc_reflection.v1alpha import reflection, reflection_pb2

from modelyard.dataplane import DataPlane
from modelyard.errors import InvalidInput, NotFound
from modelyard.protocol._pb import open_inference_grpc_pb2 as pb
from modelyard.protocol.grpc import UNREADABLE, Context, InferenceServicer, fail, or_none

MODEL_INFER = "ModelInfer"
_INFERENCE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]
_HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"]
_REFLECTION = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"]
HEALTH_POLL_SECONDS = 0.2

Methods: TypeAlias = Mapping[str, Mapping[str, Any]]
"""grpc.RpcMethodHandler by the full name of its service, then by its own: grpc is not typed."""


def methods(servicer: InferenceServicer, dataplane: DataPlane, stopping: asyncio.Event) -> Methods:
    """`stopping` is set when the server stops: open streams then end."""
    names = [service.full_name for service in (_INFERENCE, _HEALTH, _REFLECTION)]
    inference = _handlers(_INFERENCE, servicer)
    stream = inference["ModelStreamInfer"]
    inference["ModelStreamInfer"] = stream._replace(
        request_deserializer=bytes, response_serializer=bytes
    )  # as they are
    return {
        _INFERENCE.full_name: inference,
        _HEALTH.full_name: _handlers(_HEALTH, Health(dataplane, stopping)),
        _REFLECTION.full_name: _handlers(_REFLECTION, Reflection(names)),
    }


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

    async def List(self, request: health_pb2.HealthListRequest, context: Context) -> health_pb2.HealthListResponse:
        names = ["", _INFERENCE.full_name, *{entry.name for entry in self._dataplane.index()}]
        statuses = {name: health_pb2.HealthCheckResponse(status=self._status(name)) for name in names}
        return health_pb2.HealthListResponse(statuses=statuses)

    async def Watch(
        self, request: health_pb2.HealthCheckRequest | None, context: Context
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        if request is None:
            await fail(context, InvalidInput(UNREADABLE))
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


class Reflection(reflection.aio.ReflectionServicer):  # type: ignore[misc]  # untyped library
    async def ServerReflectionInfo(
        self, requests: AsyncIterator[reflection_pb2.ServerReflectionRequest | None], context: Context
    ) -> AsyncIterator[reflection_pb2.ServerReflectionResponse]:
        async def readable() -> AsyncIterator[reflection_pb2.ServerReflectionRequest]:
            async for request in requests:
                if request is None:
                    await fail(context, InvalidInput(UNREADABLE))
                yield request

        async with contextlib.aclosing(super().ServerReflectionInfo(readable(), context)) as answers:
            async for answer in answers:
                yield answer


def _handlers(service: ServiceDescriptor, servicer: Any) -> dict[str, Any]:
    made = {}
    for method in service.methods:
        kinds = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }
        behavior = getattr(servicer, method.name)
        unary = not (method.client_streaming or method.server_streaming)
        made[method.name] = kinds[method.client_streaming, method.server_streaming](
            _parsed(behavior) if unary and method.name != MODEL_INFER else behavior,
            request_deserializer=or_none(GetMessageClass(method.input_type)),
            response_serializer=GetMessageClass(method.output_type).SerializeToString,
        )
    return made


def _parsed(behavior: Callable[[Any, Context], Awaitable[Any]]) -> Callable[[Any, Context], Awaitable[Any]]:
    """A stream, and ModelInfer, tell an unreadable message themselves: a coroutine less in every inference."""

    async def checked(request: Any, context: Context) -> Any:
        if request is None:
            await fail(context, InvalidInput(UNREADABLE))
        return await behavior(request, context)

    return checked
