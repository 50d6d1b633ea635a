"""What bodies cost: nothing once their connection is gone, nothing before a key was shown, and never without bound."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration import pair_model, wire
from tests.integration.calls import until
from tests.integration.harness import Server, serve
from tests.integration.pair_model import assert_well

MIB = 2**20
UPLOAD = 40 * MIB
PATH = f"/v2/models/{pair_model.NAME}/infer"


def upload(server: Server, *, end: bool) -> socket.socket:
    """A connection that has sent a large body; without its last bytes unless `end`."""
    connection = wire.connect(server, timeout=20)
    with contextlib.suppress(OSError):  # refused: the server need not read it all
        connection.sendall(wire.head("POST", PATH, {"Content-Length": str(UPLOAD + (0 if end else 1000))}))
        for _ in range(UPLOAD // MIB):
            connection.sendall(b" " * MIB)
    return connection


@pytest.mark.parametrize("end", [True, False])
def test_bodies_go_with_their_connections(pair: Server, *, end: bool) -> None:
    before = pair.memory_bytes()
    for _ in range(8):
        with upload(pair, end=end) as connection:
            if end:
                assert b" 400 " in connection.recv(100)
    until(lambda: pair.memory_bytes() - before < 2 * UPLOAD, "the bodies are gone")
    assert_well(pair)


@pytest.fixture(scope="module")
def narrow(pair_repository: Path) -> Iterator[Server]:
    """A server with a key, that holds little at once."""
    with serve(
        pair_repository,
        pair_model.NAME,
        {"MODELYARD_API_KEYS": "alice:key1", "MODELYARD_MAX_QUEUE_BYTES": str(2 * UPLOAD)},
    ) as server:
        yield server


def test_a_body_is_not_read_before_the_key_was_shown(narrow: Server) -> None:
    before = narrow.memory_bytes()
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(upload(narrow, end=False)) for _ in range(5)]
        assert all(b" 401 " in connection.recv(100) for connection in connections)
        assert narrow.memory_bytes() - before < UPLOAD


def test_all_connections_together_hold_a_bounded_number_of_bytes(narrow: Server) -> None:
    head = {"Content-Length": str(UPLOAD + 1000), "Authorization": "Bearer key1"}
    with contextlib.ExitStack() as stack:
        replies = []
        for _ in range(4):
            connection = stack.enter_context(wire.connect(narrow, timeout=20))
            with contextlib.suppress(OSError):
                connection.sendall(wire.head("POST", PATH, head))
                for _ in range(UPLOAD // MIB):
                    connection.sendall(b" " * MIB)
            connection.settimeout(0.5)
            with contextlib.suppress(TimeoutError):
                replies.append(connection.recv(4096))
        assert replies, "one of them is above the bound"
        for reply in replies:
            assert b" 503 " in reply
            assert json.loads(reply.split(b"\r\n\r\n", 1)[1])["error"]
    with wire.connect(narrow, timeout=20) as connection:
        connection.sendall(wire.head("GET", "/v2/health/ready"))
        assert b" 200 " in connection.recv(100)
