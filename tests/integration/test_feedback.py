"""POST /feedback on real servers: from the id of a request to online accuracy."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc

from tests.integration.calls import until
from tests.integration.drift_model import NAME, make, rows
from tests.integration.harness import Server, import_model, serve
from tests.integration.onnx_models import gather_table

PATH = f"/v2/models/{NAME}/infer"


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("models")).parents[2]


@pytest.fixture(scope="module")
def server(repository: Path) -> Iterator[Server]:
    with serve(repository, NAME) as running:
        yield running


def body(array: np.ndarray, **more: Any) -> dict[str, Any]:
    tensor = {"name": "x", "datatype": "FP32", "shape": list(array.shape), "data": array.ravel().tolist()}
    return {"inputs": [tensor], **more}


def counted(server: Server) -> dict[str, float]:
    return {
        result: server.metric("modelyard_feedback_total", model=NAME, version="1", result=result)
        for result in ("correct", "wrong", "unknown")
    }


def tell(server: Server, request_id: str, value: object, **more: Any) -> httpx.Response:
    return httpx.post(f"{server.url}/feedback", json={"request_id": request_id, "value": value}, **more)


def ask_by(server: Server, way: str, array: np.ndarray) -> str:
    """One inference; returns the id by which its feedback is given."""
    request_id = secrets.token_hex(8)
    if way == "body":
        reply = httpx.post(server.url + PATH, json=body(array, id=request_id))
        assert reply.json()["id"] == request_id
    elif way == "header":
        reply = httpx.post(server.url + PATH, json=body(array), headers={"X-Request-Id": request_id})
        assert reply.json()["id"] == request_id
    else:
        with triton_grpc.InferenceServerClient(server.grpc) as client:
            tensor = triton_grpc.InferInput("x", list(array.shape), "FP32")
            tensor.set_data_from_numpy(array)
            assert client.infer(NAME, [tensor], request_id=request_id).get_response().id == request_id
    return request_id


def send(server: Server, array: np.ndarray, ids: list[str]) -> None:
    """On as many connections as there are ids, in turn: with several workers each gets some."""
    for request_id in ids:
        with httpx.Client() as client:
            assert client.post(server.url + PATH, json=body(array, id=request_id)).status_code == 200


@pytest.mark.parametrize("way", ["body", "header", "grpc"])
def test_right_and_wrong_are_counted_for_the_version_that_answered(server: Server, way: str) -> None:
    array = rows(3, seed=1)
    truth = array.argmax(axis=1).tolist()
    truth[2] = (truth[2] + 1) % 3
    before = counted(server)
    request_id = ask_by(server, way, array)
    reply = tell(server, request_id, truth)
    assert reply.status_code == 200, reply.text
    assert reply.json() == {
        "request_id": request_id,
        "model_name": NAME,
        "model_version": "1",
        "predicted": array.argmax(axis=1).tolist(),
        "correct": 2,
        "wrong": 1,
        "counted": True,
    }
    after = counted(server)
    assert (after["correct"] - before["correct"], after["wrong"] - before["wrong"]) == (2, 1)


def test_the_first_value_counts(server: Server) -> None:
    array = rows(1, seed=2)
    true = int(array.argmax())
    request_id = ask_by(server, "body", array)
    assert tell(server, request_id, true).json()["counted"] is True
    before = counted(server)
    again = tell(server, request_id, (true + 1) % 3).json()
    assert (again["counted"], again["correct"]) == (False, 1)
    assert counted(server) == before


def test_an_unknown_id_is_not_found_and_counted(server: Server) -> None:
    before = counted(server)["unknown"]
    reply = tell(server, "never sent", 1)
    assert reply.status_code == 404
    assert "never sent" in reply.json()["error"]
    assert counted(server)["unknown"] - before == 1


WRONG = (
    *(b"", b"{", b"[]", b"\xff", b'{"request_id": "a"}', b'{"request_id": "", "value": 1}'),
    *(b'{"request_id": 1, "value": 1}', b'{"request_id": "%s", "value": 1}' % (b"a" * 300)),
    *(
        b'{"request_id": "a", "value": %s}' % value
        for value in (b'"7"', b"1.5", b"true", b"null", b"[1, [2]]", b"9" * 20)
    ),
    b'{"request_id": "a", "value": 1, "more": 2}',
)


@pytest.mark.parametrize("content", WRONG)
def test_what_is_no_feedback_is_refused(server: Server, content: bytes) -> None:
    reply = httpx.post(f"{server.url}/feedback", content=content)
    assert reply.status_code == 400, reply.text
    assert reply.json()["error"]


def test_another_number_of_values_than_rows_is_refused(server: Server) -> None:
    request_id = ask_by(server, "body", rows(2, seed=3))
    reply = tell(server, request_id, 1)
    assert reply.status_code == 400
    assert "2 rows, 1 values" in reply.json()["error"]
    assert tell(server, request_id, [1, 1]).json()["counted"] is True, "nothing was counted before"


def test_other_methods_and_types(server: Server) -> None:
    assert server.get("/feedback")[0] == 405
    assert httpx.post(f"{server.url}/feedback", content=b"{}", headers={"content-type": "text/xml"}).status_code == 415


def test_a_model_without_classes_says_so(tmp_path: Path) -> None:
    import_model(tmp_path, "table", gather_table(100))
    with serve(tmp_path, "table") as server:
        reply = tell(server, "a", 1)
        assert reply.status_code == 400
        assert "no classes" in reply.json()["error"]


def test_keys_and_limits_hold_here_too(repository: Path) -> None:
    env = {"MODELYARD_API_KEYS": "ann:one,bob:two", "MODELYARD_MAX_BODY_BYTES": "2048"}
    ann, bob = ({"authorization": f"Bearer {key}"} for key in ("one", "two"))
    with serve(repository, NAME, env=env) as server:
        assert tell(server, "a", 1).status_code == 401
        assert tell(server, "a", [1] * 2000, headers=ann).status_code == 413
        array = rows(1, seed=1)
        assert httpx.post(server.url + PATH, json=body(array, id="mine"), headers=ann).status_code == 200
        assert tell(server, "mine", 1, headers=bob).status_code == 404, "an id belongs to whom it came from"
        assert tell(server, "mine", 1, headers=ann).status_code == 200


def test_workers_know_each_others_answers_and_the_oldest_go(repository: Path) -> None:
    with serve(repository, NAME, env={"MODELYARD_FEEDBACK_REQUESTS": "50"}, workers=2) as server:
        array = rows(1, seed=1)
        send(server, array, [f"id{number}" for number in range(16)])
        assert [tell(server, f"id{number}", int(array.argmax())).status_code for number in range(16)] == [200] * 16
        until(lambda: counted(server)["correct"] == 16, "both workers' counts are there")
        send(server, array, [f"later{number}" for number in range(60)])
        until(lambda: tell(server, "id0", 1).status_code == 404, "what is remembered is bounded", 30)
