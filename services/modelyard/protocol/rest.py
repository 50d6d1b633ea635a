"""The HTTP face: paths to dataplane calls, errors to statuses. Convert, delegate, convert.

    GET  /v2   /v2/health/live|ready   /v2/models/{m}[/versions/{v}][/ready|/config|/stats]   /v2/models/stats
    POST /v2/models/{m}[/versions/{v}]/infer   /v2/repository/index   /v2/repository/models/{m}/load|unload
    POST /feedback
    GET  /livez /healthz /readyz /metrics /drain

Health, metrics and the drain stand outside authentication and every limit.
"""

import asyncio
import logging
import math
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache, partial
from typing import Any

import orjson

from modelyard.dataplane import EXTENSIONS, SERVER_NAME, SERVER_VERSION, DataPlane, Target
from modelyard.drain import Drain, forwarded, may_drain
from modelyard.errors import (
    InvalidInput,
    MethodNotAllowed,
    ModelyardError,
    NotFound,
    Overloaded,
    PermissionDenied,
    Unavailable,
    Unimplemented,
    UnsupportedMediaType,
)
from modelyard.protocol.feedback import feedback_answer, feedback_of, request_id_of
from modelyard.protocol.http_message import HttpRequest, HttpResponse, deflate, inflate, json_length
from modelyard.protocol.rest_codec import Encoding, decode_request, encode_response
from modelyard.protocol.rest_routes import ANY, OPEN_PATHS, Route, parse_path
from modelyard.tensors import InferRequest, InferResponse

log = logging.getLogger("modelyard.rest")

Respond = Callable[[HttpResponse], None]
Cancel = Callable[[], object]
"""Ends what was submitted and not answered yet: nobody waits for it."""

_MEDIA_TYPES = frozenset({b"", b"application/json", b"application/octet-stream", b"application/x-www-form-urlencoded"})
_LARGE = 65536
"""A body above this is inflated, and an answer compressed, in a thread: the event loop has others to serve."""


