"""GET /drain, the preStop hook: not ready, connections are ended one by one, nothing is lost, then SIGTERM."""

from __future__ import annotations

import http.client
import json
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from tests.integration.balancer import Balancer, balanced
from tests.integration.calls import until
from tests.integration.harness import Server, import_model, serve, start
from tests.integration.load_clients import GrpcSender, HttpSender, Load, load
from tests.integration.onnx_models import slow_by_input

NAME = "echo"
DRAIN_SECONDS = 2.0
EXIT_SECONDS = 15.0
ENVIRONMENT = {"MODELYARD_DRAIN_SECONDS": str(DRAIN_SECONDS), "MODELYARD_GRPC_CONNECTION_SECONDS": "1"}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    import_model(folder, NAME, slow_by_input(), edit=lambda spec: spec.update(cache={"enabled": False}))
    return folder


@pytest.fixture
def server(repository: Path) -> Iterator[Server]:
    """A server that the test drains."""
    with serve(repository, NAME, ENVIRONMENT) as running:
        yield running


def drain(server: Server, headers: dict[str, str] | None = None) -> tuple[int, dict[str, object], float]:
    """Status and document of GET /drain, and the seconds that it took."""
    connection = http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=30)
    began = time.monotonic()
    try:
        connection.request("GET", "/drain", headers=headers or {})
        response = connection.getresponse()
        return response.status, json.loads(response.read()), time.monotonic() - began
    finally:
        connection.close()


def test_the_hook_is_answered_when_the_server_may_be_stopped(server: Server) -> None:
    with load(server, milliseconds=5) as loads, ThreadPoolExecutor(1) as thread:
        until(lambda: all(one.answered > 5 for one in loads), "the load runs")
        hook = thread.submit(drain, server)
        until(lambda: server.status("/readyz") == 503, "not ready", DRAIN_SECONDS)
        assert server.status("/v2/health/live") == 200
        _served(loads)
        status, document, seconds = hook.result(30)
        assert (status, document) == (200, {"state": "draining", "seconds": DRAIN_SECONDS})
        assert seconds >= DRAIN_SECONDS
    assert [lost for one in loads for lost in one.lost] == []
    server.process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    assert server.process.wait(EXIT_SECONDS) == 0
    assert time.monotonic() - began < EXIT_SECONDS / 2, "the drain was over: nothing is left to wait for"
    assert server.log().count("serving on for") == 1


def test_every_answer_closes_its_connection(server: Server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=30)
    connection.request("GET", "/v2")
    kept = connection.getresponse()
    kept.read()
    assert kept.headers["connection"] != "close"
    with ThreadPoolExecutor(1) as thread:
        hook = thread.submit(drain, server)
        until(lambda: server.status("/readyz") == 503, "not ready", DRAIN_SECONDS)
        connection.request("GET", "/v2")
        last = connection.getresponse()
        last.read()
        assert last.headers["connection"] == "close"
        hook.result(30)
    connection.close()


def test_grpc_callers_are_told_to_go_and_find_the_server_still_there(server: Server) -> None:
    states: list[grpc.ChannelConnectivity] = []
    gone = threading.Event()

    def changed(state: grpc.ChannelConnectivity) -> None:
        if grpc.ChannelConnectivity.READY in states and state is not grpc.ChannelConnectivity.READY:
            gone.set()
        states.append(state)

    with grpc.insecure_channel(server.grpc) as channel, ThreadPoolExecutor(1) as thread:
        channel.subscribe(changed, try_to_connect=True)
        until(lambda: grpc.ChannelConnectivity.READY in states, "connected")
        hook = thread.submit(drain, server)
        assert gone.wait(DRAIN_SECONDS + 5), "GOAWAY ends an idle connection"
        sender = GrpcSender(server)
        assert sender(3.5) == 3.5
        sender.close()
        assert hook.result(30)[0] == 200


def test_a_call_in_flight_outlives_the_goaway(server: Server) -> None:
    sender = GrpcSender(server)
    assert sender(200.0) == 200.0  # runs of this model do not belong into the event loop: now that is known
    long = 1000 * (DRAIN_SECONDS + 1)
    with ThreadPoolExecutor(2) as threads:
        call = threads.submit(sender, long)
        until(lambda: server.metric("modelyard_in_flight_requests", model=NAME) == 1, "it is in flight")
        assert drain(server)[0] == 200
        server.process.send_signal(signal.SIGTERM)
        assert call.result(30) == long
    assert server.process.wait(EXIT_SECONDS) == 0
    sender.close()


