"""Answers belong to their requests, whatever happens to the bytes between the server and Redis.

A client of Redis that gives up on a reply and goes on using the connection gives every later caller the
reply of another one (CVE-2023-28858 of redis-py). So: many different questions at once whose answers lie in
Redis, replies that come around the timeout, are cut, changed or lost, callers that go away in between; every
answer is checked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
import redis

from tests.integration import scale_model
from tests.integration.calls import PROTOCOLS, Array, Client, connect, until
from tests.integration.chaos_proxy import (
    ChaosProxy,
    Fault,
    chaos_proxy,
    corrupting,
    cutting,
    delaying,
    passing,
    swallowing,
)
from tests.integration.harness import RedisServer, Server, redis_server, serve
from tests.integration.scale_model import ask_scale, check, fill, import_scale, rows

QUESTIONS = 96
ROUNDS = 4
RESUME_SECONDS = 6.0


@pytest.fixture(scope="module")
def store() -> Iterator[RedisServer]:
    """The Redis behind the proxy."""
    with redis_server() as server:
        yield server


@pytest.fixture(scope="module")
def proxy(store: RedisServer) -> Iterator[ChaosProxy]:
    """The proxy, without a fault at first."""
    with chaos_proxy(store.port) as running:
        yield running


@pytest.fixture(scope="module")
def questions() -> Array:
    """The rows whose answers lie in Redis."""
    return rows(1, QUESTIONS)


@pytest.fixture(scope="module")
def server(
    store: RedisServer, proxy: ChaosProxy, questions: Array, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server that reaches Redis through the proxy; all questions have been answered once."""
    folder = tmp_path_factory.mktemp("repository")
    import_scale(folder)
    with serve(folder, scale_model.NAME, {"MODELYARD_REDIS_URL": proxy.url}) as running:
        with redis.Redis(port=store.port) as client:
            fill(running, client, questions)
        yield running


async def one(client: Client, question: Array) -> None:
    """Ask and check the answer."""
    check(await client.infer({"x": question}), question)


async def impatient(client: Client, question: Array, seconds: float) -> None:
    """Ask and go away after `seconds` unless the answer came before; then it is right."""
    call = asyncio.create_task(one(client, question))
    await asyncio.wait([call], timeout=seconds)
    call.cancel()
    try:
        await call
    except asyncio.CancelledError:
        return


async def storm(server: Server, questions: Array) -> None:
    """All questions at once over both protocols, some callers going away; every answer is checked."""
    async with connect(server, "http") as over_http, connect(server, "grpc") as over_grpc:
        clients = dict(zip(PROTOCOLS, (over_http, over_grpc), strict=True))
        for turn in range(ROUNDS):
            calls = []
            for index in range(len(questions)):
                question = questions[index : index + 1]
                client = clients[PROTOCOLS[(index + turn) % 2]]
                leaves = index % 4 == turn
                calls.append(impatient(client, question, 0.001 * index) if leaves else one(client, question))
            await asyncio.gather(*calls)


FAULTS = {
    "slow": delaying(0.0, 0.012),
    "delayed": delaying(0.0, 0.04),
    "cut": cutting(0.3),
    "corrupted": corrupting(0.5),
    "swallowed": swallowing(0.3),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_every_answer_belongs_to_its_request(server: Server, proxy: ChaosProxy, questions: Array, kind: str) -> None:
    hits_resume(server, questions)
    fault: Fault = FAULTS[kind]
    spoiled, hits, corrupt = proxy.spoiled, counted(server, "hit_redis"), counted(server, "corrupt")
    proxy.fault = fault
    try:
        asyncio.run(storm(server, questions))
    finally:
        proxy.fault = passing
    if kind == "slow":
        assert counted(server, "hit_redis") > hits, "answers came through the proxy"
    if kind not in ("slow", "delayed"):
        assert proxy.spoiled > spoiled, "the proxy spoiled something"
    if kind != "corrupted":
        assert counted(server, "corrupt") == corrupt, "no reply was taken for another request's"
    hits_resume(server, questions)


def counted(server: Server, result: str) -> float:
    """Rows so far for which the cache said `result`."""
    return server.metric("modelyard_cache_rows_total", result=result)


def hits_resume(server: Server, questions: Array) -> None:
    """Soon every question is answered from Redis again, and right."""
    for start in range(0, len(questions), scale_model.BATCH):
        part = questions[start : start + scale_model.BATCH]
        until(lambda part=part: ask_scale(server, part) == "hit", "hits resume", RESUME_SECONDS)  # type: ignore[misc]


def test_replies_of_an_abandoned_connection_reach_nobody(server: Server, proxy: ChaosProxy, questions: Array) -> None:
    """Every caller gives up while Redis's reply is on its way; the next ones ask other questions at once."""
    hits_resume(server, questions)
    corrupt = counted(server, "corrupt")
    proxy.fault = delaying(0.015, 0.03)

    async def body() -> None:
        async with connect(server, "http") as client:
            for index in range(0, QUESTIONS - 8, 8):
                leaving = [impatient(client, questions[i : i + 1], 0.008) for i in range(index, index + 4)]
                staying = [one(client, questions[i : i + 1]) for i in range(index + 4, index + 8)]
                await asyncio.gather(*leaving, *staying)

    try:
        asyncio.run(body())
    finally:
        proxy.fault = passing
    hits_resume(server, questions)
    assert counted(server, "corrupt") == corrupt, "no reply was taken for another request's"