class Rest:
    def __init__(self, dataplane: DataPlane, max_body_bytes: int, drain: Drain, drain_from: str) -> None:
        self._dataplane = dataplane
        self._max_body = max_body_bytes
        self._drain, self._drain_from = drain, drain_from
        self._handlers: dict[str, Callable[[HttpRequest, Route], Awaitable[HttpResponse]]] = {
            "infer": self._infer,
            "feedback": self._feedback,
            "live": self._live,
            "ready": self._ready,
            "metrics": self._metrics,
            "drain": self._wait_drained,
            "server": self._server,
            "model": self._model,
            "model_ready": self._model_ready,
            "config": self._config,
            "stats": self._stats,
            "index": self._index,
            "load": self._load,
            "unload": self._unload,
            "unsupported": self._unsupported,
        }

    def gate(self, request: HttpRequest) -> None:
        """Find out who asks. Raises Unauthenticated or PermissionDenied."""
        value = request.headers.get(b"authorization")
        request.tenant = self._dataplane.authenticate(value.decode("latin-1") if value else None)

    async def handle(self, request: HttpRequest) -> HttpResponse:
        """Answer any request on a path of ours; never raises, but for cancellation."""
        try:
            route = parse_path(request.path)
            if route is None:
                raise NotFound("there is nothing at this path")
            method = "GET" if request.method == "HEAD" else request.method
            if route.method not in (method, ANY):
                raise MethodNotAllowed(route.method)
            if not request.tenant and request.path not in OPEN_PATHS:
                self.gate(request)
            return await self._handlers[route.handler](request, route)
        except Exception as error:
            return failure(error)

    # --- inference ------------------------------------------------------------------------------------------------

    def submit(self, request: HttpRequest, respond: Respond) -> Cancel | None:
        """As `handle`, by a callback; an inference without content codings goes so all the way, without a task."""
        route = parse_path(request.path)
        plain = b"accept-encoding" not in request.headers and b"content-encoding" not in request.headers
        if not plain or route is None or route.handler != "infer" or request.method != "POST":
            return asyncio.get_running_loop().create_task(self._handle_to(request, respond)).cancel
        try:
            if not request.tenant:
                self.gate(request)
            target = self._dataplane.pipeline(route.model, route.version)
            decoded, encoding, seconds = self._decoded(target, request, route, request.body)
            call = self._dataplane.submit(
                target, decoded, request.tenant, partial(_encoded, encoding), partial(_respond, respond), seconds
            )
        except Exception as error:
            respond(failure(error))
            return None
        return call.cancel if call is not None and call.open else None

    async def _handle_to(self, request: HttpRequest, respond: Respond) -> None:
        respond(await self.handle(request))

    async def _infer(self, request: HttpRequest, route: Route) -> HttpResponse:
        self._dataplane.pipeline(route.model, route.version)  # raises before the body is looked at
        try:
            body = await self._body(request)
        except ModelyardError as error:
            self._dataplane.refused(route.model, error, "http")
            raise
        target = self._dataplane.pipeline(route.model, route.version)  # once more: the first may be gone
        decoded, encoding, seconds = self._decoded(target, request, route, body)
        response = await self._dataplane.infer(target, decoded, request.tenant, partial(_encoded, encoding), seconds)
        accepted = request.header(b"accept-encoding")
        return await _compressed(response, accepted) if accepted else response

    def _decoded(
        self, target: Target, request: HttpRequest, route: Route, body: bytes
    ) -> tuple[InferRequest, Encoding, float]:
        """The request, how to answer it, and the seconds that decoding took."""
        started = time.perf_counter()
        try:
            length = json_length(request)
            target.admit_unseen(len(body), urgent=body.find(b'"priority"', 0, length) >= 0)
            if request.headers.get(b"content-type", b"") not in _MEDIA_TYPES:
                _check_media_type(request.header(b"content-type"))
            sole_input = partial(self._dataplane.sole_input, route.model, route.version)
            decoded, encoding = decode_request(body, length, route.model, route.version, sole_input)
        except ModelyardError as error:
            self._dataplane.refused(route.model, error, "http")
            raise
        if not decoded.id and b"x-request-id" in request.headers:
            decoded.id = request_id_of(request.header(b"x-request-id"))
        return decoded, encoding, time.perf_counter() - started

    async def _feedback(self, request: HttpRequest, route: Route) -> HttpResponse:
        """The true value of what was answered to a request that carried an id."""
        _check_media_type(request.header(b"content-type"))
        request_id, truth = feedback_of(await self._body(request))
        return _json(feedback_answer(request_id, await self._dataplane.feedback(request_id, truth, request.tenant)))

    async def _body(self, request: HttpRequest) -> bytes:
        if b"content-encoding" not in request.headers:
            return request.body
        encoding = request.header(b"content-encoding").strip().lower()
        if len(request.body) > _LARGE:
            return await asyncio.to_thread(inflate, request.body, encoding, self._max_body)
        return inflate(request.body, encoding, self._max_body)

    # --- health and metrics ---------------------------------------------------------------------------------------

    async def _live(self, request: HttpRequest, route: Route) -> HttpResponse:
        return _json({"live": True})

    async def _ready(self, request: HttpRequest, route: Route) -> HttpResponse:
        if not self._dataplane.ready:
            raise Unavailable(f"the server is not ready: {self._dataplane.state.value}")
        return _json({"ready": True})

    async def _metrics(self, request: HttpRequest, route: Route) -> HttpResponse:
        content_type, text = await self._dataplane.metrics()
        return HttpResponse(200, [text], content_type.encode())

    async def _wait_drained(self, request: HttpRequest, route: Route) -> HttpResponse:
        """Not ready from now on; answered when the server may be stopped."""
        peer = request.peer[0] if request.peer else ""
        if request.method == "HEAD":  # to look is not to act
            raise MethodNotAllowed("GET")
        if not may_drain(self._drain_from, peer) or forwarded(request.headers):
            raise PermissionDenied("only a neighbour that MODELYARD_DRAIN_FROM names may drain this server")
        return _json({"state": "draining", "seconds": await self._drain.wait()})

    # --- metadata -------------------------------------------------------------------------------------------------

    async def _server(self, request: HttpRequest, route: Route) -> HttpResponse:
        return _json({"name": SERVER_NAME, "version": SERVER_VERSION, "extensions": EXTENSIONS})

    async def _model(self, request: HttpRequest, route: Route) -> HttpResponse:
        return _json(self._dataplane.metadata(route.model, route.version))

    async def _model_ready(self, request: HttpRequest, route: Route) -> HttpResponse:
        if not self._dataplane.model_ready(route.model, route.version):
            raise Unavailable(f"model '{route.model}' is not ready")
        return _json({"name": route.model, "ready": True})

    async def _config(self, request: HttpRequest, route: Route) -> HttpResponse:
        return _json(self._dataplane.config(route.model, route.version))

    async def _stats(self, request: HttpRequest, route: Route) -> HttpResponse:
        return _json(self._dataplane.statistics(route.model, route.version))

    # --- repository -----------------------------------------------------------------------------------------------

    async def _index(self, request: HttpRequest, route: Route) -> HttpResponse:
        wanted = _document(request).get("ready", False)
        if not isinstance(wanted, bool):
            raise InvalidInput("'ready' is neither true nor false")
        entries = self._dataplane.index(ready_only=wanted)
        return _json([{"name": e.name, "version": e.version, "state": e.state, "reason": e.reason} for e in entries])

    async def _load(self, request: HttpRequest, route: Route) -> HttpResponse:
        await self._dataplane.load(route.model)
        return _json({})

    async def _unload(self, request: HttpRequest, route: Route) -> HttpResponse:
        await self._dataplane.unload(route.model)
        return _json({})

    async def _unsupported(self, request: HttpRequest, route: Route) -> HttpResponse:
        raise Unimplemented("this extension is not supported")


