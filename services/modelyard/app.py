"""The only place where objects are built and joined: an Application, and the BentoML service around it.

    @service("digits")
    class Digits(ModelService):          a typed API beside the inference protocol
        @bentoml.api
        async def classify(...): ...

    protocol_service("wine")             the inference protocol alone

The Application is built when BentoML asks for the ASGI application, so that a model that cannot be served stops the
start with one clear error; it is started and stopped by BentoML's own hooks.
"""

import asyncio
import gc
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import bentoml
from _bentoml_sdk import Service

from modelyard import metrics
from modelyard.auth import current_request, current_tenant
from modelyard.cache.memory import MemoryStore
from modelyard.cache.redis import RedisStore
from modelyard.cores import usable_cores
from modelyard.dataplane import DataPlane
from modelyard.drain import Drain
from modelyard.errors import InvalidInput
from modelyard.members import with_members
from modelyard.observing.observer import Observing
from modelyard.pipeline import Shared
from modelyard.protocol import asgi
from modelyard.protocol.grpc_server import GrpcServer
from modelyard.protocol.http2_server import Http2Server
from modelyard.protocol.rest import Rest
from modelyard.repository import load_model
from modelyard.restart import EXIT_LOST, end_after, end_process
from modelyard.served import State
from modelyard.settings import Settings, unknown_variables
from modelyard.tensors import Array, InferRequest, InferResponse, Tensor
from modelyard.typed_api import TypedApi
from modelyard.version_files import VersionFiles, files_of

__all__ = [
    "Application",
    "InvalidInput",
    "ModelService",
    "ModelyardService",
    "ServedApp",
    "VersionFiles",
    "protocol_service",
    "service",
]

log = logging.getLogger("modelyard.app")

FLUSH_SECONDS = 0.25
SWITCH_SECONDS = 0.0005
"""How long an executor waits for the interpreter, before and after a run, when the event loop is busy. With Python's
5 ms, runs of one millisecond were less than half as frequent under overload."""
GC_THRESHOLDS = (20_000, 10, 10)
"""A request's objects die with its answer, by their reference counts: to look for cycles more often is in vain."""


class Application:
    """Everything that serves, joined. Raises ConfigurationError when a model cannot be loaded."""

    def __init__(self, settings: Settings, models: Sequence[str]) -> None:
        self.settings = settings
        metrics.create_for_cache()
        executors = settings.executors or usable_cores()
        self._pool = ThreadPoolExecutor(executors, thread_name_prefix="executor")
        url = settings.redis_url.get_secret_value()
        self._redis = RedisStore(url, settings.redis_prefix, settings.redis_timeout_seconds) if url else None
        memory = MemoryStore(settings.cache_memory_bytes) if settings.cache_memory_bytes else None
        loaded = [
            load_model(settings.repository, name, settings.loaded_versions)
            for name in with_members(settings.repository, models)
        ]
        home = os.environ.get("BENTOML_HOME") if settings.workers > 1 else None
        folder = Path(home) if home else None
        observing = Observing(settings, len(loaded), folder)
        self.dataplane = DataPlane(loaded, Shared(settings, executors, self._pool, memory, self._redis, observing))
        self._drain = Drain(settings.drain_seconds, self._begin_drain, folder)
        self.rest = Rest(self.dataplane, settings.max_body_bytes, self._drain, settings.drain_from)
        self._grpc: GrpcServer | Http2Server | None = None
        self._flushing: asyncio.TimerHandle | None = None
        self._ending = False

    @property
    def draining(self) -> bool:
        return self.dataplane.state is State.DRAINING

    async def start(self, *, listen: bool = True) -> None:
        """Connect, listen on the gRPC port, become ready."""
        for line in unknown_variables():
            log.warning(line)
        if self._redis is not None:
            await self._redis.start()
        if listen:
            self._grpc = _grpc_front(self.dataplane, self.settings)
            await self._grpc.start(self.settings.host, self.settings.grpc_port)
            self.dataplane.start()
            self._drain.before_exit()
        sys.setswitchinterval(SWITCH_SECONDS)
        gc.collect()
        gc.set_threshold(*GC_THRESHOLDS)
        gc.freeze()  # what stands now stands for good: full collections need not walk through it again and again
        self.dataplane.state = State.SERVING
        self._flush_metrics()
        log.info("ready")

    async def stop(self) -> None:
        """Refuse new work, answer what is open, close everything. With it the process ends, whatever hangs in it."""
        self.dataplane.state = State.DRAINING
        end = time.monotonic() + max(0.0, self.settings.shutdown_seconds - self._drain.stopping)
        end_after(end - time.monotonic())
        if self._grpc is not None:
            await self._grpc.stop(max(0.0, end - time.monotonic()))
        await self.dataplane.close(max(0.0, end - time.monotonic()))
        if self._flushing is not None:
            self._flushing.cancel()  # until here: the watch over runs that hang goes on
        if self._redis is not None:
            await self._redis.close()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self.dataplane.settle()  # for a last scrape that another worker answers

    def _flush_metrics(self) -> None:
        """Now and then, for the scrapes that another worker answers."""
        self.dataplane.settle()
        self._drain.look()
        if self.dataplane.lost and not self._ending:
            self._ending = True
            self.dataplane.state = State.DRAINING
            end_process(self.dataplane.lost)
            self.dataplane.abandon()
        self._flushing = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self._flush_metrics)

    def _begin_drain(self) -> None:
        self.dataplane.state = State.DRAINING


