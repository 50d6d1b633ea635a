"""SIGTERM and SIGINT: not ready first, still serving, everything in flight answered, exit code 0."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
import tritonclient.grpc as triton_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.integration.calls import until
from tests.integration.harness import Server, import_model, serve
from tests.integration.load_clients import GrpcSender, HttpSender, Load, Sender, load
from tests.integration.onnx_models import slow_by_input

NAME = "echo"
DRAIN_SECONDS = 4.0
EXIT_SECONDS = 15.0


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the model, its cache off so that every request runs it."""

    def edit(spec: dict[str, Any]) -> None:
        spec["cache"] = {"enabled": False}

    folder = tmp_path_factory.mktemp("repository")
    import_model(folder, NAME, slow_by_input(), edit=edit)
    return folder


@pytest.fixture
def server(repository: Path) -> Iterator[Server]:
    """A server that the test ends."""
    with serve(repository, NAME, {"MODELYARD_DRAIN_SECONDS": str(DRAIN_SECONDS)}) as running:
        yield running


def all_answered(loads: Sequence[Load], more: int) -> bool:
    """Whether every client got `more` answers by now."""
    return all(one.answered >= more for one in loads)


def no_loss(loads: Sequence[Load]) -> None:
    """Every question of every client was answered right."""
    assert [lost for one in loads for lost in one.lost[:3]] == []


@pytest.mark.parametrize("workers", [1, 2])
def test_sigterm_under_load(repository: Path, workers: int) -> None:
    with serve(repository, NAME, {"MODELYARD_DRAIN_SECONDS": str(DRAIN_SECONDS)}, workers) as server:
        stopped_under_load(server)


def stopped_under_load(server: Server) -> None:
    """SIGTERM to a server under load: not ready first, still serving, nothing lost, exit code 0."""
    with load(server, milliseconds=10, each=2) as loads:
        until(lambda: all_answered(loads, 5), "the load runs")
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        until(lambda: server.status("/readyz") == 503, "not ready", DRAIN_SECONDS / 2)
        assert server.status("/v2/health/ready") in (400, 503)
        assert server.status("/v2/health/live") == 200
        answers = [one.answered for one in loads]
        new: list[Sender] = [HttpSender(server, keep=False), GrpcSender(server)]
        for sender in new:
            assert sender(5.5) == 5.5, "a new client is served while the server drains"
            sender.close()
        until(
            lambda: all(one.answered > before + 3 for one, before in zip(loads, answers, strict=True)),
            "all clients are served while the server is not ready",
            max(0.1, began + 0.7 * DRAIN_SECONDS - time.monotonic()),
        )
        time.sleep(max(0.0, began + 0.7 * DRAIN_SECONDS - time.monotonic()))
    no_loss(loads)
    assert server.process.wait(EXIT_SECONDS) == 0


def test_what_is_in_flight_when_the_drain_ends_is_answered(repository: Path) -> None:
    drain = 0.5
    environment = {"MODELYARD_DRAIN_SECONDS": str(drain), "MODELYARD_EXECUTORS": "1"}
    with serve(repository, NAME, environment) as server:
        answered_after_the_drain(server, drain)


def in_flight(server: Server) -> float:
    """Requests that are being answered."""
    return server.metric("modelyard_in_flight_requests", model=NAME)


def waiting(server: Server) -> float:
    """Rows that wait for the executor."""
    return server.metric("modelyard_queue_rows", model=NAME)


def answered_after_the_drain(server: Server, drain: float) -> None:
    """Requests of all kinds of clients run into the end of the drain and are answered.

    Behind a short one on the only executor they become one batch, which costs no more than one of them.
    """
    senders: list[Sender] = [HttpSender(server, keep=True), HttpSender(server, keep=False), GrpcSender(server)]
    for sender in senders:
        assert sender(1.0) == 1.0
    assert senders[0](200.0) == 200.0  # runs of this model do not belong into the event loop: now that is known
    long = 1000 * (drain + 2.0)
    ahead = HttpSender(server, keep=False)
    with ThreadPoolExecutor(1 + len(senders)) as threads:
        threads.submit(ahead, 1500.0)  # long enough for all others to come on a busy machine
        until(lambda: in_flight(server) == 1, "the short one is in flight")
        calls = [threads.submit(sender, long) for sender in senders]
        until(lambda: in_flight(server) == 3 and waiting(server) == 0, "all others run")
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert [call.result(EXIT_SECONDS) for call in calls] == [long] * 3
        assert time.monotonic() - began > drain, "they were answered after the drain"
    assert server.process.wait(EXIT_SECONDS) == 0
    for sender in senders:
        sender.close()


def test_a_load_that_never_stops_is_refused_cleanly(server: Server) -> None:
    """Clients that ignore not-ready for the whole drain and go on until nobody listens.

    Up to the end each question is answered. The first one that is not finds nobody: its connection is refused or,
    in the moment in which the listener closes, reset before a byte of an answer; never an error or half an answer.
    """
    with load(server, milliseconds=10) as loads:
        until(lambda: all_answered(loads, 5), "the load runs")
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(EXIT_SECONDS) == 0
        until(lambda: all(one.lost for one in loads), "everyone noticed")
    for one in loads:
        assert refused(one.lost[0]), one.lost[0]


def refused(reason: str) -> bool:
    """Whether a client found nobody listening, or found the listener closing."""
    if reason.startswith("gRPC"):
        return "UNAVAILABLE" in reason or "CANCELLED" in reason
    return any(kind in reason for kind in ("ConnectionRefusedError", "ConnectionResetError", "RemoteDisconnected"))


def test_an_idle_stream_does_not_hold_up_the_exit(server: Server) -> None:
    """Clients keep streams open for hours: a health watch, a stream of inferences."""
    with grpc.insecure_channel(server.grpc) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=60)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        client = triton_grpc.InferenceServerClient(server.grpc)
        ended: list[object] = []
        client.start_stream(lambda result, error: ended.append(error or result))
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert server.process.wait(EXIT_SECONDS) == 0
        assert time.monotonic() - began < DRAIN_SECONDS + 5
        client.stop_stream(cancel_requests=True)
        client.close()


@pytest.mark.parametrize("to", ["process", "group"])
def test_sigint_ends_promptly_with_0(repository: Path, to: str) -> None:
    """`group` is what Ctrl-C in a terminal does: every process of the server gets the signal."""
    with serve(repository, NAME, {"MODELYARD_DRAIN_SECONDS": "1"}) as server, HttpSenderOpen(server):
        began = time.monotonic()
        if to == "group":
            os.killpg(server.process.pid, signal.SIGINT)
        else:
            server.process.send_signal(signal.SIGINT)
        assert server.process.wait(EXIT_SECONDS) == 0
        assert time.monotonic() - began < 6
        assert "Traceback" not in server.log()
        assert not [process for process in server.processes() if process.is_running()]


class HttpSenderOpen:
    """An idle keep-alive connection, which must not delay an exit."""

    def __init__(self, server: Server) -> None:
        self._sender = HttpSender(server, keep=True)

    def __enter__(self) -> None:
        assert self._sender(0.5) == 0.5

    def __exit__(self, *_: object) -> None:
        self._sender.close()