def failure(error: Exception) -> HttpResponse:
    """The answer to an error: its own status and text; an unknown one gives a request id, and is in the log."""
    if not isinstance(error, ModelyardError):
        request_id = secrets.token_hex(8)
        log.error("request %s failed", request_id, exc_info=error)
        return _json({"error": f"internal error (request id {request_id})"}, 500)
    refused = _repeated if isinstance(error, Overloaded) else _refusal
    response = refused(error.http_status, error.public, error.retry_after)
    if isinstance(error, MethodNotAllowed):
        response.headers.append((b"allow", error.allowed.encode()))
    if error.http_status == 401:
        response.headers.append((b"www-authenticate", b"Bearer"))
    return response


def _refusal(status: int, text: str, retry_after: float | None) -> HttpResponse:
    response = _json({"error": text}, status)
    if retry_after is not None:
        response.headers.append((b"retry-after", b"%d" % math.ceil(retry_after)))
    return response


_repeated = lru_cache(maxsize=8)(_refusal)
"""Under overload most requests are refused, many of them with the same text."""


def _json(document: Any, status: int = 200) -> HttpResponse:
    return HttpResponse(status, [orjson.dumps(document)])


def _document(request: HttpRequest) -> dict[str, Any]:
    """The JSON object of a small body; an empty body is an empty object."""
    try:
        document = orjson.loads(request.body) if request.body.strip() else {}
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"the body is no JSON: {error}") from None
    if not isinstance(document, dict):
        raise InvalidInput("the body is no JSON object")
    return document


def _encoded(encoding: Encoding, response: InferResponse) -> HttpResponse:
    parts: Sequence[bytes]
    parts, json_length = encode_response(response, encoding)
    headers = [(b"x-modelyard-backend", str(response.parameters["backend"]).encode())]
    if json_length is None:
        return HttpResponse(200, parts, b"application/json", headers)
    headers.append((b"inference-header-content-length", b"%d" % json_length))
    return HttpResponse(200, parts, b"application/octet-stream", headers)


def _respond(respond: Respond, outcome: HttpResponse | Exception) -> None:
    respond(failure(outcome) if isinstance(outcome, Exception) else outcome)


async def _compressed(response: HttpResponse, accepted: str) -> HttpResponse:
    if sum(map(len, response.parts)) > _LARGE:
        response.parts, coding = await asyncio.to_thread(deflate, response.parts, accepted)
    else:
        response.parts, coding = deflate(response.parts, accepted)
    if coding:
        response.headers.append((b"content-encoding", coding))
    return response


def _check_media_type(content_type: str) -> None:
    kind = content_type.partition(";")[0].strip().lower()
    if kind.encode("latin-1") not in _MEDIA_TYPES:
        raise UnsupportedMediaType(f"Content-Type '{kind[:80]}' is not supported; use application/json")
