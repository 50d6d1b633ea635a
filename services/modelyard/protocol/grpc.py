"""The gRPC face: the methods of GRPCInferenceService. Convert, delegate, convert.

Errors become statuses in one place, `fail`. Deadlines come from the call (grpc-timeout) or the `timeout`
parameter, whichever is shorter. A call that its client cancels is cancelled here, and its work dropped.
"""

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NoReturn, TypeAlias, TypeVar

import grpc
from google.protobuf.json_format import ParseDict
from google.protobuf.message import DecodeError, Message

from modelyard.dataplane import EXTENSIONS, SERVER_NAME, SERVER_VERSION, DataPlane, Target
from modelyard.errors import InvalidInput, ModelyardError, Unauthenticated, Unavailable
from modelyard.protocol._pb import open_inference_grpc_pb2 as pb
from modelyard.protocol._pb import open_inference_grpc_pb2_grpc as pb_grpc
from modelyard.protocol.grpc_codec import decode_request, encode_response
from modelyard.protocol.grpc_stream import AnswerStream
from modelyard.tensors import InferRequest

log = logging.getLogger("modelyard.grpc")

UNREADABLE = "the message does not parse as the protocol says"

Context: TypeAlias = Any
"""grpc.aio.ServicerContext: grpc.aio is not typed."""
Cancel: TypeAlias = Callable[[], object]
"""Drops the work behind an answer that nobody waits for any more."""
T = TypeVar("T")
M = TypeVar("M", bound=Message)


async def fail(context: Context, error: Exception) -> NoReturn:
    """End a call with the status of an error; an unknown error becomes INTERNAL with a request id."""
    code, text = describe(error)
    if advice := trailers(error):
        context.set_trailing_metadata(advice)
    await context.abort(code, text)
    raise AssertionError("abort raises")


def trailers(error: Exception) -> tuple[tuple[str, str], ...]:
    """What an error says beside its status: when a retry may succeed, in seconds."""
    if isinstance(error, ModelyardError) and error.retry_after is not None:
        return (("retry-after", str(round(error.retry_after, 3))),)
    return ()


def describe(error: Exception) -> tuple[grpc.StatusCode, str]:
    if isinstance(error, ModelyardError):
        return grpc.StatusCode[error.grpc_status], error.public
    request_id = secrets.token_hex(8)
    log.error("request %s failed", request_id, exc_info=error)
    return grpc.StatusCode.INTERNAL, f"internal error (request id {request_id})"


