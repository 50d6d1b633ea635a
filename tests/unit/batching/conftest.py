"""Makes batchers, and lets go of their threads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from tests.unit.batching.bench import Bench


@pytest.fixture(name="bench")
async def _bench() -> AsyncIterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def make(*arguments: Any, **options: Any) -> Bench:
        made.append(Bench(*arguments, **options))
        return made[-1]

    yield make
    for each in made:
        each.gate.set()
        each.pool.shutdown()
    await asyncio.sleep(0)
