"""What is the HTTP/2 front's own: connections that end on the way, many calls at once, large messages, cancelled calls.

The tests of gRPC themselves run on it as they are (`make pytest`: GRPC_FRONT=http2).
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2 as pb

from tests.integration.harness import Server, import_model, serve
from tests.integration.onnx_models import slow_by_input

NAME = "echo"
ENVIRONMENT = {"MODELYARD_GRPC_FRONT": "http2", "MODELYARD_GRPC_CONNECTION_SECONDS": "0"}
METHOD = "/inference.GRPCInferenceService/ModelInfer"
MANY_CALLS = 9_500
"""A connection is ended after 3,072 (http2_connection.MAX_STREAMS; that module's messages cannot share a process with
tritonclient's)."""
MANY_RESETS = 300
"""A connection is ended after 96, and one that had 256 would break."""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    import_model(folder, NAME, slow_by_input(), edit=lambda spec: spec.update(cache={"enabled": False}))
    return folder


@pytest.fixture(scope="module")
def server(repository: Path) -> Iterator[Server]:
    with serve(repository, NAME, ENVIRONMENT) as running:
        yield running


def request(milliseconds: float, rows: int = 1) -> bytes:
    """The model answers after as many milliseconds as it is asked for, with what it was asked."""
    message = pb.ModelInferRequest(model_name=NAME)
    message.inputs.add(name="x", datatype="FP32", shape=[rows, 1])
    message.raw_input_contents.append(np.full((rows, 1), milliseconds, "<f4").tobytes())
    raw: bytes = message.SerializeToString()
    return raw


def value(answer: bytes) -> float:
    return float(np.frombuffer(pb.ModelInferResponse.FromString(answer).raw_output_contents[0], "<f4")[0])


class Caller:
    """Calls over one channel, so many at a time."""

    def __init__(self, channel: Any, at_once: int) -> None:
        self._call = channel.unary_unary(METHOD)
        self._turn = asyncio.Semaphore(at_once)

    async def ask(self, number: float) -> float:
        async with self._turn:
            return value(await self._call(request(number), timeout=30))

    async def give_up(self, number: float) -> None:
        """A call that its caller cancels while the model runs."""
        async with self._turn:
            call = self._call(request(number))
            await asyncio.sleep(0.01)
            assert call.cancel()


async def test_a_channel_outlives_its_connections(server: Server) -> None:
    """More calls than one connection may have: it is ended three times on the way, and no call is lost."""
    async with grpc.aio.insecure_channel(server.grpc) as channel:
        caller = Caller(channel, 64)
        numbers = [number / MANY_CALLS for number in range(MANY_CALLS)]
        answers = await asyncio.gather(*map(caller.ask, numbers))
    assert answers == pytest.approx(numbers, abs=1e-6)


async def test_cancelled_calls_take_no_other_with_them(server: Server) -> None:
    """More resets than one connection may have, in the middle of calls that are answered."""
    async with grpc.aio.insecure_channel(server.grpc) as channel:
        patient, hasty = Caller(channel, 8), Caller(channel, 4)
        numbers = [number / 1000 for number in range(MANY_RESETS)]
        answers, _ = await asyncio.gather(
            asyncio.gather(*map(patient.ask, numbers)),
            asyncio.gather(*(hasty.give_up(20.0) for _ in range(MANY_RESETS))),
        )
    assert answers == pytest.approx(numbers, abs=1e-6)


async def test_more_calls_at_once_than_a_connection_has_streams(server: Server) -> None:
    async with grpc.aio.insecure_channel(server.grpc) as channel:
        call = channel.unary_unary(METHOD)
        answers = await asyncio.gather(*(call(request(1.0), timeout=30) for _ in range(500)))
    assert [value(answer) for answer in answers] == [1.0] * 500


async def test_a_large_answer_to_a_large_request(repository: Path) -> None:
    """Beyond every window and buffer on the way, both ways, a few at once."""
    with serve(repository, NAME, {**ENVIRONMENT, "MODELYARD_MAX_BODY_BYTES": str(2**26)}) as server:
        unlimited = [("grpc.max_receive_message_length", -1)]
        async with grpc.aio.insecure_channel(server.grpc, options=unlimited) as channel:
            call = channel.unary_unary("/grpc.reflection.v1alpha.ServerReflection/Nothing")
            with pytest.raises(grpc.aio.AioRpcError) as refusal:
                await call(bytes(5_000_000))
            assert refusal.value.code() == grpc.StatusCode.UNIMPLEMENTED
            infer = channel.unary_unary(METHOD)
            answers = await asyncio.gather(*(infer(request(0.0) + padding(3_000_000), timeout=30) for _ in range(4)))
            assert [value(answer) for answer in answers] == [0.0] * 4


def padding(count: int) -> bytes:
    """A parameter of so many bytes, to be appended to a message."""
    more = pb.ModelInferRequest()
    more.parameters["padding"].string_param = "x" * count
    raw: bytes = more.SerializeToString()
    return raw


async def test_what_is_open_when_the_server_stops_is_answered(repository: Path) -> None:
    with serve(repository, NAME, {**ENVIRONMENT, "MODELYARD_DRAIN_SECONDS": "1"}) as server:
        async with grpc.aio.insecure_channel(server.grpc) as channel:
            call = channel.unary_unary(METHOD)
            await call(request(200.0))  # now it is known that these runs belong into threads
            long = [asyncio.ensure_future(call(request(2500.0), timeout=30)) for _ in range(2)]
            await asyncio.sleep(0.5)
            server.process.send_signal(signal.SIGTERM)
            assert [value(answer) for answer in await asyncio.gather(*long)] == [2500.0] * 2
        assert await asyncio.to_thread(server.process.wait, 20) == 0
