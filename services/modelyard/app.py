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
import inspect
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import Any

import bentoml
from _bentoml_impl.server.app import ServiceAppFactory
from _bentoml_sdk import Service
from bentoml.exceptions import BentoMLException
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from modelyard import __version__, metrics, openapi
from modelyard.auth import current_tenant
from modelyard.cache.memory import MemoryStore
from modelyard.cache.redis import RedisStore
from modelyard.dataplane import DataPlane
from modelyard.errors import InvalidInput, ModelyardError
from modelyard.pipeline import Shared
from modelyard.protocol import asgi
from modelyard.protocol.grpc_server import GrpcServer
from modelyard.protocol.rest import Rest, failure
from modelyard.repository import load_model
from modelyard.restart import EXIT_LOST, end_process
from modelyard.served import State
from modelyard.settings import Settings, unknown_variables
from modelyard.tensors import Array, InferRequest, InferResponse, Tensor

__all__ = [
    "Application",
    "InvalidInput",
    "ModelService",
    "ModelyardService",
    "ServedApp",
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
        executors = settings.executors or os.cpu_count() or 1
        self._pool = ThreadPoolExecutor(executors, thread_name_prefix="executor")
        url = settings.redis_url.get_secret_value()
        self._redis = RedisStore(url, settings.redis_prefix, settings.redis_timeout_seconds) if url else None
        memory = MemoryStore(settings.cache_memory_bytes) if settings.cache_memory_bytes else None
        loaded = [load_model(settings.repository, name) for name in models]
        self.dataplane = DataPlane(loaded, Shared(settings, executors, self._pool, memory, self._redis))
        self.rest = Rest(self.dataplane, settings.max_body_bytes)
        self._grpc: GrpcServer | None = None
        self._flushing: asyncio.TimerHandle | None = None

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
            settings = self.settings
            self._grpc = GrpcServer(
                self.dataplane, max_message_bytes=settings.max_body_bytes, share_port=settings.workers > 1
            )
            await self._grpc.start(settings.host, settings.grpc_port)
            self.dataplane.upgrade()
            self._drain_before_exit()
        sys.setswitchinterval(SWITCH_SECONDS)
        gc.collect()
        gc.set_threshold(*GC_THRESHOLDS)
        gc.freeze()  # what stands now stands for good: full collections need not walk through it again and again
        self.dataplane.state = State.SERVING
        self._flush_metrics()
        log.info("ready")

    async def stop(self) -> None:
        """Refuse new work, answer what is open, close everything."""
        self.dataplane.state = State.DRAINING
        if self._flushing is not None:
            self._flushing.cancel()
        if self._grpc is not None:
            await self._grpc.stop(self.settings.shutdown_seconds)
        await self.dataplane.close()
        if self._redis is not None:
            await self._redis.close()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self.dataplane.settle()  # for a last scrape that another worker answers

    def _flush_metrics(self) -> None:
        """Now and then, for the scrapes that another worker answers."""
        self.dataplane.settle()
        if self.dataplane.lost and not self.draining:
            self.dataplane.state = State.DRAINING
            end_process(self.dataplane.lost)
            self.dataplane.abandon()
        self._flushing = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self._flush_metrics)

    def _drain_before_exit(self) -> None:
        """On SIGTERM: not ready at once, serve on for `drain_seconds`, and only then let the server stop."""
        loop = asyncio.get_running_loop()
        stop = signal.getsignal(signal.SIGTERM)

        def drain(number: int) -> None:
            again = self.draining
            self.dataplane.state = State.DRAINING
            wait = 0.0 if again else self.settings.drain_seconds
            log.info("not ready; serving on for %g s, then stopping", wait)
            if callable(stop):
                loop.call_later(wait, stop, number, None)

        def received(number: int, _: FrameType | None) -> None:
            loop.call_soon_threadsafe(drain, number)

        try:
            signal.signal(signal.SIGTERM, received)
        except ValueError:
            log.debug("not in the main thread: whoever runs the loop handles SIGTERM")


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

    async def infer(self, inputs: Mapping[str, Array], outputs: Sequence[str] = ()) -> InferResponse:
        """Run the model on named arrays (with the batch dimension). Raises ModelyardErrors."""
        tensors = [Tensor.from_array(name, array) for name, array in inputs.items()]
        request = InferRequest(self.model, tensors, outputs=tuple(outputs), protocol="api")
        application = self.bento_service.application
        dataplane = application.dataplane
        return await dataplane.infer(
            dataplane.pipeline(self.model), request, current_tenant.get(), lambda response: response
        )


class _AppFactory(ServiceAppFactory):  # type: ignore[misc]  # untyped library
    """BentoML's application with our errors (an object with a text, our status), our OpenAPI document, our page."""

    def __call__(self) -> Starlette:
        app: Starlette = super().__call__()
        app.add_exception_handler(HTTPException, _respond_to_http)
        return app

    async def index_page(self, _: Request) -> Response:
        return HTMLResponse(openapi.PAGE.replace("TITLE", self.service.name))

    async def openapi_spec_view(self, _: Request) -> Response:
        text = inspect.getdoc(self.service.inner) or ""
        described = self.service.openapi_spec.asdict()
        return JSONResponse(openapi.document_of(described, self.service.name, text, __version__))

    async def api_endpoint(self, name: str, request: Request) -> Response:
        try:
            response: Response = await super().api_endpoint(name, request)
        except ModelyardError as error:
            return _respond(error)
        except ValidationError as error:
            return _respond(InvalidInput(_faults(error)))
        except BentoMLException as error:
            status = error.error_code.value
            if status < 500:
                return JSONResponse({"error": str(error)}, status)
            return _respond(error)
        except (UnicodeDecodeError, RecursionError) as error:
            return _respond(InvalidInput(f"the body is no JSON: {type(error).__name__}"))
        except Exception as error:
            return _respond(error)
        return response


class ModelyardService(Service[Any]):  # type: ignore[misc]  # untyped library
    """A BentoML service that carries an Application."""

    application: Application

    def to_asgi(self, is_main: bool = True) -> "ServedApp":
        self.inject_config()
        self.application = Application(Settings.from_environment(), [self.inner.model])
        return ServedApp(_AppFactory(self, is_main=is_main)(), self.application)


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


def _faults(error: ValidationError) -> str:
    """What pydantic found, one fault after the other: place and text."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    texts = [(".".join(map(str, fault["loc"])), fault["msg"].removeprefix("Value error, ")) for fault in faults]
    return "; ".join(f"{place}: {text}" if place else text for place, text in texts)


async def _respond_to_http(_: Request, error: Exception) -> Response:
    """An unknown path or a wrong method of the typed API."""
    if not isinstance(error, HTTPException):
        return _respond(error)
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


def _respond(error: Exception) -> Response:
    answer = failure(error)
    headers = {name.decode(): value.decode() for name, value in answer.headers}
    return Response(b"".join(answer.parts), answer.status, headers, answer.content_type.decode())
