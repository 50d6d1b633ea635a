"""Types of the generated open_inference_grpc_pb2_grpc.py, written by hand: grpc's plugin makes none.

The stub serves both kinds of channel, so that a call's result is Any: the response on a blocking channel, an
awaitable of it on an asyncio channel. The servicer is typed for grpc.aio, the only server that we run.
"""

from collections.abc import AsyncIterator
from typing import Any

from modelyard.protocol._pb import open_inference_grpc_pb2 as pb

class GRPCInferenceServiceStub:
    def __init__(self, channel: Any) -> None: ...
    def ServerLive(
        self, request: pb.ServerLiveRequest, timeout: float | None = None, metadata: Any = None, **options: Any
    ) -> Any: ...
    def ServerReady(
        self, request: pb.ServerReadyRequest, timeout: float | None = None, metadata: Any = None, **options: Any
    ) -> Any: ...
    def ModelReady(
        self, request: pb.ModelReadyRequest, timeout: float | None = None, metadata: Any = None, **options: Any
    ) -> Any: ...
    def ServerMetadata(
        self, request: pb.ServerMetadataRequest, timeout: float | None = None, metadata: Any = None, **options: Any
    ) -> Any: ...
    def ModelMetadata(
        self, request: pb.ModelMetadataRequest, timeout: float | None = None, metadata: Any = None, **options: Any
    ) -> Any: ...
    def ModelInfer(
        self, request: pb.ModelInferRequest, timeout: float | None = None, metadata: Any = None, **options: Any
    ) -> Any: ...
    def ModelConfig(
        self, request: pb.ModelConfigRequest, timeout: float | None = None, metadata: Any = None, **options: Any
    ) -> Any: ...
    def ModelStatistics(
        self, request: pb.ModelStatisticsRequest, timeout: float | None = None, metadata: Any = None, **options: Any
    ) -> Any: ...
    def RepositoryIndex(
        self, request: pb.RepositoryIndexRequest, timeout: float | None = None, metadata: Any = None, **options: Any
    ) -> Any: ...
    def RepositoryModelLoad(
        self, request: pb.RepositoryModelLoadRequest, timeout: float | None = None, metadata: Any = None, **options: Any
    ) -> Any: ...
    def RepositoryModelUnload(
        self, request: pb.RepositoryModelUnloadRequest, timeout: float | None = None, metadata: Any = None, **options: Any
    ) -> Any: ...
    def ModelStreamInfer(
        self, requests: Any, timeout: float | None = None, metadata: Any = None, **options: Any
    ) -> Any: ...

class GRPCInferenceServiceServicer:
    async def ServerLive(
        self, request: pb.ServerLiveRequest, context: Any
    ) -> pb.ServerLiveResponse: ...
    async def ServerReady(
        self, request: pb.ServerReadyRequest, context: Any
    ) -> pb.ServerReadyResponse: ...
    async def ModelReady(
        self, request: pb.ModelReadyRequest, context: Any
    ) -> pb.ModelReadyResponse: ...
    async def ServerMetadata(
        self, request: pb.ServerMetadataRequest, context: Any
    ) -> pb.ServerMetadataResponse: ...
    async def ModelMetadata(
        self, request: pb.ModelMetadataRequest, context: Any
    ) -> pb.ModelMetadataResponse: ...
    async def ModelInfer(
        self, request: pb.ModelInferRequest, context: Any
    ) -> pb.ModelInferResponse: ...
    async def ModelConfig(
        self, request: pb.ModelConfigRequest, context: Any
    ) -> pb.ModelConfigResponse: ...
    async def ModelStatistics(
        self, request: pb.ModelStatisticsRequest, context: Any
    ) -> pb.ModelStatisticsResponse: ...
    async def RepositoryIndex(
        self, request: pb.RepositoryIndexRequest, context: Any
    ) -> pb.RepositoryIndexResponse: ...
    async def RepositoryModelLoad(
        self, request: pb.RepositoryModelLoadRequest, context: Any
    ) -> pb.RepositoryModelLoadResponse: ...
    async def RepositoryModelUnload(
        self, request: pb.RepositoryModelUnloadRequest, context: Any
    ) -> pb.RepositoryModelUnloadResponse: ...
    def ModelStreamInfer(
        self, request_iterator: AsyncIterator[pb.ModelInferRequest], context: Any
    ) -> AsyncIterator[pb.ModelStreamInferResponse]: ...

def add_GRPCInferenceServiceServicer_to_server(servicer: GRPCInferenceServiceServicer, server: Any) -> None: ...
