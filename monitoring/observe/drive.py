"""What happens to the scene, by the clock: good times, then one trouble after another. Each stage lasts a beat.

usual load goes on throughout (HTTP and gRPC, known and new rows)
    mistakes of callers -> failures and deadlines -> overload -> Redis goes wrong -> the GPU goes wrong
    -> a second version takes over -> the inputs shift -> calm
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TypeVar

import httpx
import numpy as np
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException

from monitoring.observe import model
from monitoring.observe.scene import Scene
from tests.integration.calls import Client, connect
from tests.integration.chaos_proxy import corrupting, cutting, delaying, passing
from tests.integration.gpu_harness import add_version, load_again, reload
from tests.integration.harness import modelyard

KNOWN_ROWS = 400
NEW_ROWS = 0.2
USUAL_MILLISECONDS = 2.0
USUAL_CALLERS = 4
PAUSE_SECONDS = 0.05
FEEDBACK = 0.3
MODEL_ERRORS = 0.1
SHIFTED_ROWS = 1500
CROWD = 40
CROWD_MILLISECONDS = 40.0
REFUSED = (InferenceServerException, httpx.HTTPError, OSError)
"""What a caller may get in bad times; the scene itself has to survive."""

Say = Callable[[str], None]
T = TypeVar("T")


class Drive:
    """One way through all stages, `beat` seconds each; `say` is told what happens now."""

    def __init__(self, scene: Scene, beat: float, say: Say) -> None:
        self._scene, self._beat, self._say = scene, beat, say
        self._known = model.with_effort(model.usual(KNOWN_ROWS, seed=11), USUAL_MILLISECONDS)
        self._shift = False
        self._versions = [""]
        self._numbers = itertools.count(1000)
        self.started = time.time()
        self.stages: list[tuple[float, str]] = []
        """When each began, and what it is."""

    @asynccontextmanager
    async def calm(self) -> AsyncIterator[None]:
        """Through all stages, then the block, all with the usual load in the background."""
        self.started = time.time()
        async with AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(connect(self._scene.loan, way)) for way in ("http", "grpc")]
            self._http = await stack.enter_async_context(httpx.AsyncClient(base_url=self._scene.loan.url, timeout=10))
            echo = await stack.enter_async_context(connect(self._scene.echo, "http"))
            tasks = [asyncio.create_task(self._usual(clients[n % 2], seed=n)) for n in range(USUAL_CALLERS)]
            tasks += [asyncio.create_task(self._echo(echo)), asyncio.create_task(self._joins(clients[0]))]
            try:
                for text, stage in self._stages(clients[0]):
                    self.stages.append((time.time(), text))
                    self._say(text)
                    await stage()
                yield
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    def _stages(self, client: Client) -> Iterator[tuple[str, Callable[[], Awaitable[None]]]]:
        yield "usual load", self._rest
        yield "callers send what cannot be read", lambda: self._for_a_beat(self._mistake(client))
        yield "the model fails, deadlines pass", lambda: self._for_a_beat(self._trouble(client))
        yield "more load than the service can take", lambda: self._overload(client)
        yield "Redis is slow, cuts connections, answers wrongly, hangs", self._spoil_redis
        yield "the GPU runs out of memory, an engine answers wrongly", self._spoil_gpu
        yield "a second version takes over", self._roll_out
        yield "the inputs shift", lambda: self._drift(client)
        yield "calm again", self._rest

    async def _rest(self) -> None:
        await asyncio.sleep(self._beat)

    async def _for_a_beat(self, calls: Iterator[Awaitable[object]], pause: float = PAUSE_SECONDS) -> None:
        end = time.monotonic() + self._beat
        for call in calls:
            await _let(call)
            if time.monotonic() > end:
                return
            await asyncio.sleep(pause)

    async def _usual(self, client: Client, seed: int) -> None:
        """Popular rows most of the time, a new one now and then."""
        draw = np.random.default_rng(seed)
        while True:
            rows = self._rows(draw, int(draw.integers(1, 5)))
            version = self._versions[int(draw.integers(len(self._versions)))]
            name = f"drive-{next(self._numbers)}"
            answer = await _let(client.infer(rows, version=version, request_id=name))
            if answer is not None and draw.random() < FEEDBACK:
                await self._tell(name, answer.only.argmax(axis=1), draw)
            await asyncio.sleep(PAUSE_SECONDS)

    async def _tell(self, request: str, classes: NDArray[np.int64], draw: np.random.Generator) -> None:
        """What was true: what the model said, nine times in ten. The workers hear it each for its own answers."""
        wrong = draw.random(len(classes)) < MODEL_ERRORS
        told = {"request_id": request, "value": np.where(wrong, (classes + 1) % model.CLASSES, classes).tolist()}
        await _let(self._http.post("/feedback", json=told))

    def _rows(self, draw: np.random.Generator, count: int) -> model.Rows:
        if self._shift or draw.random() < NEW_ROWS:
            make = model.shifted if self._shift else model.usual
            return model.with_effort(make(count, next(self._numbers)), USUAL_MILLISECONDS)
        places = draw.integers(KNOWN_ROWS, size=count)  # evenly: favourites alone would be another distribution
        return {name: rows[places] for name, rows in self._known.items()}

    async def _joins(self, client: Client) -> None:
        """Several callers ask for the same new row at once."""
        while True:
            row = model.with_effort(model.usual(1, next(self._numbers)), USUAL_MILLISECONDS * 3)
            await asyncio.gather(*[_let(client.infer(row)) for _ in range(4)])
            await asyncio.sleep(0.3)

    async def _echo(self, client: Client) -> None:
        while True:
            await _let(client.infer({"x": np.array([[next(self._numbers)]], np.float32)}))
            await asyncio.sleep(PAUSE_SECONDS)

    def _mistake(self, client: Client) -> Iterator[Awaitable[object]]:
        rows = model.usual(1, seed=1)
        while True:
            yield client.infer({**rows, "features": rows["features"][:, :2]})
            yield client.infer({**rows, "features": rows["features"].astype(np.float64)})
            yield client.infer({"nothing": rows["features"]})

    def _trouble(self, client: Client) -> Iterator[Awaitable[object]]:
        while True:
            yield client.infer(model.with_effort(model.usual(1, next(self._numbers)), -5))
            slow = model.with_effort(model.usual(1, next(self._numbers)), 150)
            yield client.infer(slow, timeout=30_000)  # microseconds

    async def _overload(self, client: Client) -> None:
        async def caller() -> None:
            rows = model.with_effort(model.usual(model.MAX_BATCH, next(self._numbers)), CROWD_MILLISECONDS)
            await self._for_a_beat(client.infer(rows, parameters={"cache": False}) for _ in itertools.count())

        await asyncio.gather(*[caller() for _ in range(CROWD)])

    async def _spoil_redis(self) -> None:
        proxy, redis = self._scene.proxy, self._scene.redis
        for fault in (delaying(0.0, 0.03), cutting(0.5), corrupting(0.5)):
            proxy.fault = fault
            await asyncio.sleep(self._beat / 4)
        proxy.fault = passing
        redis.pause()
        await asyncio.sleep(max(self._beat / 2, 2.0))  # long enough to be seen by a scrape or two
        redis.resume()

    async def _spoil_gpu(self) -> None:
        gpu, echo = self._scene.gpu, self._scene.echo
        gpu.set(execute={"error": 2, "times": 4})  # out of memory, four times
        await asyncio.sleep(self._beat / 2)
        gpu.set(wrong_answers=True)
        await asyncio.to_thread(reload, echo)
        await asyncio.sleep(self._beat / 2)
        gpu.set(build={"fail": "told to"})
        add_version(self._scene.folder / "echo", 2)
        await asyncio.to_thread(load_again, echo)

    async def _roll_out(self) -> None:
        await asyncio.to_thread(model.publish_version, self._scene.repository, 2)
        done = await asyncio.to_thread(modelyard, "promote", model.NAME, "2", "--repository", self._scene.repository)
        assert done.code == 0, done.err
        self._versions = ["1", "2", "2", "2"]
        await self._rest()

    async def _drift(self, client: Client) -> None:
        """Two beats, and in any case so many rows that drift is measured on them."""
        self._shift, sent, end = True, 0, time.monotonic() + 2 * self._beat
        while sent < SHIFTED_ROWS or time.monotonic() < end:
            rows = model.with_effort(model.shifted(model.MAX_BATCH, next(self._numbers)), USUAL_MILLISECONDS)
            sent += model.MAX_BATCH * (await _let(client.infer(rows)) is not None)
            await asyncio.sleep(min(PAUSE_SECONDS, 2 * self._beat * model.MAX_BATCH / SHIFTED_ROWS))
        self._shift = False


async def _let(call: Awaitable[T]) -> T | None:
    try:
        return await call
    except REFUSED:
        return None
