"""The model most protocol tests use: a FP32 [-1, 4] + b INT32 [-1, 4] -> sum FP32, twice INT32; batches of 8.

`document` is a good JSON request for it, `assert_well` proves that a server still answers as it should.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import service_pb2, service_pb2_grpc

from tests.integration import wire
from tests.integration.harness import Server

NAME = "pair"
INFER = f"/v2/models/{NAME}/infer"
MAX_BATCH = 8

A_ROW = (1.0, 2.5, -3.0, 0.25)
B_ROW = (10, -20, 30, 200_000)
SUM_ROW = [11.0, -17.5, 27.0, 200_000.25]
TWICE_ROW = [20, -40, 60, 400_000]

_fresh = itertools.count(1)


def document(a: Sequence[float] = A_ROW, b: Sequence[int] = B_ROW) -> dict[str, Any]:
    """A good request in JSON, one row for each four values."""
    return {
        "inputs": [
            {"name": "a", "shape": [len(a) // 4, 4], "datatype": "FP32", "data": list(a)},
            {"name": "b", "shape": [len(b) // 4, 4], "datatype": "INT32", "data": list(b)},
        ]
    }


def binary_document() -> tuple[dict[str, Any], bytes]:
    """The same request with both tensors in binary: (JSON document, tensors)."""
    first, second = np.array(A_ROW, "<f4").tobytes(), np.array(B_ROW, "<i4").tobytes()
    request = document()
    for tensor, data in zip(request["inputs"], (first, second), strict=True):
        del tensor["data"]
        tensor["parameters"] = {"binary_data_size": len(data)}
    return request, first + second


def grpc_request(model: str = NAME) -> Any:
    """The same request as a gRPC message with raw contents."""
    request = service_pb2.ModelInferRequest(model_name=model)
    request.inputs.add(name="a", datatype="FP32", shape=[1, 4])
    request.inputs.add(name="b", datatype="INT32", shape=[1, 4])
    request.raw_input_contents.append(np.array(A_ROW, "<f4").tobytes())
    request.raw_input_contents.append(np.array(B_ROW, "<i4").tobytes())
    return request


def typed_grpc_request() -> Any:
    """The same request with typed contents."""
    request = grpc_request()
    del request.raw_input_contents[:]
    request.inputs[0].contents.fp32_contents.extend(A_ROW)
    request.inputs[1].contents.int_contents.extend(B_ROW)
    return request


def stub(channel: grpc.Channel) -> Any:
    """The service on a channel, speaking in plain messages."""
    return service_pb2_grpc.GRPCInferenceServiceStub(channel)


def outputs_of(reply: wire.Reply) -> dict[str, Any]:
    """Output name -> flat data of a JSON answer."""
    assert reply.status == 200, (reply.status, reply.body[:500])
    return {output["name"]: output["data"] for output in reply.json()["outputs"]}


def assert_well(server: Server, headers: Mapping[str, str] | None = None, model: str = NAME) -> None:
    """Live, and right on both protocols: for a request the cache knows and for one that it cannot know."""
    assert server.status("/v2/health/live") == 200
    assert server.process.poll() is None, server.log()
    path = f"/v2/models/{model}/infer"
    known = outputs_of(wire.post_json(server, path, document(), headers))
    assert known == {"sum": SUM_ROW, "twice": TWICE_ROW}
    number = next(_fresh)
    fresh = outputs_of(wire.post_json(server, path, document(A_ROW, [number] * 4), headers))
    assert fresh == {"sum": [number + x for x in A_ROW], "twice": [2 * number] * 4}
    metadata = [(name.lower(), text) for name, text in (headers or {}).items()]
    with grpc.insecure_channel(server.grpc) as channel:
        answer = stub(channel).ModelInfer(grpc_request(model), timeout=20, metadata=metadata)
    assert raw_outputs(answer) == {
        "sum": np.array(SUM_ROW, "<f4").tobytes(),
        "twice": np.array(TWICE_ROW, "<i4").tobytes(),
    }


def outcome(method: Any, request: Any, timeout: float = 20.0, **more: Any) -> Any:
    """A call's answer, or the grpc.RpcError that it ended with."""
    try:
        return method(request, timeout=timeout, **more)
    except grpc.RpcError as error:
        return error


def refused(answer: Any, *codes: grpc.StatusCode) -> str:
    """Assert that a call ended with one of `codes` and with a text that shows nothing of the inside."""
    assert isinstance(answer, grpc.RpcError), f"not refused: {str(answer)[:300]}"
    text: str = answer.details()
    assert answer.code() in codes, (answer.code(), text)
    assert text.strip()
    for leak in ("Traceback", 'File "', ".py", "site-packages", " at 0x"):
        assert leak not in text, text
    return text


def raw_outputs(answer: Any) -> dict[str, bytes]:
    """Output name -> raw bytes of a gRPC answer."""
    names = [output.name for output in answer.outputs]
    return dict(zip(names, answer.raw_output_contents, strict=True))


def changed(path: Sequence[str | int], value: Any) -> dict[str, Any]:
    """The good JSON request with the value at `path` replaced."""
    request: Any = json.loads(json.dumps(document()))
    place = request
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return dict(request)
