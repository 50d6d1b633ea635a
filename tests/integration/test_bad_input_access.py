"""Who may ask, how often, and what is closed: credentials, quota, administration, extensions that do not exist.

Both protocols must say the same, so each case is asked over both. Each test of the quota has a caller of its own.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from tritonclient.grpc import service_pb2 as pb

from tests.integration import wire
from tests.integration.conftest import API_KEYS, QUOTA
from tests.integration.harness import Server, serve
from tests.integration.pair_model import INFER, NAME, assert_well, document, grpc_request, outcome, refused, stub

ALICE, BOB, CAROL, DAVE, ERIN = ({"Authorization": f"Bearer {key}"} for key in API_KEYS.values())
UNKNOWN_CALLER = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)


def metadata(headers: dict[str, str]) -> list[tuple[str, str]]:
    return [(name.lower(), text) for name, text in headers.items()]


def call_grpc(server: Server, method: str, request: Any, headers: dict[str, str]) -> Any:
    with grpc.insecure_channel(server.grpc) as channel:
        return outcome(getattr(stub(channel), method), request, metadata=metadata(headers))


CREDENTIALS = {
    "none": {},
    "wrong key": {"Authorization": "Bearer wrong"},
    "empty key": {"Authorization": "Bearer "},
    "name instead of key": {"Authorization": "Bearer alice"},
    "name and key": {"Authorization": f"Bearer alice:{API_KEYS['alice']}"},
    "cut key": {"Authorization": f"Bearer {API_KEYS['alice'][:-1]}"},
    "longer key": {"Authorization": f"Bearer {API_KEYS['alice']}x"},
    "another scheme": {"Authorization": f"Basic {API_KEYS['alice']}"},
    "no scheme": {"Authorization": API_KEYS["alice"]},
    "key in upper case": {"Authorization": f"Bearer {API_KEYS['alice'].upper()}"},
}


@pytest.mark.parametrize("headers", CREDENTIALS.values(), ids=CREDENTIALS.keys())
def test_callers_without_a_good_key(guarded: Server, headers: dict[str, str]) -> None:
    text = wire.post_json(guarded, INFER, document(), headers).refused(401, 403)
    assert not any(key in text for key in API_KEYS.values())
    refused(call_grpc(guarded, "ModelInfer", grpc_request(), headers), *UNKNOWN_CALLER)


CLOSED = ["/v2/models/pair", "/v2/models/pair/config", "/v2/models/pair/stats", "/v2/models/stats", "/v2/models/nobody"]


@pytest.mark.parametrize("path", CLOSED)
def test_what_else_needs_a_key(guarded: Server, path: str) -> None:
    """Also an unknown model: a stranger cannot tell it from a known one."""
    wire.get(guarded, path).refused(401, 403)


def test_the_index_and_other_calls_need_a_key(guarded: Server) -> None:
    wire.post_json(guarded, "/v2/repository/index", {}).refused(401, 403)
    refused(call_grpc(guarded, "RepositoryIndex", pb.RepositoryIndexRequest(), {}), *UNKNOWN_CALLER)
    refused(call_grpc(guarded, "ModelMetadata", pb.ModelMetadataRequest(name=NAME), {}), *UNKNOWN_CALLER)
    with grpc.insecure_channel(guarded.grpc) as channel:
        stream = stub(channel).ModelStreamInfer(iter([grpc_request()]), timeout=20)
        with pytest.raises(grpc.RpcError) as refusal:
            list(stream)
    assert refusal.value.code() in UNKNOWN_CALLER


def test_health_and_metrics_need_no_key(guarded: Server) -> None:
    for path in ("/livez", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready"):
        assert guarded.status(path) == 200, path
    assert call_grpc(guarded, "ServerLive", pb.ServerLiveRequest(), {}).live
    assert call_grpc(guarded, "ServerReady", pb.ServerReadyRequest(), {}).ready


def test_a_good_key_opens(guarded: Server) -> None:
    assert_well(guarded, ALICE)
    assert wire.get(guarded, "/v2/models/pair", {"authorization": f"bearer {API_KEYS['alice']}"}).status == 200
    assert not any(key in guarded.log() for key in API_KEYS.values()), "a key stands in the log"


def test_over_quota_on_http(guarded: Server) -> None:
    replies = [wire.post_json(guarded, INFER, document(), BOB) for _ in range(4 * QUOTA)]
    good = [reply for reply in replies if reply.status == 200]
    assert QUOTA // 2 <= len(good) <= 3 * QUOTA
    for reply in replies:
        if reply.status != 200:
            reply.refused(429)
            assert float(reply.headers["retry-after"]) >= 1
    # one caller's greed is not another's
    assert wire.post_json(guarded, INFER, document(), ERIN).status == 200
    assert guarded.status("/v2/health/live") == 200


def test_over_quota_on_grpc(guarded: Server) -> None:
    with grpc.insecure_channel(guarded.grpc) as channel:
        infer = stub(channel).ModelInfer
        answers = [outcome(infer, grpc_request(), metadata=metadata(CAROL)) for _ in range(4 * QUOTA)]
        over = [answer for answer in answers if isinstance(answer, grpc.RpcError)]
        assert len(over) >= QUOTA
        for answer in over:
            refused(answer, grpc.StatusCode.RESOURCE_EXHAUSTED)
        assert not isinstance(outcome(infer, grpc_request(), metadata=metadata(ERIN)), grpc.RpcError)


def test_the_quota_comes_back(guarded: Server) -> None:
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda _: wire.post_json(guarded, INFER, document(), DAVE).status, range(4 * QUOTA)))
    assert 429 in statuses
    time.sleep(1.0)
    assert wire.post_json(guarded, INFER, document(), DAVE).status == 200


@pytest.mark.parametrize("verb", ["load", "unload"])
def test_administration_is_closed(pair: Server, verb: str) -> None:
    wire.post_json(pair, f"/v2/repository/models/{NAME}/{verb}", {}).refused(403)
    method = f"RepositoryModel{verb.capitalize()}"
    request = getattr(pb, f"{method}Request")(model_name=NAME)
    refused(call_grpc(pair, method, request, {}), grpc.StatusCode.PERMISSION_DENIED)
    assert_well(pair)


def test_a_known_model_that_is_not_ready(pair_repository: Any) -> None:
    """With administration open: unloaded, the model answers 503; loaded again, it serves as before."""
    with serve(pair_repository, NAME, env={"MODELYARD_ADMIN": "true"}) as server:
        assert wire.post_json(server, f"/v2/repository/models/{NAME}/unload", {}).status == 200
        reply = wire.post_json(server, INFER, document())
        reply.refused(503)
        assert float(reply.headers["retry-after"]) >= 0
        refused(call_grpc(server, "ModelInfer", grpc_request(), {}), grpc.StatusCode.UNAVAILABLE)
        assert wire.get(server, f"/v2/models/{NAME}/ready").status in {400, 503}
        assert not call_grpc(server, "ModelReady", pb.ModelReadyRequest(name=NAME), {}).ready
        assert server.status("/v2/health/live") == 200
        load = pb.RepositoryModelLoadRequest(model_name=NAME)
        assert not isinstance(call_grpc(server, "RepositoryModelLoad", load, {}), grpc.RpcError)
        assert_well(server)
        wire.post_json(server, "/v2/repository/models/nobody/load", {}).refused(400, 404)


EXTENSIONS = [
    ("GET", "/v2/systemsharedmemory/status"),
    ("GET", "/v2/systemsharedmemory/region/x/status"),
    ("POST", "/v2/systemsharedmemory/region/x/register"),
    ("POST", "/v2/systemsharedmemory/unregister"),
    ("GET", "/v2/cudasharedmemory/status"),
    ("POST", "/v2/cudasharedmemory/region/x/register"),
    ("POST", "/v2/cudasharedmemory/unregister"),
    ("GET", "/v2/trace/setting"),
    ("POST", "/v2/trace/setting"),
    ("GET", f"/v2/models/{NAME}/trace/setting"),
    ("GET", "/v2/logging"),
    ("POST", "/v2/logging"),
]


@pytest.mark.parametrize(("method", "path"), EXTENSIONS)
def test_extensions_that_do_not_exist_on_http(pair: Server, method: str, path: str) -> None:
    wire.call(pair, method, path, b"{}" if method == "POST" else b"").refused(501)


@pytest.mark.parametrize(
    ("method", "request_type"),
    [
        ("SystemSharedMemoryStatus", pb.SystemSharedMemoryStatusRequest),
        ("SystemSharedMemoryRegister", pb.SystemSharedMemoryRegisterRequest),
        ("SystemSharedMemoryUnregister", pb.SystemSharedMemoryUnregisterRequest),
        ("CudaSharedMemoryStatus", pb.CudaSharedMemoryStatusRequest),
        ("TraceSetting", pb.TraceSettingRequest),
        ("LogSettings", pb.LogSettingsRequest),
    ],
)
def test_extensions_that_do_not_exist_on_grpc(pair: Server, method: str, request_type: Any) -> None:
    answer = call_grpc(pair, method, request_type(), {})
    assert answer.code() == grpc.StatusCode.UNIMPLEMENTED


def test_shared_memory_of_a_tensor_is_refused(pair: Server) -> None:
    """Never read as if the parameter were not there."""
    region = {"shared_memory_region": "x", "shared_memory_byte_size": 16}
    request = document()
    request["inputs"][0] = {"name": "a", "shape": [1, 4], "datatype": "FP32", "parameters": region}
    wire.post_json(pair, INFER, request).refused(400, 501)
    asked = document() | {"outputs": [{"name": "sum", "parameters": region}]}
    wire.post_json(pair, INFER, asked).refused(400, 501)
    message = grpc_request()
    del message.raw_input_contents[:]
    message.inputs[0].parameters["shared_memory_region"].string_param = "x"
    message.inputs[0].parameters["shared_memory_byte_size"].int64_param = 16
    codes = (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNIMPLEMENTED)
    refused(call_grpc(pair, "ModelInfer", message, {}), *codes)