def _grpc_front(dataplane: DataPlane, settings: Settings) -> GrpcServer | Http2Server:
    share_port, age = settings.workers > 1, settings.grpc_connection_seconds
    largest = settings.max_body_bytes
    if settings.grpc_front == "http2":
        return Http2Server(
            dataplane,
            max_message_bytes=largest,
            max_held_bytes=settings.max_queue_bytes,
            receive_seconds=settings.receive_timeout_seconds,
            share_port=share_port,
            connection_seconds=age,
        )
    return GrpcServer(dataplane, max_message_bytes=largest, share_port=share_port, connection_seconds=age)


class ModelService:
    """Base of a service class. `infer` is the typed API's way to the model: the same path as the protocol's."""

    model: str
    bento_service: "ModelyardService"

    @bentoml.on_startup  # type: ignore[untyped-decorator]  # untyped library
    async def start_application(self) -> None:
        await self.bento_service.application.start()

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]  # untyped library
    async def stop_application(self) -> None:
        await self.bento_service.application.stop()

    async def infer(
        self,
        inputs: Mapping[str, Array],
        outputs: Sequence[str] = (),
        *,
        model: str | None = None,
        version: str = "",
        cached: bool = True,
        part: bool = False,
    ) -> InferResponse:
        """Run the model on named arrays (with the batch dimension). Raises ModelyardErrors.

        `model` is another one that this process serves, `version` one that `files` named; with `cached` false the cache
        is neither read nor filled. A call that asks several times says `part` from the second time on: it is one
        request of its caller's quota.
        """
        name = model or self.model
        tensors = [Tensor.from_array(input_name, array) for input_name, array in inputs.items()]
        request = InferRequest(name, tensors, outputs=tuple(outputs), cached=cached, part=part, protocol="api")
        request.id = current_request.get()
        dataplane = self.bento_service.application.dataplane
        pipeline = dataplane.pipeline(name, version)
        return await dataplane.infer(pipeline, request, current_tenant.get(), lambda response: response)

    def files(self) -> VersionFiles:
        """Of the version that answers now. Raises ModelNotReady while there is none."""
        pipeline = self.bento_service.application.dataplane.pipeline(self.model)
        return files_of(pipeline.manifest, pipeline.artifact)


class ModelyardService(Service[Any]):  # type: ignore[misc]  # untyped library
    """A BentoML service that carries an Application."""

    application: Application

    def to_asgi(self, is_main: bool = True) -> "ServedApp":
        self.inject_config()
        self.application = Application(Settings.from_environment(), [self.inner.model])
        return ServedApp(TypedApi(self, is_main=is_main)(), self.application)


class ServedApp:
    """The ASGI application for uvicorn, and for `http_server.py` the way to the face (its port `Served`)."""

    def __init__(self, app: Any, application: Application) -> None:
        self.others: asgi.App = app
        self._application = application
        self.max_body_bytes = application.settings.max_body_bytes
        self.receive_timeout_seconds = application.settings.receive_timeout_seconds
        self.max_held_bytes = application.settings.max_queue_bytes
        self.held_bytes = 0

    @property
    def rest(self) -> Rest:
        return self._application.rest

    @property
    def draining(self) -> bool:
        return self._application.draining

    @property
    def exit_code(self) -> int:
        """Of the process, when it has stopped."""
        return EXIT_LOST if self._application.dataplane.lost else 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await asgi.answer(scope, receive, send, rest=self.rest, others=self.others, max_body_bytes=self.max_body_bytes)


def service(model: str) -> Callable[[type[ModelService]], ModelyardService]:
    """Make a ModelService class the BentoML service of a model.

    BentoML's own metrics (one series per path), tracing and access log are off: modelyard_ metrics stand for them.
    """

    def decorate(inner: type[ModelService]) -> ModelyardService:
        inner.model = model
        made: ModelyardService = bentoml.service(
            name=model,
            service_class=ModelyardService,
            metrics={"enabled": False},
            tracing={"excluded_urls": ".*"},
            logging={"access": {"enabled": False}},
        )(inner)
        return made

    return decorate


def protocol_service(model: str) -> ModelyardService:
    """A service without a typed API, for any model folder."""
    return service(model)(type("ProtocolService", (ModelService,), {"__doc__": f"The inference protocol of {model}."}))