class InferenceServicer(pb_grpc.GRPCInferenceServiceServicer):
    def __init__(self, dataplane: DataPlane, stopping: asyncio.Event) -> None:
        """`stopping` is set when the server stops: open streams then take no further request, and end."""
        self._dataplane = dataplane
        self._stopping = stopping

    # --- health -----------------------------------------------------------------------------------------------------

    async def ServerLive(self, request: pb.ServerLiveRequest, context: Context) -> pb.ServerLiveResponse:
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(self, request: pb.ServerReadyRequest, context: Context) -> pb.ServerReadyResponse:
        return pb.ServerReadyResponse(ready=self._dataplane.ready)

    async def ModelReady(self, request: pb.ModelReadyRequest, context: Context) -> pb.ModelReadyResponse:
        async def answer(tenant: str) -> pb.ModelReadyResponse:
            return pb.ModelReadyResponse(ready=self._dataplane.model_ready(request.name, request.version))

        return await self._answered(context, answer)

    # --- inference --------------------------------------------------------------------------------------------------

    async def ModelInfer(self, request: pb.ModelInferRequest | None, context: Context) -> pb.ModelInferResponse:
        try:
            if request is None:
                raise InvalidInput(UNREADABLE)
            return await self._infer(request, self._tenant(context), context.time_remaining())
        except Exception as error:
            await fail(context, error)

    async def ModelStreamInfer(  # type: ignore[override]  # messages as bytes, whose sizes count: grpc_stream.py
        self, requests: AsyncIterator[bytes], context: Context
    ) -> AsyncIterator[bytes]:
        """Answers in the order of the requests; one that fails gets an error message, and the stream goes on."""
        tenant = await self._answered(context, _identity)

        async def answer(request: pb.ModelInferRequest | None) -> bytes:
            return await self._stream_one(request, tenant, context.time_remaining())

        stream = AnswerStream(requests, or_none(pb.ModelInferRequest), answer)
        stop = asyncio.create_task(self._stopping.wait())
        stop.add_done_callback(lambda _: stream.stop_reading())
        try:
            async with contextlib.aclosing(stream.answers()) as answers:
                async for message in answers:
                    yield message
            if self._stopping.is_set():
                await fail(context, Unavailable("the server is shutting down"))
        finally:
            stop.cancel()

    async def _stream_one(self, request: pb.ModelInferRequest | None, tenant: str, remaining: float | None) -> bytes:
        try:
            if request is None:
                raise InvalidInput(UNREADABLE)
            infer_response = await self._infer(request, tenant, remaining)
            answer: bytes = pb.ModelStreamInferResponse(infer_response=infer_response).SerializeToString()
        except Exception as error:
            _, text = describe(error)
            about = request or pb.ModelInferRequest()
            failed = pb.ModelInferResponse(model_name=about.model_name, id=about.id)
            answer = pb.ModelStreamInferResponse(error_message=text, infer_response=failed).SerializeToString()
        return answer

    async def _infer(
        self, message: pb.ModelInferRequest, tenant: str, remaining: float | None
    ) -> pb.ModelInferResponse:
        pipeline, request, seconds = self._decoded(message, remaining)
        return await self._dataplane.infer(pipeline, request, tenant, encode_response, seconds)

    def submit(
        self,
        message: pb.ModelInferRequest | None,
        context: Context,
        respond: Callable[[pb.ModelInferResponse | Exception], None],
    ) -> Cancel | None:
        """ModelInfer without a coroutine: `respond` is called once. Returns what drops the work, while it goes on."""
        try:
            if message is None:
                raise InvalidInput(UNREADABLE)
            tenant = self._tenant(context)
            pipeline, request, seconds = self._decoded(message, context.time_remaining())
        except Exception as error:
            respond(error)
            return None
        call = self._dataplane.submit(pipeline, request, tenant, encode_response, respond, seconds)
        return call.cancel if call is not None and call.open else None

    def _decoded(self, message: pb.ModelInferRequest, remaining: float | None) -> tuple[Target, InferRequest, float]:
        """The request, the path that it takes, and the seconds that its decoding took. Raises ModelyardErrors."""
        pipeline = self._dataplane.pipeline(message.model_name, message.model_version)
        started = time.perf_counter()
        try:
            nbytes = sum(map(len, message.raw_input_contents))
            pipeline.admit_unseen(nbytes, urgent="priority" in message.parameters)
            request = decode_request(message)
        except ModelyardError as error:
            self._dataplane.refused(message.model_name, error, "grpc")
            raise
        if remaining is not None:
            request.timeout = remaining if request.timeout is None else min(remaining, request.timeout)
        return pipeline, request, time.perf_counter() - started

    # --- metadata ---------------------------------------------------------------------------------------------------

    async def ServerMetadata(self, request: pb.ServerMetadataRequest, context: Context) -> pb.ServerMetadataResponse:
        async def answer(tenant: str) -> pb.ServerMetadataResponse:
            return pb.ServerMetadataResponse(name=SERVER_NAME, version=SERVER_VERSION, extensions=EXTENSIONS)

        return await self._answered(context, answer)

    async def ModelMetadata(self, request: pb.ModelMetadataRequest, context: Context) -> pb.ModelMetadataResponse:
        async def answer(tenant: str) -> pb.ModelMetadataResponse:
            document = self._dataplane.metadata(request.name, request.version)
            return _message(document, pb.ModelMetadataResponse())

        return await self._answered(context, answer)

    async def ModelConfig(self, request: pb.ModelConfigRequest, context: Context) -> pb.ModelConfigResponse:
        async def answer(tenant: str) -> pb.ModelConfigResponse:
            config = self._dataplane.config(request.name, request.version)
            return _message({"config": config}, pb.ModelConfigResponse())

        return await self._answered(context, answer)

    async def ModelStatistics(self, request: pb.ModelStatisticsRequest, context: Context) -> pb.ModelStatisticsResponse:
        async def answer(tenant: str) -> pb.ModelStatisticsResponse:
            document = self._dataplane.statistics(request.name, request.version)
            return _message(document, pb.ModelStatisticsResponse())

        return await self._answered(context, answer)

    # --- repository -------------------------------------------------------------------------------------------------

    async def RepositoryIndex(self, request: pb.RepositoryIndexRequest, context: Context) -> pb.RepositoryIndexResponse:
        async def answer(tenant: str) -> pb.RepositoryIndexResponse:
            message = pb.RepositoryIndexResponse()
            for entry in self._dataplane.index(ready_only=request.ready):
                message.models.add(name=entry.name, version=entry.version, state=entry.state, reason=entry.reason)
            return message

        return await self._answered(context, answer)

    async def RepositoryModelLoad(
        self, request: pb.RepositoryModelLoadRequest, context: Context
    ) -> pb.RepositoryModelLoadResponse:
        async def answer(tenant: str) -> pb.RepositoryModelLoadResponse:
            await self._dataplane.load(request.model_name)
            return pb.RepositoryModelLoadResponse()

        return await self._answered(context, answer)

    async def RepositoryModelUnload(
        self, request: pb.RepositoryModelUnloadRequest, context: Context
    ) -> pb.RepositoryModelUnloadResponse:
        async def answer(tenant: str) -> pb.RepositoryModelUnloadResponse:
            await self._dataplane.unload(request.model_name)
            return pb.RepositoryModelUnloadResponse()

        return await self._answered(context, answer)

    async def _answered(self, context: Context, answer: Callable[[str], Awaitable[T]]) -> T:
        """Authenticate, answer, and turn any error into a status."""
        try:
            return await answer(self._tenant(context))
        except Exception as error:
            await fail(context, error)

    def malformed(self) -> ModelyardError:
        """What a call gets whose headers cannot be read: a caller who has to show a key has shown none."""
        text = "the headers cannot be read: a name or a value is not allowed in HTTP/2"
        return Unauthenticated(text) if self._dataplane.asks_for_keys else InvalidInput(text)

    def _tenant(self, context: Context) -> str:
        """Who calls. Raises Unauthenticated or PermissionDenied."""
        value = None
        if self._dataplane.asks_for_keys:
            value = dict(context.invocation_metadata() or ()).get("authorization")
        return self._dataplane.authenticate(value if isinstance(value, str) else None)


def or_none(kind: type[M]) -> Callable[[bytes], M | None]:
    """A message that does not parse becomes None: grpc would answer it with the name of an internal class."""

    def deserialize(raw: bytes) -> M | None:
        try:
            message: M = kind.FromString(raw)
        except DecodeError:
            return None
        return message

    return deserialize


def _message(document: dict[str, Any], empty: M) -> M:
    """A document about a model as the message that has the same fields."""
    ParseDict(document, empty)
    return empty


async def _identity(tenant: str) -> str:
    return tenant
