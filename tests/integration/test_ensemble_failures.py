"""A member that fails, refuses, is slow or is not there: the ensemble says so, and nothing of it is left behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper
from tritonclient.utils import InferenceServerException

from tests.integration import wire
from tests.integration.calls import PROTOCOLS, Answer, ask, ask_all, connect, row, settled, try_all, until, until_true
from tests.integration.ensemble_models import (
    LEFT,
    NAME,
    RIGHT,
    bring,
    document,
    member,
    of,
    repository_of,
    requests,
    tensor,
    works,
)
from tests.integration.harness import Server, serve
from tests.integration.onnx_models import build, gather_table, value

ONE_BY_ONE = {"batching": {"max_batch_size": 1}, "cache": {"enabled": False}}
THREADED = {"MODELYARD_EXECUTORS": "1", "MODELYARD_INLINE_SECONDS": "0"}
"""One thread runs everything, the event loop nothing: a long row is waited for by all."""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`both`, `left` and `right`."""
    return repository_of(tmp_path_factory.mktemp("ensemble"))


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`both`: `right` takes as many milliseconds as its row says, one row at a time."""
    folder = repository_of(tmp_path_factory.mktemp("slow"), **ONE_BY_ONE)
    with serve(folder, NAME, THREADED) as running:
        yield running


@pytest.fixture(scope="module")
def risky(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """index INT64 [-1, 1] -> table (fails outside of 100 rows) and plain (cannot fail) -> their sum [-1, 2]."""
    folder = tmp_path_factory.mktemp("risky")
    index, found, sums = tensor("index", "INT64"), tensor("row", "FP32", 2), tensor("sum", "FP32", 2)
    bring(folder, document("table", [index], [found]), gather_table(100))
    bring(folder, document("plain", [index], [found]), as_floats())
    parts = [member(model, {"row": f"{model}_row"}, {"index": "index"}) for model in ("table", "plain")]
    bring(folder, document("risky", [index], [sums], ensemble=parts), added())
    with serve(folder, "risky") as running:
        yield running


def as_floats() -> Any:
    """index -> row = (index, index)."""
    nodes = [
        helper.make_node("Cast", ["index"], ["number"], to=1),
        helper.make_node("Concat", ["number", "number"], ["row"], axis=1),
    ]
    return build(nodes, [value("index", "INT64", (-1, 1))], [value("row", "FP32", (-1, 2))])


def added() -> Any:
    """table_row + plain_row."""
    inputs = [value(name, "FP32", (-1, 2)) for name in ("table_row", "plain_row")]
    node = helper.make_node("Add", ["table_row", "plain_row"], ["sum"])
    return build([node], inputs, [value("sum", "FP32", (-1, 2))])


def settled_down(server: Server) -> None:
    """Nothing is in flight, in no model."""
    until(lambda: server.metric("modelyard_in_flight_requests") == 0, "nothing is in flight")
    assert server.metric("modelyard_queue_rows") == 0


@asynccontextmanager
async def occupied(server: Server, milliseconds: int) -> AsyncIterator[None]:
    """The only thread runs a row of `right` while the block begins."""
    async with connect(of(server, RIGHT), "grpc") as client:
        call = asyncio.create_task(client.infer({"x": row(milliseconds)}))
        await until_true(
            lambda: (
                server.metric("modelyard_in_flight_requests", model=RIGHT) == 1
                and server.metric("modelyard_queue_rows", model=RIGHT) == 0
            ),
            "the thread is occupied",
        )
        yield
        await call


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_member_that_fails_fails_the_request_and_nobody_elses(risky: Server, protocol: str) -> None:
    indices = [np.array([[index]]) for index in (1, 2, 1000, 3, 4)]
    failures = requests(risky, "risky", protocol, "error")
    of_member = requests(risky, "table", "ensemble", "error")
    answers = try_all(risky, [{"index": index} for index in indices], protocol)
    for index, answer in zip(indices, answers, strict=True):
        number = int(index[0, 0])
        if number == 1000:
            assert isinstance(answer, InferenceServerException)
            assert "member 'table'" in str(answer)
            assert "1000" not in str(answer), "the input is not quoted"
            continue
        assert isinstance(answer, Answer), answer
        np.testing.assert_array_equal(answer.only, [[2 * number, 11 * number]])
    assert requests(risky, "risky", protocol, "error") - failures == 1
    assert requests(risky, "table", "ensemble", "error") - of_member == 1
    settled_down(risky)


def test_the_status_is_that_of_the_members_failure(risky: Server) -> None:
    request = {"inputs": [{"name": "index", "datatype": "INT64", "shape": [1, 1], "data": [1000]}]}
    assert "member 'table'" in wire.post_json(risky, "/v2/models/risky/infer", request).refused(500)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_deadline_of_the_caller_holds_for_all_parts(slow: Server, protocol: str) -> None:
    late = requests(slow, NAME, protocol, "timeout")
    part = {outcome: requests(slow, RIGHT, "ensemble", outcome) for outcome in ("timeout", "cancelled")}
    with pytest.raises(InferenceServerException, match="deadline"):
        ask(slow, {"x": row(1500)}, protocol, timeout=300_000)  # microseconds
    assert requests(slow, NAME, protocol, "timeout") - late == 1
    assert sum(requests(slow, RIGHT, "ensemble", outcome) - count for outcome, count in part.items()) == 1
    settled_down(slow)
    works(slow)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_work_of_a_client_that_left_is_not_run_in_any_part(slow: Server, protocol: str) -> None:
    before = {model: requests(slow, model, "ensemble", "cancelled") for model in (LEFT, RIGHT)}
    gone = requests(slow, NAME, protocol, "cancelled")
    runs = slow.statistics(RIGHT)["execution_count"]

    async def body() -> None:
        async with connect(slow, protocol) as client, occupied(slow, 3000):
            leaving = asyncio.create_task(client.infer({"x": row(600)}))
            await until_true(lambda: slow.metric("modelyard_queue_rows", model=RIGHT) == 1, "it waits")
            leaving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await leaving
            await until_true(lambda: requests(slow, NAME, protocol, "cancelled") == gone + 1, "the leave is counted")
            assert requests(slow, RIGHT, "ensemble", "cancelled") - before[RIGHT] == 1

    asyncio.run(body())
    settled_down(slow)
    assert slow.statistics(RIGHT)["execution_count"] - runs == 1
    works(slow)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_member_that_is_overloaded_refuses_for_the_ensemble(tmp_path: Path, protocol: str) -> None:
    folder = repository_of(tmp_path, **ONE_BY_ONE)
    path = folder / RIGHT / "model.yaml"
    path.write_text(path.read_text().replace("queue_seconds: 60.0", "queue_seconds: 0.3"))

    async def body(server: Server) -> list[Answer | BaseException]:
        async with connect(server, protocol) as client:
            for _ in range(6):  # what a row costs is known by measuring
                await client.infer({"x": row(300)})
            calls = [asyncio.create_task(client.infer({"x": row(300)})) for _ in range(8)]
            return await settled(calls)

    with serve(folder, NAME, THREADED) as server:
        answers = asyncio.run(body(server))
        refused = [answer for answer in answers if isinstance(answer, BaseException)]
        assert refused, "some must be"
        assert len(refused) < len(answers), "and some not"
        assert all("'right' is overloaded" in str(answer) for answer in refused), refused
        assert requests(server, NAME, protocol, "shed") == len(refused)
        assert server.metric("modelyard_shed_total", model=RIGHT) == len(refused)
        settled_down(server)


def test_a_member_that_is_taken_away_makes_the_ensemble_not_ready(repository: Path) -> None:
    with serve(repository, NAME, {"MODELYARD_ADMIN": "true"}) as server:
        works(server)
        assert wire.post_json(server, f"/v2/repository/models/{LEFT}/unload", {}).status == 200
        assert server.status(f"/v2/models/{NAME}/ready") == 503
        assert server.status("/v2/health/ready") == 503
        request = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [0.5]}]}
        assert "left" in wire.post_json(server, f"/v2/models/{NAME}/infer", request).refused(503)
        np.testing.assert_array_equal(ask(of(server, RIGHT), {"x": row(0.25)}).only, row(0.25))
        assert wire.post_json(server, f"/v2/repository/models/{LEFT}/load", {}).status == 200
        until(lambda: server.status(f"/v2/models/{NAME}/ready") == 200, "it is ready again")
        works(server)


def test_a_burst_of_calls_that_all_leave_leaves_nothing(slow: Server) -> None:
    async def body() -> None:
        async with connect(slow, "http") as client, occupied(slow, 4000):
            calls = [asyncio.create_task(client.infer({"x": row(100 + number)})) for number in range(12)]
            await until_true(lambda: slow.metric("modelyard_queue_rows", model=RIGHT) == 12, "all wait")
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)

    asyncio.run(body())
    settled_down(slow)
    works(slow)
    assert len(ask_all(slow, [{"x": row(number)} for number in range(8)], "grpc")) == 8