@pytest.mark.parametrize("header", ["X-Forwarded-For", "X-Forwarded-Host", "Forwarded", "Via", "X-Real-IP"])
def test_what_a_proxy_forwards_is_refused(server: Server, header: str) -> None:
    status, document, _ = drain(server, {header: "127.0.0.1"})
    assert status == 403
    assert "MODELYARD_DRAIN_FROM" in str(document["error"])
    assert server.status("/readyz") == 200


def test_to_look_is_not_to_drain(server: Server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=5)
    connection.request("HEAD", "/drain")
    assert connection.getresponse().status == 405
    connection.close()
    assert server.status("/readyz") == 200


def test_a_stranger_is_refused(repository: Path) -> None:
    with serve(repository, NAME, {**ENVIRONMENT, "MODELYARD_DRAIN_FROM": "10.0.0.0/8"}) as server:
        assert drain(server)[0] == 403
        assert server.status("/readyz") == 200


def test_keys_are_not_asked_for(repository: Path) -> None:
    """A hook has no credentials; who may drain is said by networks."""
    environment = {**ENVIRONMENT, "MODELYARD_API_KEYS": "alice:secret", "MODELYARD_DRAIN_SECONDS": "0.1"}
    with serve(repository, NAME, environment) as server:
        assert drain(server)[0] == 200


def test_all_workers_drain(repository: Path) -> None:
    with serve(repository, NAME, ENVIRONMENT, workers=2) as server, ThreadPoolExecutor(1) as thread:
        hook = thread.submit(drain, server)
        until(lambda: server.status("/readyz") == 503, "one is not ready", DRAIN_SECONDS)
        time.sleep(0.6)  # twice the time in which a worker looks
        assert {server.status("/readyz") for _ in range(20)} == {503}
        assert hook.result(30)[0] == 200


def test_a_wrong_network_stops_the_start(repository: Path, tmp_path: Path) -> None:
    server = start(repository, NAME, tmp_path / "log", env={"MODELYARD_DRAIN_FROM": "everybody"})
    assert server.process.wait(60) == 1
    assert "MODELYARD_DRAIN_FROM" in server.log()


@pytest.mark.timeout(400)
def test_three_servers_rolled_three_times_lose_nothing(repository: Path, tmp_path: Path) -> None:
    """Drain and SIGTERM while a new one starts: for each of three servers, three times over, under all clients."""
    running: list[Server] = []
    with balanced() as balancer:
        try:
            running += [_launched(repository, tmp_path / f"first-{number}") for number in range(3)]
            for server in running:
                _join(balancer, server)
            front = Server(NAME, balancer.http_port, balancer.grpc_port, running[0].process, running[0].log_path)
            with load(front, milliseconds=10) as loads:
                for step in range(9):
                    running.append(_launched(repository, tmp_path / f"next-{step}"))
                    _roll_out(balancer, running.pop(0))
                    _join(balancer, running[-1])
                _served(loads)
            assert [lost for one in loads for lost in one.lost] == []
            assert all(balancer.passed.values()), "every server got connections"
        finally:
            for server in running:
                server.stop()


def _launched(repository: Path, log_path: Path) -> Server:
    return start(repository, NAME, log_path, env=ENVIRONMENT)


def _join(balancer: Balancer, server: Server) -> None:
    server.wait_ready()
    balancer.add(server)
    until(lambda: server in balancer.ready, "the balancer knows it")


def _roll_out(balancer: Balancer, server: Server) -> None:
    assert drain(server)[0] == 200
    balancer.remove(server)
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(EXIT_SECONDS) == 0


def _served(loads: Sequence[Load]) -> None:
    """Everybody gets answers from here on."""
    before = [one.answered for one in loads]
    until(lambda: all(one.answered > old + 3 for one, old in zip(loads, before, strict=True)), "everybody is served")


def test_a_new_connection_keeps_working_while_it_drains(server: Server) -> None:
    with ThreadPoolExecutor(1) as thread:
        hook = thread.submit(drain, server)
        until(lambda: server.status("/readyz") == 503, "not ready", DRAIN_SECONDS)
        sender = HttpSender(server, keep=True)
        assert [sender(number) for number in (1.0, 2.0, 3.0)] == [1.0, 2.0, 3.0]
        sender.close()
        hook.result(30)
