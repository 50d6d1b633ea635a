"""The model `scale` of the cache tests, and a look into the Redis that keeps its answers.

y = x @ WEIGHT + BIAS with x FP32 [-1, 2] and y FP32 [-1, 3]: every row has an answer of its own. Its
model.yaml leaves the memory tier out, so that every kept answer comes from Redis.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import redis

from tests.integration.calls import Answer, Array, Client, ask, until
from tests.integration.harness import Server, import_model
from tests.integration.onnx_models import affine

NAME = "scale"
WEIGHT = np.array([[1, 2, 3], [4, 5, 6]], dtype=np.float32)
BIAS = np.array([0.5, 0.25, 0.125], dtype=np.float32)
BATCH = 32


def only_redis(spec: dict[str, Any]) -> None:
    """Leave the memory tier out of a model.yaml."""
    spec["cache"] = {**spec.get("cache", {}), "tiers": ["redis"]}


def import_scale(repository: Path, weight: Array = WEIGHT, version: str = "1") -> None:
    """Import a version of `scale`."""
    import_model(repository, NAME, affine(weight, BIAS), version=version, edit=only_redis)


def rows(first: int, count: int) -> Array:
    """`count` different rows [count, 2], the same ones for the same `first`."""
    numbers = np.arange(first, first + count, dtype=np.float32)
    return np.stack([numbers, -2 * numbers], axis=1)


def check(answer: Answer, x: Array, weight: Array = WEIGHT) -> None:
    """The answer is that of the rows `x`."""
    np.testing.assert_allclose(answer.only, x @ weight + BIAS, rtol=1e-5, atol=1e-3)


def ask_scale(server: Server, x: Array, protocol: str = "http", weight: Array = WEIGHT) -> str:
    """Ask for `x`, check the answer, and say what the cache did."""
    answer = ask(server, {"x": x}, protocol)
    check(answer, x, weight)
    return answer.cache


async def timed(client: Client, x: Array) -> float:
    """Ask for `x`, check the answer, and give the seconds that it took."""
    began = time.perf_counter()
    answer = await client.infer({"x": x})
    seconds = time.perf_counter() - began
    check(answer, x)
    return seconds


def fill(server: Server, store: redis.Redis, x: Array) -> None:
    """Ask for all rows of `x` and wait until Redis holds as many more entries."""
    wanted = count_keys(store) + len(x)
    for start in range(0, len(x), BATCH):
        ask_scale(server, x[start : start + BATCH])
    until(lambda: count_keys(store) == wanted, f"{wanted} entries in Redis")


def count_keys(store: redis.Redis) -> int:
    """How many keys Redis holds."""
    count: Any = store.dbsize()
    return int(count)


def all_keys(store: redis.Redis) -> list[bytes]:
    """Every key, sorted."""
    found: Any = store.keys("*")
    return sorted(found)


def all_values(store: redis.Redis) -> list[bytes]:
    """The values of all keys, in the order of the keys."""
    found: Any = store.mget(all_keys(store))
    return list(found)
