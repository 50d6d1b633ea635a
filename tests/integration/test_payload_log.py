"""The payload log of real servers: its form, what it leaves out, and that no request suffers by it."""

from __future__ import annotations

import json
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from modelyard.authoring.ports import free_port
from tests.integration.calls import ask, ask_all, until
from tests.integration.drift_model import NAME, make, rows
from tests.integration.harness import Server, import_model, modelyard, serve
from tests.integration.onnx_models import identity

REQUEST, RESPONSE = (f"org.kubeflow.serving.inference.{what}" for what in ("request", "response"))
ALL = {"MODELYARD_PAYLOAD_SAMPLE": "1"}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("models")).parents[2]


def logged(server: Server, result: str) -> float:
    return server.metric("modelyard_payload_log_total", result=result)


def events(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@contextmanager
def receiver(status: int = 200) -> Iterator[tuple[str, list[tuple[dict[str, str], bytes]]]]:
    """An HTTP sink: its address, and what it got."""
    got: list[tuple[dict[str, str], bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            got.append((dict(self.headers), self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/events", got
    finally:
        server.shutdown()
        server.server_close()


def test_events_are_those_of_kserve(repository: Path, tmp_path: Path) -> None:
    path = tmp_path / "payloads.jsonl"
    env = {**ALL, "MODELYARD_PAYLOAD_LOG": f"file:{path}", "POD_NAMESPACE": "shop"}
    array = rows(2, seed=1)
    with serve(repository, NAME, env=env) as server:
        body = {"id": "r1", "inputs": [{"name": "x", "datatype": "FP32", "shape": [2, 3], "data": array.tolist()}]}
        answer = httpx.post(f"{server.url}/v2/models/{NAME}/infer", json=body).json()
        ask(server, {"x": array}, "grpc")
        bad = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [0]}]}
        httpx.post(f"{server.url}/v2/models/{NAME}/infer", json=bad)
        httpx.post(f"{server.url}/feedback", json={"request_id": "r1", "value": [0, 1]})
        until(lambda: logged(server, "written") == 6, "six events are written")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    found = events(path)
    request, response = found[0], found[1]
    assert {event["specversion"] for event in found} == {"1.0"}
    assert (request["type"], response["type"]) == (REQUEST, RESPONSE)
    assert request["id"] == response["id"] == "r1"
    for event in (request, response):
        assert event["inferenceservicename"] == NAME
        assert (event["namespace"], event["component"], event["endpoint"]) == ("shop", "predictor", "default")
        assert event["datacontenttype"] == "application/json"
        assert event["source"].startswith("http://")
    np.testing.assert_array_equal(np.array(request["data"]["inputs"][0]["data"], np.float32), array.ravel())
    assert response["data"]["outputs"][0]["data"] == pytest.approx(answer["outputs"][0]["data"])
    assert response["data"]["model_version"] == "1"
    others = {event["type"]: event["data"] for event in found}
    assert others["dev.modelyard.inference.refused"] == {"reason": "shape"}
    assert others["dev.modelyard.feedback"]["value"] == [0, 1]


def test_a_share_is_kept(repository: Path, tmp_path: Path) -> None:
    path = tmp_path / "payloads.jsonl"
    with serve(repository, NAME, env={"MODELYARD_PAYLOAD_LOG": f"file:{path}", "MODELYARD_PAYLOAD_SAMPLE": "0.2"}) as s:
        ask_all(s, [{"x": rows(1, seed=seed)} for seed in range(300)], "grpc")
    assert 20 <= sum(event["type"] == REQUEST for event in events(path)) <= 120, "60 were to be expected"


@pytest.mark.parametrize(("redact", "shown"), [(None, False), ([], True)])
def test_texts_stay_out_unless_model_yaml_says_so(tmp_path: Path, redact: list[str] | None, shown: bool) -> None:
    def edit(spec: dict[str, Any]) -> None:
        if redact is not None:
            spec["drift"] = {"redact": redact}

    path = tmp_path / "payloads.jsonl"
    import_model(tmp_path / "models", "echo", identity("BYTES"), edit=edit)
    with serve(tmp_path / "models", "echo", env={**ALL, "MODELYARD_PAYLOAD_LOG": f"file:{path}"}) as server:
        texts = np.array([[b"a secret"]], np.object_)
        (name,) = [tensor["name"] for tensor in json.loads(server.get("/v2/models/echo")[1])["inputs"]]
        ask(server, {name: texts})
        until(lambda: logged(server, "written") == 2, "both events are written")
    assert ("a secret" in path.read_text()) is shown
    tensor = events(path)[0]["data"]["inputs"][0]
    assert (tensor["datatype"], tensor["shape"]) == ("BYTES", [1, 1])


def test_a_file_is_turned_when_it_is_large_and_workers_lose_nothing(repository: Path, tmp_path: Path) -> None:
    path = tmp_path / "payloads.jsonl"
    env = {**ALL, "MODELYARD_PAYLOAD_LOG": f"file:{path}", "MODELYARD_PAYLOAD_BYTES": "65536"}
    with serve(repository, NAME, env=env, workers=2) as server:
        for seed in range(16):
            ask(server, {"x": rows(64, seed=seed)})
        until(lambda: logged(server, "written") == 32, "all is written", 20)
    files = sorted(tmp_path.glob("payloads.jsonl*[!k]"))
    assert len(files) > 1
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert sum(len(events(file)) for file in files) == 32


def test_an_http_sink_gets_cloud_events_in_binary_mode(repository: Path) -> None:
    with receiver() as (url, got), serve(repository, NAME, env={**ALL, "MODELYARD_PAYLOAD_LOG": url}) as server:
        ask(server, {"x": rows(1, seed=1)})
        until(lambda: logged(server, "written") == 2, "both events are written")
    headers = [{key.lower(): value for key, value in each.items()} for each, _ in got]
    assert [each["ce-type"] for each in headers] == [REQUEST, RESPONSE]
    assert {each["ce-specversion"] for each in headers} == {"1.0"}
    assert headers[0]["ce-id"] == headers[1]["ce-id"]
    assert {each["ce-inferenceservicename"] for each in headers} == {NAME}
    assert {each["content-type"] for each in headers} == {"application/json"}
    assert json.loads(got[0][1])["inputs"][0]["shape"] == [1, 3]


def test_a_dead_sink_costs_events_and_no_request(repository: Path) -> None:
    env = {**ALL, "MODELYARD_PAYLOAD_LOG": f"http://127.0.0.1:{free_port()}/"}
    with serve(repository, NAME, env=env) as server:
        answers = ask_all(server, [{"x": rows(1, seed=seed)} for seed in range(100)])
        assert len(answers) == 100
        until(lambda: logged(server, "failed") + logged(server, "dropped") == 200, "all are accounted for", 20)
        assert logged(server, "written") == 0
        assert server.stop() == 0, "nor does it hold the end up"


def test_a_sink_that_refuses_is_a_failed_one(repository: Path) -> None:
    with receiver(500) as (url, _), serve(repository, NAME, env={**ALL, "MODELYARD_PAYLOAD_LOG": url}) as server:
        ask(server, {"x": rows(1, seed=1)})
        until(lambda: logged(server, "failed") == 2, "both events failed")


@pytest.mark.parametrize("setting", ["on", "file:relative", "file:/", "ftp://x/", "http://", "http://a:b@host/"])
def test_a_setting_that_means_nothing_is_refused(repository: Path, setting: str) -> None:
    done = modelyard("serve", NAME, "--repository", repository, env={"MODELYARD_PAYLOAD_LOG": setting})
    assert done.code == 1
    assert "MODELYARD_PAYLOAD_LOG" in done.err
    assert "a:b" not in done.err


def test_a_folder_that_is_not_there_is_refused(repository: Path, tmp_path: Path) -> None:
    env = {"MODELYARD_PAYLOAD_LOG": f"file:{tmp_path}/none/p.jsonl"}
    done = modelyard("serve", NAME, "--repository", repository, "--port", "0", "--grpc-port", "0", env=env)
    assert done.code == 1
    assert "cannot be written" in done.err
