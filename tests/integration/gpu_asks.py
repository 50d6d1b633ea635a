"""What a server with a GPU says of itself on every wire, and what a client gets: looked at in one place.

readiness(server)   five probes, over HTTP and gRPC
replies(server, n)  the same question over both wires: status, answer, the backend that is named, Retry-After
check_active(...)   everything that names the active backend says the same
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
import tritonclient.grpc as triton_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

from tests.integration.calls import until
from tests.integration.gpu_harness import CHAIN
from tests.integration.harness import LABEL, SAMPLE, Server

ASK_SECONDS = 30.0
OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1)]
PLATFORMS = {
    "tensorrt": "tensorrt_plan",
    "onnxruntime-cuda": "onnxruntime_onnx",
    "onnxruntime-cpu": "onnxruntime_onnx",
}


@dataclass(frozen=True)
class Reply:
    """What a client got."""

    ok: bool
    status: str
    """200, 503, ...; of gRPC OK, UNAVAILABLE, ..."""
    number: float = float("nan")
    backend: str = ""
    header: str = ""
    """x-modelyard-backend, which gRPC does not have."""
    retry_after: str = ""
    text: str = ""


def ask_http(server: Server, number: float, seconds: float = ASK_SECONDS) -> Reply:
    """One question on a connection of its own."""
    tensor = {"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [number]}
    connection = http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=seconds)
    try:
        connection.request("POST", f"/v2/models/{server.name}/infer", json.dumps({"inputs": [tensor]}))
        response = connection.getresponse()
        text, headers = response.read().decode(), response.headers
    finally:
        connection.close()
    if response.status != http.client.OK:
        return Reply(False, str(response.status), retry_after=headers.get("retry-after", ""), text=text)
    document = json.loads(text)
    return Reply(
        True,
        "200",
        float(document["outputs"][0]["data"][0]),
        document["parameters"]["backend"],
        headers.get("x-modelyard-backend", ""),
    )


def ask_grpc(server: Server, number: float, seconds: float = ASK_SECONDS) -> Reply:
    """One question on a channel of its own."""
    tensor = triton_grpc.InferInput("x", [1, 1], "FP32")
    tensor.set_data_from_numpy(np.array([[number]], np.float32))
    with _triton(server) as client:
        try:
            result = client.infer(server.name, [tensor], client_timeout=seconds)
        except InferenceServerException as error:
            return _refusal(error)
    response = result.get_response()
    return Reply(True, "OK", float(result.as_numpy("y")[0, 0]), response.parameters["backend"].string_param)


def _refusal(error: InferenceServerException) -> Reply:
    """tritonclient leaves the metadata out; they stand in the error that it was made of."""
    metadata: Any = error.__context__.trailing_metadata() if isinstance(error.__context__, grpc.Call) else ()
    retry_after = dict(metadata or ()).get("retry-after", "")
    status = str(error.status()).removeprefix("StatusCode.")
    return Reply(False, status, retry_after=retry_after, text=str(error.message()))


def replies(server: Server, number: float) -> tuple[Reply, Reply]:
    """The same question over HTTP and over gRPC, one after the other; what is answered is right."""
    both = ask_http(server, number), ask_grpc(server, number)
    for reply in both:
        assert not reply.ok or np.float32(reply.number) == np.float32(number), reply
    return both


def readiness(server: Server) -> dict[str, bool]:
    """What every probe says."""
    said = {
        path: server.status(path) == 200 for path in ("/v2/health/ready", "/readyz", f"/v2/models/{server.name}/ready")
    }
    with grpc.insecure_channel(server.grpc, OWN_CONNECTION) as channel:
        stub, health = service_pb2_grpc.GRPCInferenceServiceStub(channel), health_pb2_grpc.HealthStub(channel)
        probes: dict[str, Callable[[], bool]] = {
            "ServerReady": lambda: stub.ServerReady(service_pb2.ServerReadyRequest(), timeout=ASK_SECONDS).ready,
            "ModelReady": lambda: stub.ModelReady(service_pb2.ModelReadyRequest(name=server.name), timeout=5).ready,
            "Health of the server": lambda: _serving(health, ""),
            "Health of the model": lambda: _serving(health, server.name),
        }
        return said | {f"gRPC {name}": _yes(probe) for name, probe in probes.items()}


def _serving(health: Any, service: str) -> bool:
    status = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=ASK_SECONDS).status
    return bool(status == health_pb2.HealthCheckResponse.SERVING)


def _yes(probe: Callable[[], bool]) -> bool:
    """A server that has gone is not ready either."""
    try:
        return probe()
    except grpc.RpcError as error:
        if error.code() == grpc.StatusCode.UNAVAILABLE:
            return False
        raise


def check_ready(server: Server, ready: bool) -> None:
    """All probes say the same; the process is alive in any case."""
    said = readiness(server)
    assert said == dict.fromkeys(said, ready), server.log()
    assert server.status("/v2/health/live") == 200


def config(server: Server, version: str = "") -> dict[str, str]:
    """The parameters of a version's configuration: backend, precision, and why it is degraded."""
    of = f"/versions/{version}" if version else ""
    status, body = server.get(f"/v2/models/{server.name}{of}/config")
    assert status == 200, body
    parameters = json.loads(body)["parameters"]
    return {name: value["string_value"] for name, value in parameters.items()}


