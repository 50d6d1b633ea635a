"""Every setting under every number of connections, against the loaded model, in interleaved rounds.

    for each round, in a new order: for each (setting, concurrency): a slice of closed-loop load -> Tally

All settings share one loaded model; each has a Pipeline of its own, the one that a server would build from the same
model.yaml, except that the cache is off and that nothing is refused for its wait. Interleaving spreads what else the
machine does over all settings alike, and after the first round everything has a figure.
"""

import asyncio
import itertools
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from modelyard.errors import ConfigurationError, ModelyardError
from modelyard.pipeline import Pipeline, Shared
from modelyard.repository import LoadedVersion
from modelyard.settings import Settings
from modelyard.spec import LimitsSpec, ModelSpec
from modelyard.tensors import InferRequest, Tensor
from modelyard.tuning.grid import Setting
from modelyard.tuning.tally import Tally

ROUNDS = 3
DEADLINE_SECONDS = 120.0
"""A run that takes longer counts as an error: a sweep ends."""

Cell = tuple[Setting, int]
"""A setting and a number of connections."""
Results = dict[Cell, Tally]


class Sweep:
    def __init__(
        self, loaded: LoadedVersion, settings: Settings, requests: Sequence[list[Tensor]], grid: Iterable[Setting]
    ) -> None:
        self.stopped = False
        """Set it, and `measure` returns with what it has."""
        self._loaded = loaded
        self._settings = settings
        self._requests: Iterator[list[Tensor]] = itertools.cycle(requests)
        grid = list(grid)
        self._pool = ThreadPoolExecutor(max(setting.executors for setting in grid), thread_name_prefix="executor")
        self._pipelines = {setting: self._pipeline(setting) for setting in grid}

    async def try_out(self) -> None:
        """One request. Raises ConfigurationError with the model's reason when it is refused."""
        name = self._loaded.spec.name
        try:
            await self._ask(next(iter(self._pipelines.values())))
        except ModelyardError as error:
            raise ConfigurationError(
                f"'{name}' refuses the inputs to measure with ({error}): see --dim, or publish golden inputs"
            ) from None

    async def measure(
        self, grid: Sequence[Setting], levels: Sequence[int], seconds: float, advance: Callable[[], None]
    ) -> Results:
        """About `seconds` for each cell, over all rounds; `advance` is called after each slice."""
        results: Results = {}
        order: list[Cell] = list(itertools.product(grid, levels))
        shuffle = random.Random(0).shuffle  # noqa: S311  (an order, no secret)
        for _ in range(ROUNDS):
            shuffle(order)
            for setting, concurrency in order:
                if self.stopped:
                    return results
                tally = results.get((setting, concurrency))
                if tally is None:
                    tally = results[setting, concurrency] = Tally()
                    await self._slice(setting, concurrency, 0.0, Tally())  # one request for each connection: warm-up
                await self._slice(setting, concurrency, seconds / ROUNDS, tally)
                advance()
        return results

    def close(self) -> None:
        self._loaded.chain.close()
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _slice(self, setting: Setting, concurrency: int, seconds: float, tally: Tally) -> None:
        """Closed loop: each connection asks again as soon as it was answered. Every request that was begun counts,
        with the time that it took to end, so that slow models are measured as rightly as fast ones.
        """
        pipeline = self._pipelines[setting]
        started = time.perf_counter()
        await asyncio.gather(*(self._connection(pipeline, started + seconds, tally) for _ in range(concurrency)))
        tally.seconds += time.perf_counter() - started

    async def _connection(self, pipeline: Pipeline, until: float, tally: Tally) -> None:
        while True:
            began = time.perf_counter()
            try:
                await self._ask(pipeline)
            except ModelyardError:
                tally.errors += 1
                await asyncio.sleep(0)  # a refusal may come without a turn of the event loop, which others wait for
            else:
                tally.add(time.perf_counter() - began)
            if self.stopped or time.perf_counter() >= until:
                return

    async def _ask(self, pipeline: Pipeline) -> None:
        await pipeline.infer(InferRequest(self._loaded.spec.name, next(self._requests)))

    def _pipeline(self, setting: Setting) -> Pipeline:
        changed = replace(self._loaded, spec=_tuned(self._loaded.spec, setting))
        return Pipeline(changed, Shared(self._settings, setting.executors, self._pool, memory=None, redis=None))


def _tuned(spec: ModelSpec, setting: Setting) -> ModelSpec:
    limits = LimitsSpec(queue_seconds=DEADLINE_SECONDS, deadline_seconds=DEADLINE_SECONDS)
    cache = spec.cache.model_copy(update={"enabled": False})
    return spec.model_copy(update={"batching": setting.applied(spec.batching), "limits": limits, "cache": cache})
