"""The optional queue delay: it waits for a fuller batch, and for nothing once there is no more to win."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from modelyard.batching.batcher import Batcher
from modelyard.batching.cost import CostModel
from modelyard.batching.item import Item, Result

LONG = 60.0
"""Never waited out: a test that would need it times out at once."""


class Bench:
    def __init__(self, delay: float, max_batch_size: int = 4) -> None:
        self.ran: list[list[float]] = []
        self.pool = ThreadPoolExecutor(1)
        options: dict[str, Any] = {"executors": 1, "inline_seconds": 1.0, "cost": CostModel(0.0001)}
        self.batcher = Batcher(self.infer, self.pool, max_batch_size=max_batch_size, max_queue_delay=delay, **options)

    def infer(self, inputs: Any, _outputs: tuple[str, ...]) -> Any:
        self.ran.append(inputs[0].ravel().tolist())
        return inputs

    def submit(self, *rows: float, signature: str = "s", priority: int = 0) -> asyncio.Future[Result]:
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        inputs = [np.array(rows).reshape(-1, 1)]
        self.batcher.submit(Item(inputs, len(rows), signature, ("y",), future.set_result, lambda: True, priority))
        return future


async def test_what_arrives_within_the_delay_is_one_batch() -> None:
    b = Bench(0.05)
    first = b.submit(1)
    await asyncio.sleep(0.01)
    assert not b.ran
    await asyncio.gather(first, b.submit(2))
    assert b.ran == [[1, 2]]


async def test_a_batch_that_is_full_from_the_start_does_not_wait() -> None:
    b = Bench(LONG)
    async with asyncio.timeout(5):
        await b.submit(1, 2, 3, 4)


async def test_a_batch_that_fills_up_during_the_delay_runs_at_once() -> None:
    b = Bench(LONG)
    first = b.submit(1, 2)
    await asyncio.sleep(0.01)
    async with asyncio.timeout(2):
        await asyncio.gather(first, b.submit(3, 4))
    assert b.ran == [[1, 2, 3, 4]]


@pytest.mark.parametrize("priority", [0, 1])
async def test_a_full_batch_of_another_queue_does_not_wait_for_the_delay_of_the_first(priority: int) -> None:
    b = Bench(LONG)
    waiting = b.submit(1)
    await asyncio.sleep(0.01)
    async with asyncio.timeout(2):
        await b.submit(5, 6, 7, 8, signature="t", priority=priority)
    assert not waiting.done()
    assert b.ran == [[5, 6, 7, 8]]


async def test_without_a_batch_dimension_nothing_is_waited_for() -> None:
    b = Bench(LONG, max_batch_size=0)
    async with asyncio.timeout(5):
        await asyncio.gather(b.submit(1), b.submit(2))
    assert b.ran == [[1], [2]]
