"""A batcher under the test's thumb: a gate holds the model."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from modelyard.batching.batcher import Batcher
from modelyard.batching.cost import CostModel
from modelyard.batching.item import Execution, Item, Result
from modelyard.tensors import Array


class Bench:
    """A batcher whose model writes down what it ran; `gate` closed makes it wait. y = 10 x; x < 0 fails the run."""

    def __init__(
        self, executors: int = 1, max_batch_size: int = 8, *, row_seconds: float = 1.0, **options: Any
    ) -> None:
        self.cost = CostModel(row_seconds)
        self.pool = ThreadPoolExecutor(executors)
        self.ran: list[list[float]] = []
        self.threads: list[int] = []
        self.gate = threading.Event()
        self.gate.set()
        self.started = threading.Semaphore(0)
        self.executions: list[Execution] = []
        self.items: list[Item] = []
        self.batcher = Batcher(
            self.infer,
            self.pool,
            executors=executors,
            max_batch_size=max_batch_size,
            cost=self.cost,
            observe=self.executions.append,
            **options,
        )

    def infer(self, inputs: Sequence[Array], _outputs: tuple[str, ...]) -> list[Array]:
        self.ran.append(inputs[0].ravel().tolist())
        self.threads.append(threading.get_ident())
        self.started.release()
        assert self.gate.wait(10)
        if (inputs[0] < 0).any():
            raise RuntimeError("a row is negative")
        return [inputs[0] * 10]

    def submit(
        self,
        *rows: float,
        priority: int = 0,
        signature: str = "s",
        wanted: Callable[[], bool] = lambda: True,
        nbytes: int = 0,
    ) -> asyncio.Future[Result]:
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        inputs = [np.array(rows, np.float64).reshape(-1, 1)]
        item = Item(inputs, len(rows), signature, ("y",), future.set_result, wanted, priority, nbytes)
        self.items.append(self.batcher.submit(item))
        return future

    async def occupy(self) -> asyncio.Future[Result]:
        """Close the gate and wait until an executor stands before it."""
        self.gate.clear()
        held = self.submit(0)
        await asyncio.sleep(0)
        assert await asyncio.to_thread(self.started.acquire, timeout=10)
        return held


Make = Callable[..., Bench]
