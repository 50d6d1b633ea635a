"""The HTTP face for any ASGI server, as `bentoml serve` runs one: the answers of `http_server.py` at ASGI's price.

`modelyard serve` never comes by here. What a connection promises there (the receive deadline) is that server's own
concern here; the cap on a body holds on both.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from modelyard.errors import ModelyardError, PayloadTooLarge
from modelyard.protocol.http_message import HttpRequest, HttpResponse
from modelyard.protocol.rest import Rest, failure
from modelyard.protocol.rest_routes import owns

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


async def answer(scope: Scope, receive: Receive, send: Send, *, rest: Rest, others: App, max_body_bytes: int) -> None:
    """Answer a request on one of the face's paths; pass all else on to `others`, once its sender is known."""
    if scope["type"] != "http":
        await others(scope, receive, send)
        return
    path = scope.get("raw_path") or scope["path"].encode()
    request = HttpRequest(scope["method"], path, dict(scope["headers"]), peer=scope.get("client"))
    try:
        if not owns(path):
            rest.gate(request)
            await others(scope, receive, send)
            return
        body = await _body(receive, max_body_bytes)
        if body is None:
            return  # the client went away in the middle
        request.body = body
    except ModelyardError as error:
        await _send(send, failure(error))
        return
    await _send(send, await rest.handle(request))


async def _body(receive: Receive, limit: int) -> bytes | None:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if len(body) > limit:
            raise PayloadTooLarge(f"the body is above {limit} bytes")
        if not message.get("more_body"):
            return bytes(body)


async def _send(send: Send, response: HttpResponse) -> None:
    body = b"".join(response.parts)
    headers = [(b"content-type", response.content_type), (b"content-length", b"%d" % len(body)), *response.headers]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
