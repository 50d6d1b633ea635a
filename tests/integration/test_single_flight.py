"""Identical rows in flight are computed once, known rows not at all.

The model takes as many milliseconds as its input says and answers the input: a row that is asked for is in flight for
as long as the test wants, and rows at or below zero cost nothing.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from tests.integration.calls import PROTOCOLS, Answer, Array, ask, ask_all, connect, row, settled, until_true
from tests.integration.harness import Server, import_model, serve
from tests.integration.onnx_models import slow_by_input

NAME = "sleeper"
HERD = 500
_offsets = itertools.count(1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of the model on one executor."""
    folder = tmp_path_factory.mktemp("repository")
    import_model(folder, NAME, slow_by_input())
    with serve(folder, NAME, {"MODELYARD_EXECUTORS": "1"}) as running:
        yield running


def cold(milliseconds: int) -> Array:
    """A row that nobody asked for yet and that takes about `milliseconds`."""
    return row(milliseconds + next(_offsets) / 64)


def free_rows(count: int) -> Array:
    """`count` rows that nobody asked for yet and that cost nothing: [count, 1]."""
    return np.array([[-1000.0 * next(_offsets) - index] for index in range(count)], dtype=np.float32)


class Counts:
    """What the server has computed and joined since this was made."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._before = self._now()

    def _now(self) -> dict[str, float]:
        return {
            "executions": float(self._server.statistics()["execution_count"]),
            "computed rows": self._server.metric("modelyard_batch_rows_sum", model=NAME),
            "joins": self._server.metric("modelyard_cache_rows_total", model=NAME, result="join"),
            "memory hits": self._server.metric("modelyard_cache_rows_total", model=NAME, result="hit_memory"),
            "misses": self._server.metric("modelyard_cache_rows_total", model=NAME, result="miss"),
        }

    def since(self, what: str) -> float:
        return self._now()[what] - self._before[what]


def in_flight(server: Server, count: int) -> bool:
    """Whether `count` requests are being answered."""
    return server.metric("modelyard_in_flight_requests", model=NAME) == count


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_herd_on_a_cold_key_runs_the_model_once(server: Server, protocol: str) -> None:
    counts = Counts(server)
    x = cold(1500)
    answers = ask_all(server, [{"x": x}] * HERD, protocol)
    assert len(answers) == HERD
    for answer in answers:
        np.testing.assert_array_equal(answer.only, x)
    assert counts.since("executions") == 1
    assert counts.since("computed rows") == 1
    assert counts.since("misses") == 1
    assert counts.since("joins") + counts.since("memory hits") == HERD - 1
    said = [answer.cache for answer in answers]
    assert said.count("miss") == 1
    assert said.count("join") == counts.since("joins")


def test_both_protocols_join_the_same_row(server: Server) -> None:
    counts = Counts(server)
    x = cold(1000)

    async def body() -> list[Answer]:
        async with connect(server, "http") as over_http, connect(server, "grpc") as over_grpc:
            return list(await asyncio.gather(over_http.infer({"x": x}), over_grpc.infer({"x": x})))

    for answer in asyncio.run(body()):
        np.testing.assert_array_equal(answer.only, x)
    assert counts.since("executions") == 1
    assert counts.since("joins") == 1


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_cancelling_the_first_harms_no_other(server: Server, protocol: str) -> None:
    counts = Counts(server)
    x = cold(1500)
    followers = 20

    async def body() -> list[Answer | BaseException]:
        async with connect(server, protocol) as leading, connect(server, protocol) as client:
            leader = asyncio.create_task(leading.infer({"x": x}))
            await until_true(lambda: in_flight(server, 1), "the leader is in flight")
            calls = [asyncio.create_task(client.infer({"x": x})) for _ in range(followers)]
            await until_true(lambda: in_flight(server, 1 + followers), "all are in flight")
            leader.cancel()
            with pytest.raises(asyncio.CancelledError):
                await leader
            return await settled(calls)

    for answer in asyncio.run(body()):
        assert isinstance(answer, Answer), answer
        np.testing.assert_array_equal(answer.only, x)
    assert counts.since("executions") == 1
    assert server.metric("modelyard_in_flight_requests", model=NAME) == 0


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_leader_whose_time_is_up_harms_no_other(server: Server, protocol: str) -> None:
    counts = Counts(server)
    x = cold(1200)

    async def body() -> list[Answer | BaseException]:
        async with connect(server, protocol) as client:
            leader = asyncio.create_task(client.infer({"x": x}, timeout=300_000))
            await until_true(lambda: in_flight(server, 1), "the leader is in flight")
            calls = [asyncio.create_task(client.infer({"x": x})) for _ in range(5)]
            with pytest.raises(InferenceServerException):
                await leader
            return await settled(calls)

    for answer in asyncio.run(body()):
        assert isinstance(answer, Answer), answer
        np.testing.assert_array_equal(answer.only, x)
    assert counts.since("executions") == 1


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_row_that_was_given_up_can_be_asked_again(server: Server, protocol: str) -> None:
    """Its only caller leaves while it waits behind another row; nobody may find it dead in the way afterwards."""
    x = cold(5)

    async def body() -> Answer:
        async with connect(server, protocol) as client, connect(server, protocol) as leaving:
            ahead = asyncio.create_task(client.infer({"x": cold(800)}))
            await until_true(lambda: in_flight(server, 1), "a row is in flight")
            given_up = asyncio.create_task(leaving.infer({"x": x}))
            await until_true(lambda: in_flight(server, 2), "another one waits")
            given_up.cancel()
            await until_true(lambda: in_flight(server, 1), "its caller left")
            await ahead
            return await asyncio.wait_for(client.infer({"x": x}), 5)

    np.testing.assert_array_equal(asyncio.run(body()).only, x)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_of_a_batch_only_the_unknown_rows_are_computed(server: Server, protocol: str) -> None:
    x = free_rows(32)
    known = np.concatenate([x[:7], x[8:20], x[21:]])
    assert len(known) == 30
    assert ask(server, {"x": known}, protocol).cache == "miss"
    counts = Counts(server)
    answer = ask(server, {"x": x}, protocol)
    np.testing.assert_array_equal(answer.only, x)
    assert answer.cache == "partial"
    assert counts.since("computed rows") == 2
    assert counts.since("misses") == 2
    assert counts.since("memory hits") == 30
    again = ask(server, {"x": x[::-1].copy()}, protocol)
    np.testing.assert_array_equal(again.only, x[::-1])
    assert again.cache == "hit"
    assert counts.since("computed rows") == 2


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_equal_rows_of_one_batch_are_computed_once(server: Server, protocol: str) -> None:
    different = free_rows(4)
    order = np.array([0, 1, 0, 2, 3, 3, 3, 1] * 4)
    counts = Counts(server)
    answer = ask(server, {"x": different[order]}, protocol)
    np.testing.assert_array_equal(answer.only, different[order])
    assert counts.since("computed rows") == 4


def test_a_row_in_flight_is_joined_by_a_batch_that_holds_it(server: Server) -> None:
    counts = Counts(server)
    x, others = cold(1000), free_rows(3)

    async def body() -> tuple[Answer, Answer]:
        async with connect(server, "http") as client:
            alone = asyncio.create_task(client.infer({"x": x}))
            await until_true(lambda: in_flight(server, 1), "the row is in flight")
            batch = await client.infer({"x": np.concatenate([others, x])})
            return await alone, batch

    alone, batch = asyncio.run(body())
    np.testing.assert_array_equal(alone.only, x)
    np.testing.assert_array_equal(batch.only, np.concatenate([others, x]))
    assert counts.since("joins") == 1
    assert counts.since("computed rows") == 4
