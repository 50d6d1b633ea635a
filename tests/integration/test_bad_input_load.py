"""Too much to do, too little time, and a model that fails: who is refused, with which words, and who is not."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2 as pb

from tests.integration import wire
from tests.integration.harness import Server
from tests.integration.pair_model import outcome, raw_outputs, refused, stub

BUSY = "/v2/models/busy/infer"
TABLE = "/v2/models/table/infer"
#: Longer than what a test does meanwhile.
LONG_MS = 1000.0


def milliseconds(wanted: float, timeout: int | None = None) -> dict[str, Any]:
    document: dict[str, Any] = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [wanted]}]}
    if timeout is not None:
        document["parameters"] = {"timeout": timeout}
    return document


def grpc_milliseconds(wanted: float) -> Any:
    request = pb.ModelInferRequest(model_name="busy")
    request.inputs.add(name="x", datatype="FP32", shape=[1, 1])
    request.raw_input_contents.append(np.array([wanted], "<f4").tobytes())
    return request


@contextmanager
def occupied(server: Server, wanted: float = LONG_MS) -> Iterator[Future[wire.Reply]]:
    """A request that keeps the only executor of `busy` at work during the block; it is answered right in the end."""
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(wire.post_json, server, BUSY, milliseconds(wanted))
        time.sleep(0.25)
        assert not future.done(), future.result()
        yield future
        assert not future.done(), "the test was slower than the model: nothing waited"
        assert future.result().json()["outputs"][0]["data"] == [wanted]


@pytest.fixture
def busy_channel(busy: Server) -> Iterator[Any]:
    with grpc.insecure_channel(busy.grpc) as channel:
        yield stub(channel)


@pytest.fixture(autouse=True)
def idle_again(busy: Server) -> Iterator[None]:
    """After every test: live, and a quick request is answered right."""
    yield
    assert busy.status("/v2/health/live") == 200
    reply = wire.post_json(busy, BUSY, milliseconds(1))
    assert reply.json()["outputs"][0]["data"] == [1.0], reply


def fill_until_refused(server: Server) -> tuple[wire.Reply, list[Future[wire.Reply]]]:
    """Add requests of 150 ms until one is refused: (the refusal, those that were taken)."""
    pool = ThreadPoolExecutor(16)
    taken: list[Future[wire.Reply]] = []
    for _ in range(16):
        future = pool.submit(wire.post_json, server, BUSY, milliseconds(150))
        time.sleep(0.05)
        if future.done() and future.result().status != 200:
            pool.shutdown(wait=False)
            return future.result(), taken
        taken.append(future)
    raise AssertionError("sixteen requests of 150 ms were taken into a queue of 0.5 s")


def test_a_wait_above_the_limit_is_refused_at_once(busy: Server, busy_channel: Any) -> None:
    for _ in range(4):  # the server learns what a row costs
        wire.post_json(busy, BUSY, milliseconds(150))
    assert busy_channel.ServerLive(pb.ServerLiveRequest(), timeout=5).live
    refusal, taken = fill_until_refused(busy)
    more = [busy_channel.ModelInfer.future(grpc_milliseconds(150), timeout=20) for _ in range(4)]
    over = [call for call in more if call.exception() is not None]
    assert over, "room for four more"
    for call in over:
        refused(call.exception(), grpc.StatusCode.UNAVAILABLE)
    refusal.refused(503)
    assert float(refusal.headers["retry-after"]) >= 1
    # health and metrics stand outside every limit
    assert busy.status("/v2/health/ready") == 200
    assert busy.status("/metrics") == 200
    assert busy_channel.ServerLive(pb.ServerLiveRequest(), timeout=5).live
    first, *others = (future.result() for future in taken)
    assert first.status == 200
    for reply in others:  # on a busy machine a refusal can come later than the test looks for it
        if reply.status != 200:
            reply.refused(503)


def test_a_flood_is_shed_and_what_is_taken_is_answered(busy: Server) -> None:
    """Forty at once of 50 ms each: half a second of queue takes about ten, the others hear 503 soon."""
    began = time.monotonic()

    def ask(_: int) -> tuple[wire.Reply, float]:
        reply = wire.post_json(busy, BUSY, milliseconds(50))
        return reply, time.monotonic() - began

    with ThreadPoolExecutor(40) as pool:
        results = list(pool.map(ask, range(40)))
    good = [seconds for reply, seconds in results if reply.status == 200]
    shed = [(reply, seconds) for reply, seconds in results if reply.status != 200]
    assert 2 <= len(good) <= 30
    for reply, seconds in shed:
        reply.refused(503)
        assert float(reply.headers["retry-after"]) >= 1
        assert seconds < 1.5
    assert max(good) < 2.5
    assert busy.metric("modelyard_shed_total", model="busy") >= len(shed)


@pytest.mark.parametrize("timeout_us", [100_000, 1])
def test_a_deadline_that_passes_in_the_queue_on_http(busy: Server, timeout_us: int) -> None:
    """The parameter `timeout` is in microseconds. The work is not done: the model is free as soon as before."""
    with occupied(busy):
        runs = busy.statistics()["execution_count"]
        began = time.monotonic()
        reply = wire.post_json(busy, BUSY, milliseconds(300, timeout_us))
        assert time.monotonic() - began < 0.5
        reply.refused(504, 503)
        assert reply.status == 504 or float(reply.headers["retry-after"]) >= 0
    time.sleep(0.2)
    assert busy.statistics()["execution_count"] == runs + 1


def test_a_deadline_that_passes_in_the_queue_on_grpc(busy: Server, busy_channel: Any) -> None:
    with occupied(busy):
        runs = busy.statistics()["execution_count"]
        answer = outcome(busy_channel.ModelInfer, grpc_milliseconds(300), timeout=0.1)
        assert answer.code() in {grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE}
    time.sleep(0.2)
    assert busy.statistics()["execution_count"] == runs + 1


def test_a_deadline_in_the_parameters_on_grpc(busy: Server, busy_channel: Any) -> None:
    request = grpc_milliseconds(300)
    request.parameters["timeout"].int64_param = 100_000
    with occupied(busy):
        codes = (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE)
        refused(outcome(busy_channel.ModelInfer, request), *codes)


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_caller_that_left_is_not_computed(busy: Server, protocol: str, busy_channel: Any) -> None:
    with occupied(busy):
        runs = busy.statistics()["execution_count"]
        if protocol == "http":
            body = b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,1],"data":[301]}]}'
            with wire.connect(busy) as connection:
                connection.sendall(wire.head("POST", BUSY, {"Content-Length": str(len(body))}) + body)
                time.sleep(0.1)
        else:
            call = busy_channel.ModelInfer.future(grpc_milliseconds(302), timeout=20)
            time.sleep(0.1)
            call.cancel()
    time.sleep(0.2)
    assert busy.statistics()["execution_count"] == runs + 1


def row_of(index: int) -> dict[str, Any]:
    return {"inputs": [{"name": "index", "datatype": "INT64", "shape": [1, 1], "data": [index]}]}


def grpc_row_of(index: int) -> Any:
    request = pb.ModelInferRequest(model_name="table")
    request.inputs.add(name="index", datatype="INT64", shape=[1, 1])
    request.raw_input_contents.append(np.array([index], "<i8").tobytes())
    return request


@pytest.mark.parametrize("index", [1000, -1000, 2**62])
def test_a_row_that_fails_inside_the_model(table: Server, index: int) -> None:
    text = wire.post_json(table, TABLE, row_of(index)).refused(500)
    with grpc.insecure_channel(table.grpc) as channel:
        other = refused(outcome(stub(channel).ModelInfer, grpc_row_of(index)), grpc.StatusCode.INTERNAL)
    for words in (text, other):
        for inside in ("ONNX", "Gather", "indices", "bounds", "Non-zero", str(index)):
            assert inside not in words, words
    # the cause stands in the log
    assert "Gather" in table.log()


def test_a_bad_row_fails_alone(table: Server) -> None:
    """Forty-eight callers at once on both protocols, every eighth with a bad row: each has its own fate."""
    with grpc.insecure_channel(table.grpc) as channel, ThreadPoolExecutor(48) as pool:
        infer = stub(channel).ModelInfer

        def ask(number: int) -> Any:
            index = 5000 + number if number % 8 == 5 else number
            if number % 2:
                return wire.post_json(table, TABLE, row_of(index))
            return outcome(infer, grpc_row_of(index))

        answers = list(pool.map(ask, range(48)))
        # over gRPC too: the bad ones above are all odd, so all HTTP
        over_grpc = list(pool.map(lambda number: outcome(infer, grpc_row_of(number * 60)), range(4)))
    for number, answer in enumerate(answers):
        right = [float(number), 10.0 * number]
        if number % 8 == 5:
            answer.refused(500)
        elif number % 2:
            assert answer.json()["outputs"][0]["data"] == right
        else:
            assert raw_outputs(answer) == {"row": np.array(right, "<f4").tobytes()}
    assert [isinstance(answer, grpc.RpcError) for answer in over_grpc] == [False, False, True, True]


def test_a_request_with_a_bad_row_fails_whole(table: Server) -> None:
    document = {"inputs": [{"name": "index", "datatype": "INT64", "shape": [3, 1], "data": [1, 1000, 2]}]}
    wire.post_json(table, TABLE, document).refused(500)
    good = document["inputs"][0] | {"data": [1, 3, 2]}
    reply = wire.post_json(table, TABLE, {"inputs": [good]})
    assert reply.json()["outputs"][0]["data"] == [1, 10, 3, 30, 2, 20]
