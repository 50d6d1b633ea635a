"""The closed-loop clients of the benchmark against a real server, and against one that answers wrongly.

Nothing here is about speed: it is about what they count.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import onnx
import orjson
import pytest

from loadtests.bench.core import Endpoint, Face, Sample
from loadtests.bench.load import Job, measure
from loadtests.bench.models import model_path
from modelyard.authoring.ports import free_port
from tests.integration.harness import Server, import_model, serve

SECONDS = 1.0
Answers = Callable[[dict[str, Any]], tuple[int, dict[str, Any]] | None]  # None: the connection is closed instead


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The benchmark's echo model, served as a user would."""
    repository = tmp_path_factory.mktemp("bench")
    import_model(repository, "echo", onnx.load(model_path("echo")))
    with serve(repository, "echo") as server:
        yield server


@pytest.mark.parametrize("connections", [1, 8])
@pytest.mark.parametrize("face", ["oip-json", "oip-binary", "oip-grpc"])
def test_a_real_server_answers_everything_and_rightly(echo: Server, face: Face, connections: int) -> None:
    port = echo.grpc_port if face == "oip-grpc" else echo.http_port
    endpoint = Endpoint(face, "127.0.0.1", port, "/v2/models/echo/infer", "echo")
    answered = _infers(echo)
    sample = measure(Job(endpoint, "echo", connections, SECONDS, 0.2, pid=echo.process.pid))
    assert (sample.errors, sample.wrong, sample.first_error) == (0, 0, "")
    assert sample.checked >= 16
    assert sample.requests > connections
    # what the client counted, the server saw; the warm-up and the last answers are the difference
    assert _infers(echo) - answered >= sample.requests
    assert sample.requests == sum(sample.histogram.values())
    assert 0 < sample.p50 <= sample.p99 < SECONDS
    assert sample.cpu_us > 0
    assert sample.rss_bytes > 0


def test_no_answer_came_from_a_cache(echo: Server) -> None:
    before = {result: echo.metric("modelyard_cache_rows_total", result=result) for result in ("hit", "join")}
    rows = echo.metric("modelyard_cache_rows_total")
    for slot in (5, 6):
        endpoint = Endpoint("oip-binary", "127.0.0.1", echo.http_port, "/v2/models/echo/infer", "echo")
        assert measure(Job(endpoint, "echo", 4, SECONDS / 2, 0.1, slot)).requests > 0
    assert {result: echo.metric("modelyard_cache_rows_total", result=result) for result in before} == before
    assert echo.metric("modelyard_cache_rows_total") > rows


def test_wrong_answers_are_counted() -> None:
    sample = _against(lambda request: (200, _answer([value * 2.0 + 1.001 for value in _data(request)])))
    assert sample.requests > 16
    assert sample.wrong == sample.checked >= 16
    assert sample.errors == 0


def test_right_answers_of_the_same_fake_are_not() -> None:
    sample = _against(lambda request: (200, _answer([value * 2.0 + 1.0 for value in _data(request)])))
    assert (sample.wrong, sample.errors) == (0, 0)
    assert sample.checked >= 16


def test_an_answer_to_another_request_is_wrong() -> None:
    asked: list[list[float]] = [[0.5] * 64]

    def late(request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        asked.append(_data(request))
        return 200, _answer([value * 2.0 + 1.0 for value in asked[-2]])

    sample = _against(late)
    assert sample.wrong == sample.checked >= 16


def test_an_answer_that_is_none_is_wrong() -> None:
    sample = _against(lambda _: (200, {"outputs": []}))
    assert sample.wrong == sample.checked >= 16


def test_refusals_are_errors_and_not_answers() -> None:
    sample = _against(lambda _: (503, {"error": "busy"}))
    assert sample.requests == 0
    assert sample.errors > 16
    assert sample.first_error == '503 OK: {"error":"busy"}'


def test_closed_connections_are_errors_and_the_run_goes_on() -> None:
    count = iter(range(1_000_000))

    def mostly(request: dict[str, Any]) -> tuple[int, dict[str, Any]] | None:
        return None if next(count) % 50 == 49 else (200, _answer([value * 2.0 + 1.0 for value in _data(request)]))

    sample = _against(mostly)
    assert sample.requests > 16
    assert sample.errors > 0
    assert "connection lost" in sample.first_error
    assert sample.wrong == 0


def test_nobody_there_is_an_error() -> None:
    endpoint = Endpoint("oip-json", "127.0.0.1", free_port(), "/", "echo")
    sample = measure(Job(endpoint, "echo", 1, 0.3, 0.1))
    assert sample.requests == 0
    assert sample.errors > 0
    assert "cannot connect" in sample.first_error


# --- a server that answers as the test says -----------------------------------------------------------------------


def _infers(server: Server) -> float:
    return float(server.statistics("echo")["inference_stats"]["success"]["count"])


def _data(request: dict[str, Any]) -> list[float]:
    values: list[float] = request["inputs"][0]["data"]
    return values


def _answer(data: list[float]) -> dict[str, Any]:
    return {"outputs": [{"name": "y", "datatype": "FP32", "shape": [1, 64], "data": data}]}


def _against(answers: Answers) -> Sample:
    with _fake(answers) as port:
        return measure(Job(Endpoint("oip-json", "127.0.0.1", port, "/infer", "echo"), "echo", 2, SECONDS / 2, 0.1))


@contextmanager
def _fake(answers: Answers) -> Iterator[int]:
    """An HTTP server in a thread; gives its port."""
    loop, port = asyncio.new_event_loop(), free_port()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                answer = answers(orjson.loads(await reader.readexactly(length)))
                if answer is None:
                    return
                content = orjson.dumps(answer[1])
                writer.write(b"HTTP/1.1 %d OK\r\ncontent-length: %d\r\n\r\n" % (answer[0], len(content)) + content)
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    server = loop.run_until_complete(asyncio.start_server(converse, "127.0.0.1", port))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield port
    finally:
        loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.run_until_complete(asyncio.sleep(0.1))
        loop.close()
