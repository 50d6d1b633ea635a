"""A Redis tier and a model under the test's thumb: nothing answers before it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from modelyard.cache.key import Signature
from modelyard.cache.memory import MemoryStore
from modelyard.cache.response_cache import CacheIdentity, Done, Known, ResponseCache
from modelyard.cache.store import MISS, Key, Missing
from modelyard.call import settle as settle_future
from modelyard.errors import ModelyardError
from modelyard.tensors import Array, Tensor

MODEL = "cached"


class Queued:
    """Work in a queue, which is told when somebody may have been the last one to want it."""

    left = 0
    urged = False

    def leave(self) -> None:
        self.left += 1

    def urge(self) -> None:
        self.urged = True


@dataclass(eq=False)
class Call(Queued):
    """One call of the model."""

    inputs: list[list[float]]
    rows: int
    done: Done
    wanted: Callable[[], bool]
    priority: int

    def answer(self, outputs: Sequence[Array] | None = None) -> None:
        self.done([np.array(self.inputs, np.float32) * 10] if outputs is None else outputs)


class Model:
    """Keeps the calls; `refusal` is raised instead of queueing."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.refusal: ModelyardError | None = None

    def compute(
        self,
        inputs: Sequence[Tensor],
        rows: int,
        signature: Signature,  # noqa: ARG002
        done: Done,
        wanted: Callable[[], bool],
        priority: int,
    ) -> Queued:
        if self.refusal:
            raise self.refusal
        self.calls.append(call := Call(inputs[0].array.tolist(), rows, done, wanted, priority))
        return call


class FakeRedis:
    """The tier's port: entries in a dictionary; look-ups wait in `asked` unless `entries` is to answer at once."""

    def __init__(self, *, hold: bool = False) -> None:
        self._up = True
        self.hold = hold
        self.entries: dict[Key, bytes] = {}
        self.asked: list[tuple[Sequence[Key], asyncio.Future[list[bytes | Missing]]]] = []
        self.ttl = 0.0

    @property
    def up(self) -> bool:
        return self._up

    @property
    def seconds_per_key(self) -> float:
        return 1e-6

    @property
    def seconds_per_entry(self) -> float:
        return 2e-6

    def go_down(self) -> None:
        self._up = False

    def get(self, keys: Sequence[Key]) -> asyncio.Future[list[bytes | Missing]]:
        future: asyncio.Future[list[bytes | Missing]] = asyncio.get_running_loop().create_future()
        self.asked.append((keys, future))
        if not self.hold:
            self.answer()
        return future

    def answer(self) -> None:
        for keys, future in self.asked:
            if not future.done():
                future.set_result([self.entries.get(key, MISS) for key in keys])

    def set(self, entries: Mapping[Key, bytes], ttl: float) -> None:
        self.entries |= entries
        self.ttl = ttl

    def delete(self, keys: Sequence[Key]) -> None:
        for key in keys:
            self.entries.pop(key, None)

    async def ping(self) -> bool:
        return self.up

    async def close(self) -> None:
        self._up = False


class Bench:
    """A ResponseCache between a Model and the tiers."""

    def __init__(
        self,
        *,
        memory: bool = True,
        redis: FakeRedis | None = None,
        batched: bool = True,
        datatype: str = "FP32",
        factor: float = 0.0,
    ) -> None:
        self.model = Model()
        self.memory = MemoryStore(2**20) if memory else None
        self.batched = batched
        self.admitted: list[int] = []
        identity = CacheIdentity(MODEL, "digest", batched, {"y": datatype}, ttl=60.0)
        self.cache = ResponseCache(identity, self.memory, redis, self.model.compute, factor)

    async def ask(self, *rows: float, priority: int = 0, limit: float = 60.0) -> tuple[list[float], list[str]]:
        """The first number of each row's answer, and where each came from."""
        outputs, results = await self.infer(*self.request(*rows), self.admitted.append, priority, limit=limit)
        return outputs[0].reshape(-1).tolist(), results

    async def infer(
        self,
        inputs: Sequence[Tensor],
        signature: Signature,
        admit: Callable[[int], None],
        priority: int = 0,
        *,
        limit: float,
    ) -> Known:
        """As a pipeline does: submit, wait for the end, leave when it takes too long or the caller goes away."""
        future: asyncio.Future[Known] = asyncio.get_running_loop().create_future()
        waiter = self.cache.submit(inputs, signature, admit, partial(settle_future, future), priority)
        try:
            async with asyncio.timeout(limit):
                return await future
        finally:
            if waiter is not None:
                self.cache.leave(waiter)

    def request(self, *rows: float) -> tuple[list[Tensor], Signature]:
        inputs = [Tensor("x", "FP32", np.array(rows, np.float32).reshape(-1, 1))]
        return inputs, Signature.of(inputs, ("y",), {}, self.batched)

    def start(self, *rows: float, priority: int = 0) -> asyncio.Task[tuple[list[float], list[str]]]:
        return asyncio.get_running_loop().create_task(self.ask(*rows, priority=priority))


async def settle(turns: int = 5) -> None:
    """Let everything that can go on go on: some turns of the event loop, no time."""
    for _ in range(turns):
        await asyncio.sleep(0)
