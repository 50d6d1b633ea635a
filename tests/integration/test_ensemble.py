"""An ensemble over the wire: one answer from several models, each with its own batcher, cache and metrics."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.integration import wire
from tests.integration.calls import PROTOCOLS, Answer, Array, ask, connect, row, settled, until_true
from tests.integration.ensemble_models import (
    LEFT,
    NAME,
    RIGHT,
    computed_rows,
    expected,
    left,
    of,
    repository_of,
    requests,
)
from tests.integration.harness import Server, modelyard, serve

INFER = f"/v2/models/{NAME}/infer"
ALWAYS = {"MODELYARD_CACHE_FACTOR": "0", "MODELYARD_RELOAD_SECONDS": "0.1"}
"""The members are quick: left alone, the cache would find that it does not pay."""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`both`, `left` and `right`."""
    return repository_of(tmp_path_factory.mktemp("ensemble"))


@pytest.fixture(scope="module")
def server(repository: Path) -> Iterator[Server]:
    """The ensemble, with its members."""
    with serve(repository, NAME, ALWAYS) as running:
        yield running


def assert_right(answer: Answer, x: Array) -> None:
    """The vote of what the members say."""
    assert answer.version == "1"
    for name, array in expected(x).items():
        np.testing.assert_allclose(answer.outputs[name], array, rtol=1e-6)


def numbers(start: float, count: int) -> Array:
    """Rows that no other test asks for, each below a millisecond."""
    return (start + np.arange(count, dtype=np.float32).reshape(-1, 1) / 1024) / 1024


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_answer_is_the_vote_of_the_members_own_answers(server: Server, protocol: str) -> None:
    x = numbers(1, 5)
    answer = ask(server, {"x": x}, protocol)
    assert_right(answer, x)
    assert answer.parameters["members"] == "left:1,right:1"
    assert answer.parameters["backend"] == "onnxruntime-cpu"
    alone = {model: ask(of(server, model), {"x": x}, protocol).only for model in (LEFT, RIGHT)}
    np.testing.assert_allclose(answer.outputs["total"], alone[LEFT] + 10 * alone[RIGHT], rtol=1e-6)


def test_json_and_a_single_output(server: Server) -> None:
    request: dict[str, Any] = {
        "id": "mine",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [2, 1], "data": [0.25, 0.5]}],
        "outputs": [{"name": "gap"}],
    }
    reply = wire.post_json(server, INFER, request)
    assert reply.status == 200, reply.body
    (output,) = reply.json()["outputs"]
    assert (output["name"], output["data"], reply.json()["id"]) == ("gap", [1.25, 1.5], "mine")
    assert reply.headers["x-modelyard-backend"] == "onnxruntime-cpu"
    versioned = wire.post_json(server, f"/v2/models/{NAME}/versions/1/infer", request)
    assert versioned.json()["outputs"] == [output]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_nothing_asked_is_nothing_answered(server: Server, protocol: str) -> None:
    answer = ask(server, {"x": np.zeros((0, 1), np.float32)}, protocol)
    assert answer.outputs["total"].shape == (0, 1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "from_left"}, ["'x'"]),
        ({"datatype": "FP64"}, ["'x'", "FP32", "FP64"]),
        ({"shape": [1, 2]}, ["'x'"]),
        ({"shape": [40, 1], "data": [0.5] * 40}, ["40 rows"]),
    ],
)
def test_a_wrong_request_is_refused_in_the_ensembles_own_words(
    server: Server, change: dict[str, Any], words: list[str]
) -> None:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [0.5], **change}
    if change.get("shape") == [1, 2]:
        tensor["data"] = [0.5, 0.5]
    asked = requests(server, LEFT, "ensemble")
    text = wire.post_json(server, INFER, {"inputs": [tensor]}).refused(400)
    assert all(word in text for word in words), text
    assert requests(server, LEFT, "ensemble") == asked


def test_the_index_and_the_metadata_show_all_models(server: Server) -> None:
    index = wire.post_json(server, "/v2/repository/index", {}).json()
    assert {(entry["name"], entry["state"]) for entry in index} == {(m, "READY") for m in (NAME, LEFT, RIGHT)}
    for model in (NAME, LEFT, RIGHT):
        assert server.status(f"/v2/models/{model}/ready") == 200
    whole = json.loads(server.get(f"/v2/models/{NAME}")[1])
    assert whole["platform"] == "ensemble"
    assert [tensor["name"] for tensor in whole["inputs"]] == ["x"]
    config = json.loads(server.get(f"/v2/models/{NAME}/config")[1])
    assert config["parameters"]["members"] == {"string_value": "left,right"}
    assert json.loads(server.get(f"/v2/models/{LEFT}")[1])["platform"] == "onnxruntime_onnx"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_each_member_has_a_cache_of_its_own(server: Server, protocol: str) -> None:
    x = numbers(2 + PROTOCOLS.index(protocol), 8)
    assert ask(server, {"x": x}, protocol).cache == "miss"
    before = {model: computed_rows(server, model) for model in (LEFT, RIGHT)}
    assert ask(server, {"x": x}, protocol).cache == "hit"
    assert ask(of(server, LEFT), {"x": x[:3]}, protocol).cache == "hit", "known from the ensemble's request"
    assert {model: computed_rows(server, model) for model in (LEFT, RIGHT)} == before
    new = numbers(4 + PROTOCOLS.index(protocol), 2)
    assert ask(of(server, LEFT), {"x": new}, protocol).cache == "miss"
    answer = ask(server, {"x": np.concatenate([x[:1], new])}, protocol)
    assert answer.cache == "partial"
    assert_right(answer, np.concatenate([x[:1], new]))
    assert computed_rows(server, LEFT) - before[LEFT] == 2, "its caller's rows, and none of the ensemble's"
    assert computed_rows(server, RIGHT) - before[RIGHT] == 2, "only those that it did not know"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_unwanted_cache_is_unwanted_in_every_member(server: Server, protocol: str) -> None:
    x = numbers(6, 4)
    ask(server, {"x": x}, protocol)
    before = {model: computed_rows(server, model) for model in (LEFT, RIGHT)}
    answer = ask(server, {"x": x}, protocol, parameters={"cache": False})
    assert answer.cache == "bypass"
    assert_right(answer, x)
    assert {model: computed_rows(server, model) - count for model, count in before.items()} == {LEFT: 4, RIGHT: 4}


