"""Both ends of a connection: a transport that keeps what is written, and a face that answers when it is told to.

The face echoes: method, path and body of the request are the body of its answer, so that a mixed-up answer is seen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, cast

from uvicorn import Config
from uvicorn.server import ServerState

from modelyard.errors import Unauthenticated
from modelyard.protocol.http_message import HttpRequest, HttpResponse
from modelyard.protocol.http_server import HttpProtocol
from modelyard.protocol.rest import Cancel, Respond
from tests.unit.clock import Clock

KEEP_ALIVE = 75
RECEIVE_TIMEOUT = 20.0
MAX_BODY = 4096
MAX_HELD = 10_000

NOW, LATER, OPEN, APP = "/v2/now", "/v2/later", "/v2/health/live", "/app"
"""Paths: answered in `submit`; answered when the test says so; outside authentication; BentoML's application's."""


def echo(request: HttpRequest) -> HttpResponse:
    return HttpResponse(200, [f"{request.method} {request.path.decode()} ".encode(), request.body])


@dataclass
class Held:
    """A request that waits for the test to answer it."""

    request: HttpRequest
    respond: Respond
    cancelled: bool = False

    @property
    def path(self) -> str:
        return self.request.path.decode()

    def answer(self) -> None:
        self.respond(echo(self.request))

    def cancel(self) -> None:
        self.cancelled = True


class FakeRest:
    """A face. `gate` lets in whoever shows a key, once `locked`."""

    def __init__(self) -> None:
        self.locked = False
        self.gated: list[str] = []
        self.submitted: list[str] = []
        """Paths in the order in which they came."""
        self.held: list[Held] = []

    def gate(self, request: HttpRequest) -> None:
        self.gated.append(request.path.decode())
        if self.locked and not request.header(b"authorization"):
            raise Unauthenticated("a key is needed")

    def submit(self, request: HttpRequest, respond: Respond) -> Cancel | None:
        self.submitted.append(request.path.decode())
        if not request.path.startswith(LATER.encode()):
            respond(echo(request))
            return None
        self.held.append(held := Held(request, respond))
        return held.cancel

    def answer(self, path: str) -> None:
        """Answer the request on `path` that waits."""
        (held,) = [held for held in self.held if held.path == path]
        self.held.remove(held)
        held.answer()


class FakeServed:
    """What uvicorn is given as its application."""

    def __init__(self) -> None:
        self.max_body_bytes = MAX_BODY
        self.receive_timeout_seconds = RECEIVE_TIMEOUT
        self.max_held_bytes = MAX_HELD
        self.held_bytes = 0
        self.rest = FakeRest()
        self.draining = False
        self.app_calls: list[str] = []
        self.reads_body = True
        self.app_may_answer = asyncio.Event()
        self.app_may_answer.set()

    async def __call__(self, _scope: Any, _receive: Any, _send: Any) -> None:
        raise AssertionError("the HTTP server does not come by here")

    async def others(self, scope: Any, receive: Any, send: Any) -> None:
        """BentoML's application: echoes, too; without reading the body first unless `reads_body`."""
        self.app_calls.append(scope["path"])
        body = b""
        more = self.reads_body
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message["body"]
            more = message["more_body"]
        await self.app_may_answer.wait()
        text = f"{scope['method']} {scope['path']} ".encode() + body
        headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(text))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": text})


class FakeTransport(asyncio.Transport):
    """Keeps what is written; as strict as a real one about writing after the end."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = self.ended = self.reading_paused = self.aborted = False
        self.unread = 0
        """Bytes that the client has not read."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self.ended:
            raise RuntimeError("Cannot call write() after write_eof()")
        assert not self.closed, "nothing is written on a closed connection"
        self.written += bytes(data)

    def write_eof(self) -> None:
        self.ended = True

    def can_write_eof(self) -> bool:
        return True

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True

    def get_write_buffer_size(self) -> int:
        return self.unread

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.reading_paused = True

    def resume_reading(self) -> None:
        self.reading_paused = False


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def closes(self) -> bool:
        return self.headers.get("connection") == "close"


def parse(written: bytes, heads: Iterable[int] = ()) -> list[Answer]:
    """The answers in what was written; those at the places `heads` answer a HEAD, and have no body."""
    answers: list[Answer] = []
    no_body = set(heads)
    while written:
        head, _, written = written.partition(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        number = int(status.split(" ")[1])
        length = 0 if number == 100 or len(answers) in no_body else int(headers["content-length"])
        assert len(written) >= length, "an answer is cut off"
        answers.append(Answer(number, headers, written[:length]))
        written = written[length:]
    return answers


@dataclass
class Line:
    """One connection to the server: what a client does, and what it sees."""

    served: FakeServed = field(default_factory=FakeServed)
    clock: Clock = field(default_factory=Clock)
    transport: FakeTransport = field(default_factory=FakeTransport)
    lost: bool = False

    def __post_init__(self) -> None:
        config = Config(
            cast(Any, self.served),
            http=HttpProtocol,
            ws="none",
            interface="asgi3",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE,
        )
        self.state = ServerState()
        self.protocol = HttpProtocol(config, self.state, {}, cast(Any, self.clock))
        self.protocol.connection_made(self.transport)

    @property
    def rest(self) -> FakeRest:
        return self.served.rest

    def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            assert not self.transport.closed
            self.protocol.data_received(piece)

    def lose(self, error: Exception | None = None) -> None:
        """The connection is gone."""
        self.transport.closed = self.lost = True
        self.protocol.connection_lost(error)

    def answers(self, heads: Iterable[int] = ()) -> list[Answer]:
        return parse(self.transport.written, heads)

    def bodies(self) -> list[str]:
        """What was echoed."""
        return [answer.body.decode() for answer in self.answers()]


def request(
    path: str,
    body: bytes | None = None,
    *headers: str,
    method: str = "POST",
    version: str = "1.1",
    chunks: Callable[[bytes], Iterable[bytes]] | None = None,
) -> bytes:
    """A request as bytes; `chunks` cuts its body for Transfer-Encoding: chunked."""
    lines = [f"{method} {path} HTTP/{version}", "host: x", *headers]
    if body is None:
        return "\r\n".join([*lines, "", ""]).encode()
    if chunks is None:
        return "\r\n".join([*lines, f"content-length: {len(body)}", "", ""]).encode() + body
    pieces = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in chunks(body) if piece)
    return "\r\n".join([*lines, "transfer-encoding: chunked", "", ""]).encode() + pieces + b"0\r\n\r\n"


def later(number: int) -> str:
    """A path whose answer the test gives, one of many."""
    return f"{LATER}/{number}"


def expected(path: str, body: bytes = b"", method: str = "POST") -> str:
    """The echo of a request."""
    return f"{method} {path} {body.decode()}"
