"""The service of digits_ensemble: what two models and a vote answer, and that it is the vote of their own answers."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from modelyard.images import write_png
from tests.integration import wire
from tests.integration.calls import PROTOCOLS, Array, ask
from tests.integration.ensemble_models import computed_rows, of, requests
from tests.integration.families import family
from tests.integration.harness import Server, modelyard, serve

NAME = "digits_ensemble"
MEMBERS = {"digits": "convolution", "digits_forest": "forest"}
MINIMUM_ACCURACY = 0.98
BRIGHTEST = 16
INFER = f"/v2/models/{NAME}/infer"


class Rows(NamedTuple):
    """Images [n, 1, 8, 8] FP32 and labels [n]."""

    images: Array
    labels: Array


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the ensemble and its members."""
    return family(NAME, tmp_path_factory)


@pytest.fixture(scope="module")
def held_out(repository: Path) -> Rows:
    """The rows that no member ever saw, as a member's version carries them."""
    with np.load(newest(repository, "digits_forest") / "evaluation.npz") as arrays:
        return Rows(arrays["input:image"], arrays["truth"])


@pytest.fixture(scope="module")
def server(repository: Path) -> Iterator[Server]:
    """The service."""
    with serve(repository, NAME) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    """An HTTP client of the service."""
    with httpx.Client(base_url=server.url, timeout=30) as connection:
        yield connection


def newest(repository: Path, model: str) -> Path:
    """The folder of the newest version."""
    return max((repository / model / "versions").glob("[0-9]*"), key=lambda folder: int(folder.name))


def classify(client: httpx.Client, body: Any) -> dict[str, Any]:
    """POST /classify and give the answer."""
    reply = client.post("/classify", json=body)
    assert reply.status_code == 200, reply.text
    answer: dict[str, Any] = reply.json()
    return answer


def constants(repository: Path) -> dict[str, float]:
    """How much and how each member counts, as the vote's file says: `forest_weight`, `forest_power`."""
    graph = onnx.load(newest(repository, NAME) / "model.onnx").graph
    found = {constant.name: numpy_helper.to_array(constant) for constant in graph.initializer}
    return {name: float(array) for name, array in found.items() if array.ndim == 0}


