"""A real server for a test outside a checkout: started, asked over the typed API, HTTP and gRPC, and ended.

with serve(repository, "churn") as server:
    ask(server, {"features": array}, "grpc").outputs["label"]
"""

import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from modelyard.authoring.ports import free_port
from modelyard.errors import ConfigurationError
from modelyard.protocol._pb import open_inference_grpc_pb2 as pb
from modelyard.tensors import Array, Tensor, from_bytes, to_bytes

PROTOCOLS = ("http", "grpc")
_READY_SECONDS = 60.0
_STOP_SECONDS = 15.0
_CALL_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Answer:
    version: str
    outputs: dict[str, Array]


@dataclass(frozen=True, slots=True)
class Server:
    name: str
    http_port: int
    grpc_port: int
    process: "subprocess.Popen[bytes]"

    def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, dict[str, str], bytes]:
        """Status, headers (in small letters) and body of the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=_CALL_SECONDS)
        try:
            connection.request("POST", path, body, dict(headers))
            response = connection.getresponse()
            return response.status, {key.lower(): value for key, value in response.getheaders()}, response.read()
        finally:
            connection.close()

    def ready(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=5.0)
        try:
            connection.request("GET", "/v2/health/ready")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


@contextmanager
def serve(repository: Path, name: str) -> Iterator[Server]:
    """A ready server on free ports. Raises ConfigurationError with the end of its log when it does not come to that."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "server.log")
        ports = free_port(), free_port()
        command = [sys.executable, "-m", "modelyard", "serve", name, "--repository", str(repository)]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("MODELYARD_")}
        with log.open("wb") as file:
            process = subprocess.Popen(
                [*command, "--port", str(ports[0]), "--grpc-port", str(ports[1])],
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**environment, "MODELYARD_DRAIN_SECONDS": "0.1"},
                start_new_session=True,
            )
        server = Server(name, *ports, process)
        try:
            _wait_until_ready(server, log)
            yield server
        finally:
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def ask_typed(server: Server, route: str, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
    """Status and JSON of the typed API."""
    status, _, raw = server.post(route, json.dumps(body).encode(), {"Content-Type": "application/json"})
    return status, json.loads(raw)


def ask(server: Server, inputs: Mapping[str, Array], protocol: str = "http") -> Answer:
    """One inference of the Open Inference Protocol. Raises AssertionError when it is refused."""
    tensors = [Tensor.from_array(name, array) for name, array in inputs.items()]
    return _ask_grpc(server, tensors) if protocol == "grpc" else _ask_http(server, tensors)


def _ask_http(server: Server, tensors: list[Tensor]) -> Answer:
    raw = [to_bytes(tensor.datatype, tensor.array) for tensor in tensors]
    described = [
        {"name": t.name, "datatype": t.datatype, "shape": list(t.shape), "parameters": {"binary_data_size": len(part)}}
        for t, part in zip(tensors, raw, strict=True)
    ]
    head = json.dumps({"inputs": described, "parameters": {"binary_data_output": True}}).encode()
    header = "inference-header-content-length"
    path = f"/v2/models/{server.name}/infer"
    status, headers, body = server.post(path, b"".join([head, *raw]), {header: str(len(head))})
    if status != 200:
        raise AssertionError(f"refused with {status}: {body[:500]!r}")
    end = int(headers.get(header, len(body)))
    document, outputs = json.loads(body[:end]), {}
    for output in document["outputs"]:
        size = output["parameters"]["binary_data_size"]
        part, end = body[end : end + size], end + size
        outputs[output["name"]] = from_bytes(output["datatype"], output["shape"], part, output["name"])
    return Answer(document["model_version"], outputs)


def _ask_grpc(server: Server, tensors: list[Tensor]) -> Answer:
    request = pb.ModelInferRequest(
        model_name=server.name,
        inputs=[
            pb.ModelInferRequest.InferInputTensor(name=t.name, datatype=t.datatype, shape=t.shape) for t in tensors
        ],
        raw_input_contents=[to_bytes(t.datatype, t.array) for t in tensors],
    )
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        call = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            request_serializer=pb.ModelInferRequest.SerializeToString,
            response_deserializer=pb.ModelInferResponse.FromString,
        )
        response = call(request, timeout=_CALL_SECONDS)
    outputs = {
        output.name: from_bytes(output.datatype, list(output.shape), raw, output.name)
        for output, raw in zip(response.outputs, response.raw_output_contents, strict=True)
    }
    return Answer(response.model_version, outputs)


def _wait_until_ready(server: Server, log: Path) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while not server.ready():
        if server.process.poll() is not None or time.monotonic() > deadline:
            end = log.read_text(encoding="utf-8", errors="replace")[-2000:]
            raise ConfigurationError(f"the server of '{server.name}' did not become ready:\n{end}")
        time.sleep(0.1)
