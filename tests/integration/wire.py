"""HTTP as bytes: requests that no well-behaved client would send, and the replies to them.

`call` sends one request on a connection of its own; `exchange` sends any bytes and reads the replies;
`post_binary` puts a JSON header and tensors together as the binary tensor extension wants them.
"""

from __future__ import annotations

import http.client
import io
import json
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.integration.harness import Server

HEADER_LENGTH = "Inference-Header-Content-Length"
CALL_SECONDS = 30.0


@dataclass(frozen=True)
class Reply:
    """One HTTP reply; header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON, without the tensors of the binary extension."""
        length = self.headers.get(HEADER_LENGTH.lower())
        return json.loads(self.body if length is None else self.body[: int(length)])

    def error(self) -> str:
        """The text of an error body: an object with that one text, which shows nothing of the inside."""
        assert self.headers.get("content-type", "").startswith("application/json"), self
        document = self.json()
        assert isinstance(document, dict), document
        text = document.get("error")
        assert isinstance(text, str), document
        assert text.strip(), document
        for leak in ("Traceback", 'File "', ".py", "site-packages", " at 0x"):
            assert leak not in text, text
        return text

    def refused(self, *statuses: int) -> str:
        """Assert that the reply is one of `statuses` with a proper error body; return its text."""
        assert self.status in statuses, (self.status, self.body[:500])
        return self.error()

    def tensors(self) -> dict[str, bytes]:
        """The raw bytes of each output that came in binary."""
        offset = int(self.headers[HEADER_LENGTH.lower()])
        found = {}
        for output in self.json()["outputs"]:
            size = output.get("parameters", {}).get("binary_data_size")
            if size is not None:
                found[output["name"]] = self.body[offset : offset + size]
                offset += size
        assert offset == len(self.body), "bytes after the last tensor"
        return found


def connect(server: Server, timeout: float = CALL_SECONDS) -> socket.socket:
    """A TCP connection to the HTTP port."""
    return socket.create_connection(("127.0.0.1", server.http_port), timeout=timeout)


def read_reply(stream: io.BufferedIOBase, method: str = "POST") -> Reply | None:
    """The next reply on a connection, or None when the server has closed it."""
    response = http.client.HTTPResponse(_Stream(stream), method=method)  # type: ignore[arg-type]
    try:
        response.begin()
    except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
        return None
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Reply(response.status, headers, response.read())


class _Stream:
    """Lets http.client read a reply from an open stream, so that the next reply can follow on it."""

    def __init__(self, stream: io.BufferedIOBase) -> None:
        self._stream = stream

    def makefile(self, _mode: str) -> _Stream:
        return self

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def close(self) -> None:
        """The stream belongs to the caller."""


def head(method: str, path: str, headers: Mapping[str, str] | Sequence[tuple[str, str]] = ()) -> bytes:
    """The start of a request, exactly as given."""
    pairs = list(headers.items()) if isinstance(headers, Mapping) else list(headers)
    if not any(name.lower() == "host" for name, _ in pairs):
        pairs.insert(0, ("Host", "127.0.0.1"))
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {text}" for name, text in pairs)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def call(
    server: Server,
    method: str,
    path: str,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    *,
    timeout: float = CALL_SECONDS,
) -> Reply:
    """One request with a right Content-Length on a connection of its own."""
    given = {"Connection": "close", **(headers or {})}
    if body or method == "POST":
        given.setdefault("Content-Length", str(len(body)))
    with connect(server, timeout) as connection, connection.makefile("rb") as stream:
        _send(connection, head(method, path, given) + body)
        reply = read_reply(stream, method)
    assert reply is not None, "the server closed the connection without a reply"
    return reply


def _send(connection: socket.socket, data: bytes) -> None:
    """Send what the server takes: it may refuse, answer and close before everything is sent."""
    try:
        connection.sendall(data)
    except (BrokenPipeError, ConnectionResetError):
        return


def get(server: Server, path: str, headers: Mapping[str, str] | None = None) -> Reply:
    """One GET."""
    return call(server, "GET", path, headers=headers)


def post_json(server: Server, path: str, document: Any, headers: Mapping[str, str] | None = None) -> Reply:
    """One POST; a document that is bytes already is sent as it is."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return call(server, "POST", path, body, {"Content-Type": "application/json", **(headers or {})})


def post_binary(
    server: Server,
    path: str,
    document: Any,
    tail: bytes = b"",
    *,
    length: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """One POST of the binary tensor extension: JSON, then `tail`. `length` may lie about the JSON's."""
    text = document if isinstance(document, bytes) else json.dumps(document).encode()
    given = {
        "Content-Type": "application/octet-stream",
        HEADER_LENGTH: length or str(len(text)),
        **(headers or {}),
    }
    return call(server, "POST", path, text + tail, given)


def exchange(server: Server, data: bytes, replies: int = 1, timeout: float = 10.0) -> list[Reply]:
    """Send `data` as it is and read up to `replies` replies (fewer when the server closes)."""
    found: list[Reply] = []
    with connect(server, timeout) as connection, connection.makefile("rb") as stream:
        _send(connection, data)
        while len(found) < replies:
            reply = read_reply(stream)
            if reply is None:
                break
            found.append(reply)
    return found


def until_closed(connection: socket.socket, seconds: float) -> bytes:
    """Everything the server sends until it closes the connection; fails when it has not in `seconds`."""
    deadline = time.monotonic() + seconds
    received = bytearray()
    while True:
        connection.settimeout(max(0.01, deadline - time.monotonic()))
        try:
            chunk = connection.recv(65536)
        except ConnectionResetError:
            return bytes(received)
        except TimeoutError:
            raise AssertionError(f"not closed within {seconds} s; received {bytes(received)!r}") from None
        if not chunk:
            return bytes(received)
        received += chunk


def exchange_until_closed(server: Server, data: bytes, seconds: float = 10.0) -> Reply | None:
    """Send `data`; the server must answer at most once and close. The reply, or None when it only closed."""
    with connect(server, seconds) as connection:
        _send(connection, data)
        received = until_closed(connection, seconds)
    if not received:
        return None
    stream = io.BufferedReader(io.BytesIO(received))
    reply = read_reply(stream)
    rest = stream.read()
    assert not rest, f"a second reply followed: {rest!r}"
    return reply
