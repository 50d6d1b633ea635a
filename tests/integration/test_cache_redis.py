"""What processes share through Redis, and what keeps answers of different questions apart."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import redis
from onnx import helper

from tests.integration import scale_model
from tests.integration.calls import Answer, Array, ask, connect, row, until
from tests.integration.harness import RedisServer, Server, import_model, redis_server, serve
from tests.integration.onnx_models import build, identity, value
from tests.integration.scale_model import (
    WEIGHT,
    all_keys,
    ask_scale,
    check,
    count_keys,
    fill,
    import_scale,
    only_redis,
    rows,
)


@pytest.fixture(scope="module")
def redis_process() -> Iterator[RedisServer]:
    """One Redis for the file."""
    with redis_server() as server:
        yield server


@pytest.fixture
def store(redis_process: RedisServer) -> Iterator[redis.Redis]:
    """An empty Redis, as the test's own client sees it."""
    with redis.Redis(port=redis_process.port) as client:
        client.flushall()
        yield client


@pytest.fixture(scope="module")
def environment(redis_process: RedisServer) -> Mapping[str, str]:
    """Settings of a server that shares the Redis; no timeout can make a hit look like a miss."""
    return {"MODELYARD_REDIS_URL": redis_process.url, "MODELYARD_REDIS_TIMEOUT_SECONDS": "2"}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with version 1 of `scale`."""
    folder = tmp_path_factory.mktemp("first")
    import_scale(folder)
    return folder


@pytest.fixture(scope="module")
def first(repository: Path, environment: Mapping[str, str]) -> Iterator[Server]:
    """A server of version 1 of `scale`."""
    with serve(repository, scale_model.NAME, environment) as server:
        yield server


def test_a_second_process_answers_from_what_the_first_computed(
    first: Server, repository: Path, store: redis.Redis, environment: Mapping[str, str]
) -> None:
    x = rows(0, 6)
    fill(first, store, x)
    with serve(repository, scale_model.NAME, environment) as second:
        assert ask_scale(second, x[:4], "http") == "hit"
        assert ask_scale(second, x[4:], "grpc") == "hit"
        assert second.metric("modelyard_cache_rows_total", model="scale", result="hit_redis") == 6
        assert second.metric("modelyard_cache_rows_total", model="scale", result="miss") == 0
        assert second.metric("modelyard_batch_rows_count", model="scale") == 0
        assert second.statistics()["execution_count"] == 0
        assert second.metric("modelyard_cache_up") == 1
        assert ask_scale(second, np.concatenate([x[:3], rows(900, 2)])) == "partial"
        assert second.metric("modelyard_batch_rows_sum", model="scale") == 2


def test_other_weights_never_share_an_answer(
    first: Server, repository: Path, tmp_path: Path, store: redis.Redis, environment: Mapping[str, str]
) -> None:
    """Version 2 of the same repository, and version 1 of another repository that uses the same name."""
    x = rows(1000, 4)
    fill(first, store, x)
    newer, other = WEIGHT * 10, WEIGHT - 7
    shutil.copytree(repository, tmp_path / "newer")
    import_scale(tmp_path / "newer", newer, version="2")
    import_scale(tmp_path / "other", other)
    with (
        serve(tmp_path / "newer", scale_model.NAME, environment) as second,
        serve(tmp_path / "other", scale_model.NAME, environment) as third,
    ):
        assert ask(second, {"x": x}).version == "2"
        for _ in range(2):
            for server, weight in ((first, WEIGHT), (second, newer), (third, other)):
                ask_scale(server, x, "http", weight)
                ask_scale(server, x, "grpc", weight)
        until(lambda: count_keys(store) == 3 * len(x), "three sets of entries")
        assert ask_scale(second, x, weight=newer) == "hit"
        assert ask_scale(third, x, weight=other) == "hit"
        for server in (first, second, third):
            assert server.metric("modelyard_cache_rows_total", result="corrupt") == 0


def matrices() -> onnx.ModelProto:
    """Two inputs a, b FP32 of any two dimensions; the outputs are their transposes."""
    nodes = [helper.make_node("Transpose", [name], [f"{name}_turned"]) for name in ("a", "b")]
    inputs = [value(name, "FP32", (-1, -1)) for name in ("a", "b")]
    return build(nodes, inputs, [value(f"{name}_turned", "FP32", (-1, -1)) for name in ("a", "b")])


def test_shape_input_name_and_wanted_outputs_are_part_of_the_key(
    tmp_path: Path, store: redis.Redis, environment: Mapping[str, str]
) -> None:
    def edit(spec: dict[str, Any]) -> None:
        only_redis(spec)
        spec["batching"] = {**spec.get("batching", {}), "max_batch_size": 0}

    import_model(tmp_path, "matrices", matrices(), edit=edit)
    wide = np.arange(6, dtype=np.float32).reshape(2, 3)
    tall = wide.reshape(3, 2)
    assert wide.tobytes() == tall.tobytes()
    pairs = [(wide, wide), (tall, tall), (wide, tall), (tall, wide), (wide, wide + 1), (wide + 1, wide)]
    with serve(tmp_path, "matrices", {**environment, "MODELYARD_REDIS_PREFIX": "other/"}) as server:
        for a, b in pairs:
            assert turned(server, a, b)[0] == "miss"
        for a, b in pairs:
            until(partial(all_hits, server, a, b), "hits for everything asked before")
        assert all(key.startswith(b"other/") for key in all_keys(store))


def all_hits(server: Server, a: Array, b: Array) -> bool:
    """Whether each of the three questions of `turned` is answered from the cache."""
    return set(turned(server, a, b)) == {"hit"}


def turned(server: Server, a: Array, b: Array) -> list[str]:
    """Ask for both outputs and for each alone; the answers are right; say what the cache did."""
    right = {"a_turned": a.T, "b_turned": b.T}
    said: list[str] = []
    for wanted in (("a_turned", "b_turned"), ("a_turned",), ("b_turned",)):
        answer: Answer = ask(server, {"a": a, "b": b}, outputs=wanted)
        assert set(answer.outputs) == set(wanted)
        for name in wanted:
            np.testing.assert_array_equal(answer.outputs[name], right[name])
        said.append(answer.cache)
    return said


def test_equal_bytes_of_another_datatype_do_not_collide(
    tmp_path: Path, store: redis.Redis, environment: Mapping[str, str]
) -> None:
    floats = row(1.5, -2.0, 3.25)
    questions = {"FP32": floats, "INT32": floats.view(np.int32)}
    for datatype in questions:
        import_model(tmp_path / datatype, "same", identity(datatype, (-1, 3)), edit=only_redis)
    with (
        serve(tmp_path / "FP32", "same", environment) as floating,
        serve(tmp_path / "INT32", "same", environment) as whole,
    ):
        for _ in range(2):
            for server, x in ((floating, questions["FP32"]), (whole, questions["INT32"])):
                answer = ask(server, {"x": x}).only
                assert answer.dtype == x.dtype
                np.testing.assert_array_equal(answer, x)
        until(lambda: count_keys(store) == 2, "an entry of each")


def test_a_burst_of_cold_rows_does_not_take_redis_down(first: Server, store: redis.Redis) -> None:
    """Many different questions at once, all unknown: a healthy Redis stays in use."""
    x = rows(20_000, 600)

    async def body() -> None:
        async with connect(first, "http", 300) as over_http, connect(first, "grpc") as over_grpc:
            clients = [over_http, over_grpc] * (len(x) // 2)
            calls = [client.infer({"x": x[index : index + 1]}) for index, client in enumerate(clients)]
            for index, answer in enumerate(await asyncio.gather(*calls)):
                check(answer, x[index : index + 1])

    def failures() -> float:
        return sum(first.metric("modelyard_cache_errors_total", tier="redis", reason=r) for r in reasons)

    reasons = ("connection", "timeout", "response")
    before = failures()
    asyncio.run(body())
    until(lambda: count_keys(store) > 0, "entries in Redis")
    assert failures() == before
    assert first.metric("modelyard_cache_up") == 1
