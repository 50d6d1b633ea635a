"""What waits is spread over executors that would idle, where the parts are done sooner than the whole."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from modelyard.batching.batcher import Batcher
from modelyard.batching.cost import CostModel
from modelyard.batching.item import Item, Result
from modelyard.tensors import Array

LINEAR = {1: 0.04, 2: 0.08, 4: 0.16, 8: 0.32, 16: 0.64}
FLAT = dict.fromkeys(LINEAR, 0.04)
TINY = {rows: rows * 1e-5 for rows in LINEAR}


async def runs(seconds: dict[int, float], requests: Sequence[int], executors: int = 2, **options: Any) -> list[int]:
    """The rows of each run, largest first, for requests of so many rows that arrive at once."""
    sizes: list[int] = []
    cost = CostModel(seconds[1])
    for rows, each in seconds.items():
        cost.observe(rows, each)

    def infer(inputs: Sequence[Array], _: tuple[str, ...]) -> list[Array]:
        sizes.append(len(inputs[0]))
        return [inputs[0] * 10]

    barred = options.pop("barred", False)
    with ThreadPoolExecutor(executors) as pool:
        batcher = Batcher(infer, pool, executors=executors, cost=cost, **{"max_batch_size": 16, **options})
        batcher.in_loop.barred = barred
        futures: list[asyncio.Future[Result]] = []
        for number, rows in enumerate(requests):
            futures.append(asyncio.get_running_loop().create_future())
            inputs = [np.full((rows, 1), number)]
            batcher.submit(Item(inputs, rows, "s", ("y",), futures[-1].set_result, lambda: True))
        for number, (rows, result) in enumerate(zip(requests, await asyncio.gather(*futures), strict=True)):
            assert not isinstance(result, Exception)
            assert result[0].tolist() == [[number * 10]] * rows
    return sorted(sizes, reverse=True)


@pytest.mark.parametrize(
    ("requests", "executors", "wanted"),
    [
        ([1] * 8, 2, [4, 4]),
        ([1] * 7, 2, [4, 3]),
        ([1] * 8, 3, [3, 3, 2]),
        ([1] * 8, 1, [8]),
        ([1] * 2, 4, [1, 1]),
        ([1], 4, [1]),
        ([8], 2, [8]),
        ([3, 3, 2], 2, [5, 3]),
    ],
)
async def test_a_model_whose_runs_take_longer_with_more_rows_uses_every_executor(
    requests: list[int], executors: int, wanted: list[int]
) -> None:
    assert await runs(LINEAR, requests, executors) == wanted


@pytest.mark.parametrize("seconds", [FLAT, TINY, {1: 0.04}], ids=["flat", "tiny", "never measured"])
async def test_where_parts_are_not_done_sooner_the_batch_stays_whole(seconds: dict[int, float]) -> None:
    assert await runs(seconds, [1] * 8) == [8]


async def test_on_a_device_and_with_a_queue_delay_the_batch_stays_whole() -> None:
    assert await runs(LINEAR, [1] * 8, barred=True) == [8]
    assert await runs(LINEAR, [1] * 16, max_queue_delay=60.0) == [16]


async def test_what_may_run_in_the_event_loop_stays_whole() -> None:
    assert await runs(LINEAR, [1] * 8, inline_seconds=1.0) == [8]
