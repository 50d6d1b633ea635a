"""The load generator against a server of which everything is known: a stall is not hidden, nothing is miscounted."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import orjson
import pytest

from loadtests.bench.core import Endpoint
from loadtests.bench.engine import Engine
from loadtests.bench.open_loop import Plan
from loadtests.bench.statistics import median

pytestmark = pytest.mark.flaky(reruns=1)  # real connections by a real clock: as the integration tests
Answer = Callable[[int, list[float]], Awaitable[tuple[int, list[float]] | None]]


async def right(_: int, row: list[float]) -> tuple[int, list[float]]:
    """What the echo model answers."""
    return 200, [2 * value + 1 for value in row]


@contextlib.asynccontextmanager
async def stub(answer: Answer) -> AsyncIterator[Endpoint]:
    """A server of the echo model: `answer` gets the count of the request and its row; None closes the connection."""
    asked, writers = 0, []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        writers.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
                body = orjson.loads(await reader.readexactly(length))
                asked += 1
                answered = await answer(asked, body["inputs"][0]["data"])
                if answered is None:
                    break
                writer.write(_response(*answered))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield Endpoint("oip-json", "127.0.0.1", port, "/v2/models/echo/infer", "echo")
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await server.wait_closed()
        await asyncio.sleep(0.05)


def _response(status: int, row: list[float]) -> bytes:
    output = {"name": "y", "datatype": "FP32", "shape": [1, len(row)], "data": row}
    body = orjson.dumps({"outputs": [output]})
    return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)


async def load(answer: Answer, **options: Any) -> dict[str, Any]:
    """The result of a plan against a stub; what a busy machine sends late still finds its connection."""
    async with stub(answer) as endpoint:
        given = {"seconds": 0.6, "warm": 2, "deadline": 1.0, "patience": 10.0, **options}
        return await asyncio.wait_for(Engine(Plan("echo", [endpoint], **given)).run(), 20)


async def test_open_loop_sends_what_the_schedule_says() -> None:
    result = await load(right, rate=200, kind="constant")
    assert result["offered"] == 120
    counts = result["counts"]  # on a busy machine some are late
    assert counts["ok"] + counts["late"] == 120
    assert result["goodput"] == pytest.approx(counts["ok"] / 0.6)


async def test_a_stall_is_not_hidden_by_asking_less() -> None:
    """One stop of half a second: of 300 requests a second, those that fell into it have waited up to half a second."""
    begun = asyncio.get_running_loop().time()

    async def stalling(_: int, row: list[float]) -> tuple[int, list[float]]:
        now = asyncio.get_running_loop().time() - begun
        if 0.4 <= now < 0.9:
            await asyncio.sleep(0.9 - now)
        return await right(0, row)

    result = await load(stalling, rate=300, seconds=1.2, deadline=10.0)
    # a closed loop would have seen one slow request a connection, two of 200; here two fifths of all were slow
    assert result["latency"]["answered"]["p90"] > 0.2
    assert result["counts"]["ok"] == result["offered"]


async def test_latency_counts_from_the_intended_time_also_without_connections() -> None:
    async def slow(_: int, row: list[float]) -> tuple[int, list[float]]:
        await asyncio.sleep(0.1)
        return await right(0, row)

    # one connection answers ten a second; fifty a second are asked for
    result = await load(slow, rate=50, kind="constant", connections=1, deadline=10.0)
    assert result["counts"]["ok"] == 30
    assert result["latency"]["answered"]["max"] > 1.5
    assert result["latency"]["schedule"]["max"] > 1.5


async def test_what_finds_no_connection_is_unsent_and_no_goodput() -> None:
    async def slow(_: int, row: list[float]) -> tuple[int, list[float]]:
        await asyncio.sleep(0.1)
        return await right(0, row)

    result = await load(slow, rate=100, kind="constant", connections=2, patience=0.05)
    counts = result["counts"]
    assert counts["unsent"] > 20
    assert counts["ok"] + counts["late"] + counts["unsent"] == result["offered"] == 60
    assert result["goodput"] <= 25


async def test_every_outcome_is_counted_apart() -> None:
    given: Counter[int] = Counter()

    async def mixed(count: int, row: list[float]) -> tuple[int, list[float]] | None:
        given[count % 8] += 1
        match count % 8:
            case 0:
                return 503, row
            case 1:
                return 429, row
            case 2:
                return 504, row
            case 3:
                return 500, row
            case 4:
                return None
            case 5:
                return 200, row  # not 2x + 1
            case 6:
                return 200, row[:3]
            case _:
                return await right(count, row)

    result = await load(mixed, rate=200, kind="constant", seconds=0.8, warm=1)
    counts = result["counts"]
    assert sum(counts.values()) == result["offered"] == 160
    assert counts["refused"] == given[0] + given[1] == result["latency"]["refused"]["count"]
    assert [counts[name] for name in ("expired", "failed", "broken")] == [given[2], given[3], given[4]]
    assert counts["wrong"] == given[5] + given[6]
    assert counts["ok"] + counts["late"] == given[7]  # on a busy machine some are late
    assert min(given.values()) > 0
    assert any(text.startswith("failed: 500") for text in result["errors"])


async def test_right_but_late_is_no_goodput() -> None:
    async def slow(_: int, row: list[float]) -> tuple[int, list[float]]:
        await asyncio.sleep(0.2)
        return await right(0, row)

    result = await load(slow, rate=50, deadline=0.1)
    assert result["counts"]["late"] == result["offered"]
    assert result["goodput"] == 0


async def test_an_answer_that_never_comes_is_lost() -> None:
    async def silent(_: int, row: list[float]) -> tuple[int, list[float]]:
        await asyncio.sleep(60)
        return 200, row

    result = await load(silent, rate=20, kind="constant", seconds=0.3, deadline=0.1)
    assert result["counts"]["lost"] == result["offered"] == 6


async def test_closed_loop_keeps_as_many_under_way_as_there_are_connections() -> None:
    open_, most = 0, 0

    async def counting(_: int, row: list[float]) -> tuple[int, list[float]]:
        nonlocal open_, most
        open_ += 1
        most = max(most, open_)
        await asyncio.sleep(0.02)
        open_ -= 1
        return await right(0, row)

    result = await load(counting, connections=5, settle=0.2)
    assert most == 5
    assert result["seconds"] == pytest.approx(0.4)
    # five connections of 50 a second each, less what a busy machine takes
    assert 60 < result["goodput"] <= 255


async def test_a_warm_up_asks_each_known_row_once() -> None:
    rows = set()

    async def noting(_: int, row: list[float]) -> tuple[int, list[float]]:
        rows.add(tuple(row[:2]))
        return await right(0, row)

    result = await load(noting, connections=3, seconds=10.0, count=20, known=20)
    assert result["counts"]["ok"] == 20
    assert len(rows) == 20


async def test_a_server_that_closes_every_connection_ends_the_loop_all_the_same() -> None:
    async def closing(_: int, __: list[float]) -> None:
        return None

    result = await load(closing, connections=3, seconds=0.3)
    assert result["counts"]["broken"] > 3
    assert result["counts"]["ok"] == 0


async def test_endpoints_that_take_turns_each_have_their_rate() -> None:
    async def slow(_: int, row: list[float]) -> tuple[int, list[float]]:
        await asyncio.sleep(0.02)
        return await right(0, row)

    async with stub(right) as fast, stub(slow) as dear:
        plan = Plan("echo", [fast, dear], seconds=2.8, turn=0.2, connections=2, deadline=5.0)
        result = await asyncio.wait_for(Engine(plan).run(), 20)
    (fast_rates, slow_rates) = result["turns"]
    assert len(fast_rates) == len(slow_rates) == 7
    # two connections, 20 ms each; where the machine stands still for most of a turn, the answers left say little
    assert 0 < median(slow_rates) <= 110
    assert median(fast_rates) > 2 * median(slow_rates)
    assert result["counts"]["ok"] == result["offered"]
