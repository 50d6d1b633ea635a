"""Requests that wait together run together; a bad one fails alone; what nobody waits for is not run.

The model takes as many milliseconds as the largest row of its batch says: while one long row runs on the only
executor, everything else waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from tests.integration.calls import (
    PROTOCOLS,
    Answer,
    Client,
    ask,
    ask_all,
    connect,
    row,
    settled,
    try_all,
    until,
    until_true,
)
from tests.integration.harness import Server, import_model, serve
from tests.integration.onnx_models import slow, slow_by_input

NAME = "waiting"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The model on one executor, batches of 32, without cache."""

    def edit(spec: dict[str, Any]) -> None:
        spec["batching"]["max_batch_size"] = 32
        spec["cache"] = {"enabled": False}
        spec["limits"] = {"queue_seconds": 60.0}  # no test of admission

    folder = tmp_path_factory.mktemp("repository")
    import_model(folder, NAME, slow_by_input(), edit=edit)
    with serve(folder, NAME, {"MODELYARD_EXECUTORS": "1"}) as running:
        yield running


def batches(server: Server) -> dict[int, int]:
    """Rows in a batch to the number of such runs so far."""
    found = server.statistics()["batch_stats"]
    return {int(entry["batch_size"]): int(entry["compute_infer"]["count"]) for entry in found}


def batches_since(server: Server, before: dict[int, int]) -> dict[int, int]:
    """The runs since `before`."""
    now = batches(server)
    return {size: now[size] - before.get(size, 0) for size in now if now[size] > before.get(size, 0)}


def waiting_rows(server: Server) -> float:
    """Rows in the queue now."""
    return server.metric("modelyard_queue_rows", model=NAME)


def cancelled(server: Server, protocol: str) -> float:
    """Requests so far whose callers went away."""
    return server.metric("modelyard_requests_total", model=NAME, protocol=protocol, outcome="cancelled")


@asynccontextmanager
async def occupied(server: Server, client: Client, milliseconds: int) -> AsyncIterator[None]:
    """The only executor runs a row of `milliseconds` while the block begins; it is answered before the block ends."""
    runs = server.metric("modelyard_in_flight_requests", model=NAME)
    call = asyncio.create_task(client.infer({"x": row(milliseconds)}))
    await until_true(
        lambda: server.metric("modelyard_in_flight_requests", model=NAME) == runs + 1 and waiting_rows(server) == 0,
        "the executor is occupied",
    )
    yield
    np.testing.assert_array_equal((await call).only, row(milliseconds))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_concurrent_rows_are_merged(server: Server, protocol: str) -> None:
    executions = server.statistics()["execution_count"]
    before = batches(server)
    rows = [row(50 + index / 64) for index in range(64)]
    answers = ask_all(server, [{"x": x} for x in rows], protocol)
    for x, answer in zip(rows, answers, strict=True):
        np.testing.assert_array_equal(answer.only, x)
    runs = batches_since(server, before)
    assert sum(size * count for size, count in runs.items()) == 64
    assert max(runs) > 1
    assert max(runs) <= 32
    assert server.statistics()["execution_count"] - executions == sum(runs.values())
    assert sum(runs.values()) <= 32, runs


def test_both_protocols_share_batches(server: Server) -> None:
    before = batches(server)

    async def body() -> list[Answer | BaseException]:
        async with connect(server, "http") as over_http, connect(server, "grpc") as over_grpc:
            async with occupied(server, over_http, 800):
                clients = [over_http, over_grpc] * 4
                calls = [asyncio.create_task(c.infer({"x": row(index + 1)})) for index, c in enumerate(clients)]
                await until_true(lambda: waiting_rows(server) == 8, "all wait")
            return await settled(calls)

    for index, answer in enumerate(asyncio.run(body())):
        assert isinstance(answer, Answer), answer
        np.testing.assert_array_equal(answer.only, row(index + 1))
    assert batches_since(server, before) == {1: 1, 8: 1}