def counted(probabilities: Array, weight: float, power: float) -> Array:
    """A member's part of the vote."""
    raised = probabilities.astype(np.float64) ** power
    part: Array = weight * raised / raised.sum(axis=1, keepdims=True)
    return part


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_it_is_the_vote_of_its_members_own_answers(
    server: Server, repository: Path, held_out: Rows, protocol: str
) -> None:
    known = constants(repository)
    assert sum(known[f"{name}_weight"] for name in MEMBERS.values()) == pytest.approx(1)
    for start in range(0, len(held_out.labels), 60):
        images = held_out.images[start : start + 60]
        alone = {member: ask(of(server, member), {"image": images}, protocol) for member in MEMBERS}
        together = ask(server, {"image": images}, protocol)
        assert together.parameters["members"] == ",".join(f"{name}:{a.version}" for name, a in alone.items())
        mean = sum(
            counted(alone[member].only, known[f"{name}_weight"], known[f"{name}_power"])
            for member, name in MEMBERS.items()
        )
        np.testing.assert_allclose(together.outputs["probabilities"], mean, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(together.outputs["label"], together.outputs["probabilities"].argmax(axis=1))
        votes = np.stack([answer.only.argmax(axis=1) for answer in alone.values()], axis=1)
        np.testing.assert_array_equal(together.outputs["votes"], votes)
        np.testing.assert_array_equal(together.outputs["agree"], votes[:, 0] == votes[:, 1])


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_published_quality_is_what_the_server_shows(
    server: Server, repository: Path, held_out: Rows, protocol: str
) -> None:
    parts = [
        ask(server, {"image": held_out.images[start : start + 64]}, protocol).outputs
        for start in range(0, len(held_out.labels), 64)
    ]
    answers = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    agree, right = answers["agree"], answers["label"] == held_out.labels
    seen = {
        "accuracy": np.mean(right),
        "digits_accuracy": np.mean(answers["votes"][:, 0] == held_out.labels),
        "digits_forest_accuracy": np.mean(answers["votes"][:, 1] == held_out.labels),
        "agreement": np.mean(agree),
        "accuracy_in_agreement": np.mean(right[agree]),
    }
    metrics = json.loads((newest(repository, NAME) / "manifest.json").read_text())["metrics"]
    assert {name: metrics[name] for name in seen} == pytest.approx(seen, abs=1.5 / len(held_out.labels))
    assert seen["accuracy"] >= MINIMUM_ACCURACY


def test_classify_says_the_same_as_the_protocol(server: Server, client: httpx.Client, held_out: Rows) -> None:
    for image in held_out.images[:10]:
        expected = ask(server, {"image": image[np.newaxis]})
        answer = classify(client, {"image": image[0].tolist()})
        assert answer["label"] == int(expected.outputs["label"][0])
        assert answer["agree"] == bool(expected.outputs["agree"][0])
        np.testing.assert_allclose(answer["probabilities"], expected.outputs["probabilities"][0], rtol=1e-4, atol=1e-6)
        votes = [(vote["model"], vote["label"]) for vote in answer["votes"]]
        assert votes == list(zip(MEMBERS, expected.outputs["votes"][0].tolist(), strict=True))
        members = ",".join(f"{vote['model']}:{vote['model_version']}" for vote in answer["votes"])
        assert members == expected.parameters["members"]
        assert answer["model_version"] == expected.version


def test_a_row_on_which_the_members_differ_says_so(server: Server, client: httpx.Client, held_out: Rows) -> None:
    agree = np.concatenate(
        [ask(server, {"image": held_out.images[s : s + 60]}).outputs["agree"] for s in range(0, 360, 60)]
    )
    assert not agree.all(), "of 360 rows the forest gets some wrong"
    answer = classify(client, {"image": held_out.images[agree.argmin()][0].tolist()})
    assert not answer["agree"]
    assert len({vote["label"] for vote in answer["votes"]}) == 2


def test_classify_png(client: httpx.Client, held_out: Rows) -> None:
    count = 20
    pngs = [base64.b64encode(write_png(image[0], BRIGHTEST, 8)).decode() for image in held_out.images[:count]]
    labels = [classify(client, {"png": png})["label"] for png in pngs]
    assert np.sum(np.array(labels) == held_out.labels[:count]) >= count - 1


def test_json_over_the_protocol(server: Server, held_out: Rows) -> None:
    image = held_out.images[0]
    tensor = {"name": "image", "datatype": "FP32", "shape": [1, 1, 8, 8], "data": image.ravel().tolist()}
    reply = wire.post_json(server, INFER, {"inputs": [tensor], "outputs": [{"name": "label"}, {"name": "agree"}]})
    assert reply.status == 200, reply.body
    assert [output["data"] for output in reply.json()["outputs"]] == [[int(held_out.labels[0])], [True]]


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({"image": [[0] * 8] * 7}, "image"),
        ({"image": [[0] * 8] * 7 + [[17] * 8]}, "image"),
        ({"image": [[0] * 8] * 7 + [["ink"] * 8]}, "image"),
        ({"png": "no base64!"}, "png"),
        ({"png": base64.b64encode(b"no PNG").decode()}, "png"),
        ({}, "exactly one"),
        ({"picture": 1}, "picture"),
    ],
)
def test_wrong_input_is_refused_by_name(client: httpx.Client, body: Any, word: str) -> None:
    reply = client.post("/classify", json=body)
    assert reply.status_code == 400, reply.text
    assert word in reply.json()["error"]


def test_known_images_are_answered_by_the_members_caches(repository: Path, held_out: Rows) -> None:
    images = held_out.images[:16]
    with serve(repository, NAME, {"MODELYARD_CACHE_FACTOR": "0"}) as server:
        first, again = (ask(server, {"image": images}) for _ in range(2))
        assert (first.cache, again.cache) == ("miss", "hit")
        for name, array in first.outputs.items():
            np.testing.assert_array_equal(again.outputs[name], array)
        assert {member: computed_rows(server, member) for member in MEMBERS} == dict.fromkeys(MEMBERS, 16)
        with httpx.Client(base_url=server.url, timeout=30) as client:
            assert classify(client, {"image": images[0][0].tolist()})["cache"] == "hit"
        assert requests(server, NAME, "api") == 1
        assert {member: requests(server, member, "ensemble") for member in MEMBERS} == dict.fromkeys(MEMBERS, 3)


def test_the_documentation_names_the_votes(client: httpx.Client) -> None:
    document = client.get("/docs.json").json()
    assert "/classify" in document["paths"]
    assert "votes" in json.dumps(document["components"]["schemas"])


def test_the_members_are_models_of_this_server(server: Server) -> None:
    index = wire.post_json(server, "/v2/repository/index", {}).json()
    assert {entry["name"] for entry in index if entry["state"] == "READY"} == {NAME, *MEMBERS}
    shown = json.loads(server.get(f"/v2/models/{NAME}")[1])
    assert shown["platform"] == "ensemble"


def test_inspect_shows_the_members_and_the_quality(repository: Path) -> None:
    shown = modelyard("inspect", NAME, "--repository", repository)
    assert shown.code == 0, shown.err
    for text in ("digits: gives the vote probabilities as convolution", "accuracy", "digits_forest_accuracy"):
        assert text in shown.out
