"""Sixty-four clients at once, half over HTTP and half over gRPC, each with its own answer, cache and batching on."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2 as pb

from tests.integration import wire
from tests.integration.datatype_values import MODELS, edge_bits, grpc_document, http_document
from tests.integration.harness import Server
from tests.integration.pair_model import INFER, MAX_BATCH, NAME, assert_well, raw_outputs, stub

CLIENTS = 64
REQUESTS = 25
Question = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]
Infer = Callable[[Question], dict[str, bytes]]


class HttpClient:
    """One kept connection with binary tensors, without a library that could hide a lost or swapped reply."""

    def __init__(self, server: Server) -> None:
        self._connection = wire.connect(server, timeout=60)
        self._stream = self._connection.makefile("rb")

    def __call__(self, question: Question) -> dict[str, bytes]:
        a, b = question
        inputs = [
            {
                "name": name,
                "datatype": datatype,
                "shape": list(array.shape),
                "parameters": {"binary_data_size": array.nbytes},
            }
            for name, datatype, array in (("a", "FP32", a), ("b", "INT32", b))
        ]
        text = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}).encode()
        body = text + a.tobytes() + b.tobytes()
        headers = {"Content-Length": str(len(body)), wire.HEADER_LENGTH: str(len(text))}
        self._connection.sendall(wire.head("POST", INFER, headers) + body)
        reply = wire.read_reply(self._stream)
        assert reply is not None, "the connection was closed"
        assert reply.status == 200, reply.body
        return reply.tensors()

    def close(self) -> None:
        self._stream.close()
        self._connection.close()


class GrpcClient:
    """One channel."""

    def __init__(self, server: Server) -> None:
        # without this option grpc shares one connection between all channels to one address
        self._channel = grpc.insecure_channel(server.grpc, options=[("grpc.use_local_subchannel_pool", 1)])

    def __call__(self, question: Question) -> dict[str, bytes]:
        request = pb.ModelInferRequest(model_name=NAME)
        for name, datatype, array in (
            ("a", "FP32", question[0]),
            ("b", "INT32", question[1]),
        ):
            request.inputs.add(name=name, datatype=datatype, shape=list(array.shape))
            request.raw_input_contents.append(array.tobytes())
        return raw_outputs(stub(self._channel).ModelInfer(request, timeout=60))

    def close(self) -> None:
        self._channel.close()


@pytest.fixture
def clients(pair: Server) -> Iterator[list[HttpClient | GrpcClient]]:
    found = [HttpClient(pair) if number % 2 else GrpcClient(pair) for number in range(CLIENTS)]
    yield found
    for client in found:
        client.close()


def own_rows(client: int, turn: int, count: int) -> Question:
    """Rows that only this client asks for at this turn; some of them are common to all clients."""
    rng = random.Random(client * 1000 + turn)
    a = np.array([[client, turn, row, 0.5] for row in range(count)], np.float32)
    b = np.array([[rng.randrange(-(2**20), 2**20) for _ in range(4)] for _ in range(count)], np.int32)
    for row in range(count):
        if rng.random() < 0.3:
            a[row], b[row] = turn, turn % 5
    return a, b


def right(question: Question) -> dict[str, bytes]:
    a, b = question
    return {"sum": (a + b.astype(np.float32)).tobytes(), "twice": (2 * b).tobytes()}


def test_each_client_has_its_own_answers(pair: Server, clients: list[HttpClient | GrpcClient]) -> None:
    start = threading.Barrier(CLIENTS)
    before = pair.statistics()

    def work(number: int) -> int:
        start.wait(30)
        for turn in range(REQUESTS):
            question = own_rows(number, turn, 1 + (number + turn) % MAX_BATCH)
            assert clients[number](question) == right(question), (number, turn)
        return REQUESTS

    with ThreadPoolExecutor(CLIENTS) as pool:
        assert sum(pool.map(work, range(CLIENTS))) == CLIENTS * REQUESTS
    after = pair.statistics()
    rows = sum(1 + (number + turn) % MAX_BATCH for number in range(CLIENTS) for turn in range(REQUESTS))
    assert after["inference_count"] - before["inference_count"] == rows
    # rows of several callers ran together, and common rows ran once
    assert after["execution_count"] - before["execution_count"] < CLIENTS * REQUESTS
    assert pair.metric("modelyard_cache_rows_total", model=NAME) > 0
    assert pair.metric("modelyard_in_flight_requests", model=NAME) == 0
    assert pair.metric("modelyard_queue_rows", model=NAME) == 0
    assert_well(pair)


def test_the_same_question_from_all_at_once(pair: Server, clients: list[HttpClient | GrpcClient]) -> None:
    """A fresh question each turn, asked by all: every answer is right and the model runs about once a turn."""
    start = threading.Barrier(CLIENTS)
    before = pair.statistics()["execution_count"]

    def work(number: int) -> None:
        for turn in range(5):
            start.wait(60)
            question = own_rows(777, turn + 50, 2)
            assert clients[number](question) == right(question), (number, turn)

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(work, range(CLIENTS)))
    assert pair.statistics()["execution_count"] - before <= 10


def test_datatypes_and_shapes_do_not_mix_in_a_batch(batched_datatypes: Server) -> None:
    """All datatypes and many row lengths at once: what cannot be merged into one batch is not."""
    questions = []
    for datatype in MODELS["datatypes"]:
        shape, raw = edge_bits(datatype)
        questions.append((datatype, shape, raw))
        if datatype not in {"BYTES", "BOOL"}:
            size = len(raw) // (shape[0] * shape[1])
            questions += [(datatype, [1, n], raw[: n * size]) for n in (1, 2, 3, 5)]
    random.Random(5).shuffle(questions)
    path = "/v2/models/datatypes/infer"

    def ask(number: int) -> None:
        datatype, shape, raw = questions[number % len(questions)]
        if number % 2:
            document, tail = http_document(datatype, shape, raw)
            reply = wire.post_binary(batched_datatypes, path, document, tail)
            assert reply.status == 200, reply.body
            found = reply.tensors()
        else:
            with grpc.insecure_channel(batched_datatypes.grpc) as channel:
                found = raw_outputs(stub(channel).ModelInfer(grpc_document(datatype, shape, raw), timeout=60))
        assert found == {f"{datatype.lower()}_out": raw}, (datatype, shape)

    with ThreadPoolExecutor(32) as pool:
        list(pool.map(ask, range(4 * len(questions))))