def active(server: Server) -> str:
    """The backend that runs the model now."""
    return config(server)["backend"]


def wait_active(server: Server, backend: str, seconds: float = 60.0) -> None:
    """Until the model runs on `backend`."""
    until(lambda: active(server) == backend, f"{backend} is active", seconds)


def check_active(server: Server, backend: str, *degraded: str, workers: int = 1) -> None:
    """Everything that names the active backend names this one; `degraded`: words of the reason, none where it is well.

    A client of each wire is answered, and right.
    """
    http_reply, grpc_reply = replies(server, 3.25)
    assert [http_reply.backend, http_reply.header, grpc_reply.backend] == [backend] * 3, (http_reply, grpc_reply)
    said = config(server)
    assert said["backend"] == backend
    assert ("degraded" in said) == bool(degraded), said
    for word in degraded:
        assert word in said["degraded"], said
    with _triton(server) as client:
        over_grpc = client.get_model_config(server.name, as_json=True)["config"]
        platform = client.get_model_metadata(server.name, as_json=True)["platform"]
    assert {name: value["string_value"] for name, value in over_grpc["parameters"].items()} == said
    assert platform == over_grpc["platform"] == PLATFORMS[backend]
    until(lambda: shown(server) == {backend: workers}, f"the metrics name {backend}: {shown(server)}", 3)
    assert metric(server, "backend_degraded") == bool(degraded)
    assert metric(server, "model_info", backend=backend) == 1
    assert metric(server, "model_info") == 1, "no other backend is named"


def shown(server: Server) -> dict[str, float]:
    """modelyard_backend_active, where it is not 0."""
    found = {name: metric(server, "backend_active", backend=name) for name in CHAIN}
    return {name: value for name, value in found.items() if value}


def metric(server: Server, name: str, **labels: str) -> float:
    """The sum of the samples of this model."""
    return server.metric(f"modelyard_{name}", model=server.name, **labels)


COUNTERS = {
    "build": ("engine_builds_total", ("result",)),
    "fallback": ("backend_fallbacks_total", ("from", "reason")),
    "error": ("backend_errors_total", ("backend", "reason")),
}


def counts(server: Server) -> dict[str, float]:
    """What was built, given up and went wrong: "build failed", "fallback FROM REASON", "error BACKEND REASON"."""
    found: dict[str, float] = {}
    for key, value in server.metrics().items():
        sample = SAMPLE.match(f"{key} 0")
        labels = dict(LABEL.findall(sample["labels"] or "")) if sample else {}
        for what, (name, by) in COUNTERS.items():
            if sample and value and sample["name"] == f"modelyard_{name}" and labels["model"] == server.name:
                moved = " ".join([what, *(labels[label] for label in by)])
                found[moved] = found.get(moved, 0.0) + value
    return found


class Moved:
    """What `counts` did since this was made."""

    def __init__(self, server: Server) -> None:
        self._server, self._before = server, counts(server)

    def __call__(self) -> dict[str, float]:
        """Those that moved, and by how much."""
        moved = {name: value - self._before.get(name, 0.0) for name, value in counts(self._server).items()}
        return {name: value for name, value in moved.items() if value}


@contextmanager
def _triton(server: Server) -> Iterator[Any]:
    client = triton_grpc.InferenceServerClient(server.grpc, channel_args=OWN_CONNECTION)
    try:
        yield client
    finally:
        client.close()
