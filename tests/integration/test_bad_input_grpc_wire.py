"""Wrong bytes on the gRPC port: no message, no method, too much of either."""

from __future__ import annotations

import socket
import zlib
from collections.abc import Iterator

import grpc
import pytest

from tests.integration.conftest import STRICT_BODY_BYTES
from tests.integration.harness import Server
from tests.integration.pair_model import assert_well, grpc_request, outcome, raw_outputs, refused, stub


@pytest.fixture(autouse=True)
def stays_well(strict: Server) -> Iterator[None]:
    """After every bad request: live, and the next good requests are answered right."""
    yield
    assert_well(strict)


@pytest.mark.parametrize("message", [b"\xff" * 40, b"\x0a\xff\xff\xff\xff\x7f", b"\x2a\x05\x0a\x80"], ids=repr)
def test_bytes_that_are_no_message(strict: Server, message: bytes) -> None:
    with grpc.insecure_channel(strict.grpc) as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        refused(outcome(call, message), grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.INTERNAL)


@pytest.mark.parametrize("method", ["Check", "List", "Watch"])
def test_bytes_that_are_no_question_about_health(strict: Server, method: str) -> None:
    with grpc.insecure_channel(strict.grpc) as channel:
        kind = channel.unary_stream if method == "Watch" else channel.unary_unary
        call = kind(f"/grpc.health.v1.Health/{method}")
        assert_unreadable(strict, outcome(lambda *a, **k: list(call(*a, **k)), b"\xff" * 3))


def test_bytes_that_are_no_question_about_the_methods(strict: Server) -> None:
    with grpc.insecure_channel(strict.grpc) as channel:
        call = channel.stream_stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
        assert_unreadable(strict, outcome(lambda *a, **k: list(call(*a, **k)), iter([b"\xff" * 3])))


def assert_unreadable(server: Server, answer: object) -> None:
    text = refused(answer, grpc.StatusCode.INVALID_ARGUMENT)
    assert text == "the message does not parse as the protocol says"
    assert "Traceback" not in server.log()


def test_a_method_that_is_not_there(strict: Server) -> None:
    with grpc.insecure_channel(strict.grpc) as channel:
        answer = outcome(channel.unary_unary("/inference.GRPCInferenceService/Nothing"), b"")
    assert answer.code() == grpc.StatusCode.UNIMPLEMENTED


def test_a_message_above_the_cap(strict: Server) -> None:
    with grpc.insecure_channel(strict.grpc) as channel:
        request = grpc_request()
        request.raw_input_contents[0] = b"\0" * STRICT_BODY_BYTES
        answer = outcome(stub(channel).ModelInfer, request)
        assert answer.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert raw_outputs(stub(channel).ModelInfer(grpc_request(), timeout=20))


def test_a_compressed_bomb(strict: Server) -> None:
    """200 MB of zeros in 200 KB: refused, and the memory stays within the cap."""
    request = grpc_request()
    request.raw_input_contents[0] = b"\0" * 200_000_000
    options = [("grpc.max_send_message_length", -1)]
    before = strict.memory_bytes()
    with grpc.insecure_channel(strict.grpc, options=options) as channel:
        answer = outcome(stub(channel).ModelInfer, request, compression=grpc.Compression.Gzip)
    assert answer.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert strict.memory_bytes() - before < 20_000_000


def test_noise_on_the_grpc_port(strict: Server) -> None:
    for noise in (b"GET / HTTP/1.1\r\n\r\n", bytes(1000), zlib.compress(bytes(100_000))):
        with socket.create_connection(("127.0.0.1", strict.grpc_port), timeout=10) as connection:
            connection.sendall(noise)
