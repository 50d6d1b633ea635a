"""Connections are accepted as they come, a bounded number in a turn, and again after the file descriptors ran out."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Iterator

import pytest

from modelyard import accepting
from modelyard.accepting import PER_TURN, Acceptor, Loop


@pytest.fixture(name="listener")
def _listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        yield listener


class Waiting:
    """Clients in the backlog of a listener."""

    def __init__(self, listener: socket.socket, count: int) -> None:
        self.clients = [socket.create_connection(listener.getsockname()) for _ in range(count)]

    def __enter__(self) -> Waiting:
        return self

    def __exit__(self, *_: object) -> None:
        for client in self.clients:
            client.close()


class Counting(asyncio.Protocol):
    made = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        type(self).made += 1
        transport.close()


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def run(listener: socket.socket, count: int, seconds: float = 0.0) -> int:
    """How many of `count` waiting connections a server has taken some turns later, or after `seconds`."""

    async def body() -> int:
        Counting.made = 0
        server = await asyncio.get_running_loop().create_server(Counting, sock=listener)
        await turns(10)
        await asyncio.sleep(seconds)
        server.close()
        await server.wait_closed()
        return Counting.made

    with Waiting(listener, count), asyncio.Runner(loop_factory=Loop) as runner:
        return runner.run(body())


def test_all_that_wait_are_taken_in_a_few_turns(listener: socket.socket) -> None:
    assert run(listener, 2 * PER_TURN) == 2 * PER_TURN


def test_one_turn_takes_a_bounded_number(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accepting, "PER_TURN", 1)
    first = run(listener, 100)
    assert 0 < first <= 12
    assert run(listener, 0, 0.2) >= 80  # the others have waited


def test_without_a_file_descriptor_it_pauses_and_goes_on(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = iter([errno.EMFILE, errno.ENFILE])
    accept = socket.socket.accept

    def failing(self: socket.socket) -> tuple[socket.socket, object]:
        number = next(failures, None)
        if number is not None:
            raise OSError(number, "no file descriptor is left")
        return accept(self)

    monkeypatch.setattr(socket.socket, "accept", failing)
    monkeypatch.setattr(accepting, "PAUSE_SECONDS", 0.01)
    assert run(listener, 5, 0.2) == 5
    assert next(failures, None) is None


def test_a_closed_one_takes_nobody(listener: socket.socket) -> None:
    async def body() -> None:
        Counting.made = 0
        server = Acceptor(asyncio.get_running_loop(), listener, Counting)
        server.close()
        with Waiting(listener, 3):
            await turns(10)
        assert not Counting.made

    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(body())


def test_other_servers_are_uvloops_own() -> None:
    async def body() -> str:
        server = await asyncio.get_running_loop().create_server(Counting, "127.0.0.1", 0)
        server.close()
        await server.wait_closed()
        return type(server).__module__

    with asyncio.Runner(loop_factory=Loop) as runner:
        assert runner.run(body()).startswith("uvloop")
