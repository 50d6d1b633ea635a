"""Several servers on one machine, and several workers in one server."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest
import tritonclient.grpc as triton_grpc

from tests.integration.calls import PROTOCOLS, ask, row, until
from tests.integration.harness import Server, import_model, serve
from tests.integration.load_clients import GrpcSender, HttpSender
from tests.integration.onnx_models import identity

NAME = "plain"


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the model `plain`: y = x."""
    folder = tmp_path_factory.mktemp("repository")
    import_model(folder, NAME, identity("FP32", (-1, 1)))
    return folder


def ok_requests(server: Server, **labels: str) -> float:
    """Requests answered so far."""
    return server.metric("modelyard_requests_total", model=server.name, outcome="ok", **labels)


def test_two_servers_do_not_disturb_each_others_metrics(repository: Path) -> None:
    with serve(repository, NAME) as one:
        with serve(repository, NAME) as two:
            for server, count in ((one, 5), (two, 3)):
                for index in range(count):
                    for protocol in PROTOCOLS:
                        ask(server, {"x": row(index)}, protocol)
            assert [ok_requests(server) for server in (one, two)] == [10, 6]
            assert [ok_requests(server, protocol="grpc") for server in (one, two)] == [5, 3]
        ask(one, {"x": row(0)})
        assert ok_requests(one) == 11, "the end of the other took nothing away"
        assert one.metric("modelyard_model_ready", model=NAME) == 1


def workers(server: Server) -> list[int]:
    """Process ids of those that listen on the gRPC port."""
    found = []
    for process in server.processes():
        try:
            ports = {c.laddr.port for c in process.net_connections("tcp") if c.status == psutil.CONN_LISTEN}
        except psutil.Error:
            continue
        if server.grpc_port in ports:
            found.append(process.pid)
    return found


def serves(server: Server, count: int) -> bool:
    """Whether `count` requests on new connections of each protocol are answered, one after the other."""
    http, grpc = HttpSender(server, keep=False), GrpcSender(server, keep=False)
    try:
        for number in range(count):
            assert http(number) == number
            assert grpc(number) == number
    except (OSError, RuntimeError, triton_grpc.InferenceServerException):
        return False
    finally:
        http.close()
        grpc.close()
    return True


def test_two_workers_share_ports_and_metrics_and_survive_a_kill(repository: Path) -> None:
    with serve(repository, NAME, workers=2) as server:
        until(lambda: len(workers(server)) == 2, "both workers listen", 30)
        assert serves(server, 40)
        # a scrape shows what the other worker counted up to a moment ago
        for protocol in PROTOCOLS:
            until(lambda p=protocol: ok_requests(server, protocol=p) == 40, "both count", 3)  # type: ignore[misc]
        assert server.metric("modelyard_model_ready", model=NAME) == 1
        victim = workers(server)[0]
        psutil.Process(victim).kill()
        until(lambda: serves(server, 10), "the other worker serves alone", 5)
        assert server.process.poll() is None
        until(lambda: ok_requests(server) >= 80 + 20, "what the killed worker counted is not lost", 3)
        assert server.metric("modelyard_in_flight_requests", model=NAME) == 0
        until(lambda: len(set(workers(server)) - {victim}) == 2, "a new worker takes the place", 30)
        assert serves(server, 20)
        assert server.stop() == 0
