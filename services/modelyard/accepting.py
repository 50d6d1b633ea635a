"""The event loop of a server: uvloop, but new connections are accepted as they come.

uvloop accepts one connection in a turn of the loop (libuv 1.45 and later). A loaded loop turns slowly, so that probes
and new clients would wait behind each other for as many turns. Given to uvicorn as its loop, this one serves listening
sockets by an acceptor of our own.
"""

import asyncio
import errno
import logging
import socket
from collections.abc import Callable
from typing import Any

import uvloop

log = logging.getLogger("modelyard.server")

PER_TURN = 64
"""Connections accepted in one turn of the loop: those that are here have a right to be served as well."""
PAUSE_SECONDS = 0.1
"""How long nothing is accepted when the process has no file descriptor left."""
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Loop(uvloop.Loop):
    async def create_server(self, protocol_factory: Callable[[], Any], *args: Any, **options: Any) -> Any:
        """As uvloop's, but for a plain listening socket."""
        listener = options.get("sock")
        if listener is None or options.get("ssl") is not None:
            return await super().create_server(protocol_factory, *args, **options)
        return Acceptor(self, listener, protocol_factory)


class Acceptor:
    """What uvicorn closes and waits for as for a server of the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, listener: socket.socket, factory: Callable[[], Any]) -> None:
        listener.setblocking(False)
        self._loop = loop
        self._listener = listener
        self._factory = factory
        self._connecting: set[asyncio.Task[object]] = set()
        self._paused: asyncio.TimerHandle | None = None
        loop.add_reader(listener, self._accept)

    def close(self) -> None:
        self._loop.remove_reader(self._listener)
        if self._paused is not None:
            self._paused.cancel()

    async def wait_closed(self) -> None:
        """Nothing is left to wait for: uvicorn waits for the connections itself."""

    def _accept(self) -> None:
        for _ in range(PER_TURN):
            try:
                connection, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    raise
                log.warning("no connection can be accepted: %s", error.strerror)
                self._loop.remove_reader(self._listener)
                self._paused = self._loop.call_later(PAUSE_SECONDS, self._resume)
                return
            connection.setblocking(False)
            task: asyncio.Task[object] = self._loop.create_task(
                self._loop.connect_accepted_socket(self._factory, connection)
            )
            self._connecting.add(task)
            task.add_done_callback(self._connected)

    def _connected(self, task: asyncio.Task[object]) -> None:
        self._connecting.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.debug("a connection was gone before it was served: %s", type(task.exception()).__name__)

    def _resume(self) -> None:
        self._loop.add_reader(self._listener, self._accept)