def test_rows_are_counted_not_requests(server: Server) -> None:
    """Three requests of 16 rows make batches of 32 and 16; no batch is above the maximum."""
    before = batches(server)
    x = np.arange(48, dtype=np.float32).reshape(3, 16, 1) / 16

    async def body() -> list[Answer | BaseException]:
        async with connect(server, "grpc") as client:
            async with occupied(server, client, 800):
                calls = [asyncio.create_task(client.infer({"x": part})) for part in x]
                await until_true(lambda: waiting_rows(server) == 48, "all wait")
            return await settled(calls)

    for part, answer in zip(x, asyncio.run(body()), strict=True):
        assert isinstance(answer, Answer), answer
        np.testing.assert_array_equal(answer.only, part)
    assert batches_since(server, before) == {1: 1, 16: 1, 32: 1}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_work_of_a_client_that_left_is_not_run(server: Server, protocol: str) -> None:
    before, left = batches(server), cancelled(server, protocol)

    async def body() -> Answer:
        async with connect(server, protocol) as client, connect(server, protocol) as other:
            async with occupied(server, client, 1200):
                leaving = asyncio.create_task(other.infer({"x": row(500)}))
                staying = asyncio.create_task(client.infer({"x": row(3)}))
                await until_true(lambda: waiting_rows(server) == 2, "both wait")
                leaving.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await leaving
                await until_true(lambda: cancelled(server, protocol) == left + 1, "the client's leave is counted")
                await until_true(lambda: waiting_rows(server) == 1, "what it wanted keeps nobody out")
            return await staying

    np.testing.assert_array_equal(asyncio.run(body()).only, row(3))
    assert batches_since(server, before) == {1: 2}
    until(lambda: server.metric("modelyard_in_flight_requests", model=NAME) == 0, "nothing is in flight")
    assert waiting_rows(server) == 0


def test_a_burst_that_fits_in_one_batch_is_not_shed(tmp_path: Path) -> None:
    """The model costs 50 ms a run, however many rows. What single rows cost says nothing about 30 in one batch."""

    def edit(spec: dict[str, Any]) -> None:
        spec["batching"]["max_batch_size"] = 32
        spec["cache"] = {"enabled": False}
        spec["limits"] = {"queue_seconds": 1.0}

    import_model(tmp_path, "flat", slow(50), edit=edit)
    with serve(tmp_path, "flat", {"MODELYARD_EXECUTORS": "1"}) as running:
        for number in range(12):
            ask(running, {"x": row(number)})
        answers = ask_all(running, [{"x": row(number)} for number in range(30)], "grpc")
    assert [float(answer.only[0, 0]) for answer in answers] == list(range(30))


def index_row(number: int) -> dict[str, Any]:
    """A question to the model `table`."""
    return {"index": np.array([[number]], dtype=np.int64)}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_bad_row_fails_alone(table: Server, protocol: str) -> None:
    """`table` waits 50 ms for a batch of 16: good and bad rows run in one batch at first."""
    retries = table.metric("modelyard_batch_retries_total", model="table")
    failures = table.metric("modelyard_requests_total", protocol=protocol, outcome="error")
    first = 20 if protocol == "http" else 40
    numbers = [first + index for index in range(12)]
    numbers[3] = numbers[8] = 100_000
    results = try_all(table, [index_row(number) for number in numbers], protocol)
    for number, result in zip(numbers, results, strict=True):
        if number < 100:
            assert isinstance(result, Answer), result
            np.testing.assert_array_equal(result.only, row(number, 10 * number))
        else:
            check_internal(result, protocol)
    assert table.metric("modelyard_batch_retries_total", model="table") > retries
    assert table.metric("modelyard_requests_total", protocol=protocol, outcome="error") == failures + 2
    good = ask(table, index_row(first + 15), protocol)
    np.testing.assert_array_equal(good.only, row(first + 15, 10 * (first + 15)))


def check_internal(result: Answer | BaseException, protocol: str) -> None:
    """An internal error that tells nothing of ONNX Runtime's own text."""
    assert isinstance(result, InferenceServerException), result
    assert result.status() == ("500" if protocol == "http" else "StatusCode.INTERNAL")
    text = str(result.message()).lower()
    assert text
    for inside in ("gather", "indices", "out of data bounds", "onnx", "traceback", "100000"):
        assert inside not in text
