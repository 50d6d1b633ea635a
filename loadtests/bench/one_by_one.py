"""One blocking connection that sends a request when the last one is answered: the least noise a client can have."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

from loadtests.bench.core import Endpoint
from loadtests.bench.payloads import HEADER_LENGTH, Array, decode

TIMEOUT = 60.0
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_JSON_LENGTH = re.compile(rb"\r\n" + HEADER_LENGTH.encode() + rb": *(\d+)", re.IGNORECASE)


class OneByOne:
    """`ask` sends the bytes of a whole request and gives the output and the seconds it took."""

    def __init__(self, endpoint: Endpoint, model: str) -> None:
        self._endpoint, self._model = endpoint, model
        self._socket = socket.create_connection((endpoint.host, endpoint.port), TIMEOUT)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, request: bytes) -> tuple[Array, float]:
        """RuntimeError for any answer but 200."""
        began = time.perf_counter()
        self._socket.sendall(request)
        head, body = self._receive()
        seconds = time.perf_counter() - began
        if head[9:12] != b"200":
            raise RuntimeError(f"{head[9:40]!r}: {body[:200]!r}")
        length = _JSON_LENGTH.search(head)
        return decode(self._endpoint.face, self._model, body, int(length[1]) if length else None), seconds

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def _receive(self) -> tuple[bytes, bytes]:
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._part()
        head, _, body = data.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if length is None:
            raise RuntimeError("an answer without a Content-Length")
        parts, left = [body], int(length[1]) - len(body)
        while left > 0:
            parts.append(self._part())
            left -= len(parts[-1])
        return head, b"".join(parts)

    def _part(self) -> bytes:
        part = self._socket.recv(1 << 18)
        if not part:
            raise RuntimeError("the server closed the connection")
        return part


@contextmanager
def one_by_one(endpoint: Endpoint, model: str) -> Iterator[OneByOne]:
    """A connection for the length of a block."""
    client = OneByOne(endpoint, model)
    try:
        yield client
    finally:
        client.close()
