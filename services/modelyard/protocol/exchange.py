"""A request and its answer on a connection: what uvicorn's RequestResponseCycle is for an ASGI application.

Beside an inference of microseconds uvicorn's own (an ASGI scope, an event, a task) costs more than all else, so a
request on a path of ours gets this instead. It has the attributes by which uvicorn knows a cycle.
"""

from http import HTTPStatus

from modelyard.protocol.http_message import HttpRequest, HttpResponse

_STATUS_LINES = {s.value: f"HTTP/1.1 {s.value} {s.phrase}\r\n".encode() for s in HTTPStatus}


class _Nothing:
    """Stands where uvicorn expects the event that wakes an ASGI application."""

    def set(self) -> None: ...


class Exchange:
    __slots__ = (
        "chunks", "disconnected", "expects_continue", "keep_alive", "more_body", "request",
        "response_complete", "response_started",
    )  # fmt: skip
    message_event = _Nothing()

    def __init__(self, request: HttpRequest, *, keep_alive: bool, expects_continue: bool) -> None:
        self.request = request
        self.keep_alive = keep_alive
        self.expects_continue = expects_continue
        self.chunks: list[bytes] = []
        self.more_body = True
        self.disconnected = self.response_started = self.response_complete = False


def render(response: HttpResponse, keep_alive: bool, *, head: bool = False) -> bytes:
    """Status line, headers and body as they go over the wire; without the body for `head`."""
    length = sum(map(len, response.parts))
    lines = [_STATUS_LINES[response.status], b"content-type: ", response.content_type]
    lines.append(b"\r\ncontent-length: %d\r\n" % length)
    for name, value in response.headers:
        lines += (name, b": ", value, b"\r\n")
    lines.append(b"\r\n" if keep_alive else b"connection: close\r\n\r\n")
    if not head:
        lines += response.parts
    return b"".join(lines)
