"""A TCP proxy that stands before a real Redis and spoils its replies: it delays, cuts, corrupts or swallows.

It runs in a thread of the test with an event loop of its own. `fault` may be changed at any time and holds
for the bytes that pass from then on, also on connections that stand already.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

Fault = Callable[[bytes], Awaitable[bytes | None]]
"""What becomes of a chunk of Redis's reply: bytes to pass on, or None to cut the connection there."""

CHUNK = 65536


async def passing(data: bytes) -> bytes | None:
    """Do no harm."""
    return data


def delaying(least: float, most: float, seed: int = 1) -> Fault:
    """Hold each chunk back for `least` to `most` seconds."""
    chance = random.Random(seed)

    async def fault(data: bytes) -> bytes | None:
        await asyncio.sleep(chance.uniform(least, most))
        return data

    return fault


def cutting(share: float, seed: int = 2) -> Fault:
    """Close the connection instead of passing a chunk, or in the middle of it, with probability `share`."""
    chance = random.Random(seed)

    async def fault(data: bytes) -> bytes | None:
        return None if chance.random() < share else data

    return fault


def corrupting(share: float, seed: int = 3) -> Fault:
    """Change one random byte of a chunk with probability `share`."""
    chance = random.Random(seed)

    async def fault(data: bytes) -> bytes | None:
        if chance.random() >= share:
            return data
        spoiled = bytearray(data)
        spoiled[chance.randrange(len(spoiled))] ^= 1 << chance.randrange(8)
        return bytes(spoiled)

    return fault


def swallowing(share: float, seed: int = 4) -> Fault:
    """Lose the tail of a chunk with probability `share`: the reader waits for bytes that never come."""
    chance = random.Random(seed)

    async def fault(data: bytes) -> bytes | None:
        return data[: chance.randrange(len(data))] if chance.random() < share else data

    return fault


class ChaosProxy:
    """Listens on `port` and passes everything on to `target_port`, replies through `fault`."""

    def __init__(self, target_port: int) -> None:
        self.fault: Fault = passing
        self.spoiled = 0
        self.port = 0
        self._target_port = target_port

    @property
    def url(self) -> str:
        """The address as MODELYARD_REDIS_URL wants it."""
        return f"redis://127.0.0.1:{self.port}/0"

    async def listen(self) -> asyncio.Server:
        """Start to accept connections on a free port."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            writer.close()
            return
        pipes = [
            asyncio.ensure_future(self._pipe(reader, up_writer, spoil=False)),
            asyncio.ensure_future(self._pipe(up_reader, writer, spoil=True)),
        ]
        try:
            await asyncio.wait(pipes, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pipe in pipes:
                pipe.cancel()
            writer.close()
            up_writer.close()

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, spoil: bool) -> None:
        try:
            while data := await reader.read(CHUNK):
                passed = await self.fault(data) if spoil else data
                self.spoiled += passed != data
                if passed is None:
                    return
                writer.write(passed)
                await writer.drain()
        except OSError:
            return


@contextmanager
def chaos_proxy(target_port: int) -> Iterator[ChaosProxy]:
    """A running proxy before the Redis on `target_port`, ended with the block."""
    proxy = ChaosProxy(target_port)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    listener = asyncio.run_coroutine_threadsafe(proxy.listen(), loop).result(10)
    try:
        yield proxy
    finally:
        loop.call_soon_threadsafe(listener.close)
        asyncio.run_coroutine_threadsafe(_cancel_all(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


async def _cancel_all() -> None:
    """End every connection, so that the loop closes without tasks."""
    tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