def test_the_metrics_and_statistics_of_the_parts_do_not_mix(repository: Path) -> None:
    with serve(repository, NAME, ALWAYS) as server:
        for number, rows in enumerate((1, 2, 3)):
            ask(server, {"x": numbers(10 + number, rows)})
        ask(of(server, LEFT), {"x": numbers(20, 4)}, "grpc")
        assert requests(server, NAME, "http") == 3
        for model in (LEFT, RIGHT):
            assert requests(server, model, "ensemble") == 3
            assert requests(server, model, "http") == 0
        assert (requests(server, LEFT, "grpc"), requests(server, RIGHT, "grpc")) == (1, 0)
        assert requests(server, NAME, "ensemble") == 0
        rows_of = {model: computed_rows(server, model) for model in (NAME, LEFT, RIGHT)}
        assert rows_of == {NAME: 6, LEFT: 10, RIGHT: 6}
        missed = [server.metric("modelyard_cache_rows_total", model=m, result="miss") for m in (NAME, LEFT, RIGHT)]
        assert missed == [0, 10, 6]
        counts = {model: server.statistics(model) for model in (NAME, LEFT, RIGHT)}
        assert {model: entry["inference_count"] for model, entry in counts.items()} == rows_of
        successes = {model: entry["inference_stats"]["success"]["count"] for model, entry in counts.items()}
        assert successes == {NAME: 3, LEFT: 4, RIGHT: 3}
        assert server.metric("modelyard_in_flight_requests") == 0


def test_many_callers_at_once_each_get_the_vote_of_their_own_rows(server: Server) -> None:
    random = np.random.default_rng(5)
    rows = [random.random((int(count), 1)).astype(np.float32) / 4 for count in random.integers(1, 9, 120)]

    async def body() -> list[Answer | BaseException]:
        async with (
            connect(server, "http") as over_http,
            connect(server, "grpc") as over_grpc,
            connect(of(server, RIGHT), "grpc") as alone,
        ):
            clients = [over_http, over_grpc]
            calls = [clients[place % 2].infer({"x": x}) for place, x in enumerate(rows)]
            others = [alone.infer({"x": x}) for x in rows[::3]]
            return await settled([*calls, *others])

    answers = asyncio.run(body())
    for x, answer in zip(rows, answers, strict=False):
        assert isinstance(answer, Answer), answer
        assert_right(answer, x)
    for x, answer in zip(rows[::3], answers[len(rows) :], strict=True):
        assert isinstance(answer, Answer), answer
        np.testing.assert_array_equal(answer.only, x)


def test_a_members_new_version_is_followed_without_a_failed_request(repository: Path, tmp_path: Path) -> None:
    repository = repository_of(tmp_path)
    seen: set[str] = set()

    async def ask_on(server: Server, protocol: str, until: asyncio.Event) -> None:
        async with connect(server, protocol) as client:
            number = 0
            while not until.is_set():
                number += 1
                x = numbers(number % 50, 2)
                answer = await client.infer({"x": x})
                weight = {"left:1,right:1": 2, "left:2,right:1": 5}[str(answer.parameters["members"])]
                np.testing.assert_allclose(answer.outputs["gap"], weight * x + 1 - x, rtol=1e-5)
                seen.add(str(answer.parameters["members"]))

    async def body(server: Server) -> None:
        done = asyncio.Event()
        asking = [asyncio.create_task(ask_on(server, protocol, done)) for protocol in PROTOCOLS]
        try:
            await asyncio.to_thread(left, repository, 5.0, "2")
            promoted = await asyncio.to_thread(modelyard, "promote", LEFT, "2", "--repository", repository)
            assert promoted.code == 0, promoted.err
            await until_true(lambda: "left:2,right:1" in seen, "the new version is asked", 30)
        finally:
            done.set()
            await asyncio.gather(*asking)

    with serve(repository, NAME, ALWAYS) as server:
        asyncio.run(body(server))
        assert seen == {"left:1,right:1", "left:2,right:1"}
        assert ask(server, {"x": row(0.5)}).version == "1", "the ensemble's own version is what it was"


def test_the_command_line_knows_ensembles(repository: Path, tmp_path: Path) -> None:
    listed = modelyard("list", "--repository", repository)
    assert all(name in listed.out for name in (NAME, LEFT, RIGHT))
    shown = modelyard("inspect", NAME, "--repository", repository)
    assert shown.code == 0, shown.err
    assert "left: gives the vote y as from_left" in shown.out
    request = tmp_path / "request.json"
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [0.5]}
    request.write_text(json.dumps({"inputs": [tensor]}))
    done = modelyard("infer", NAME, "--json", request, "--repository", repository)
    assert done.code == 0, done.err
    answer = json.loads(done.out)
    assert [output["data"] for output in answer["outputs"]] == [[7.0], [1.5]]
    assert answer["parameters"]["members"] == "left:1,right:1"
