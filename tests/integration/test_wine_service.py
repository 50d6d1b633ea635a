"""The wine service as its users see it: named measurements in, a cultivar out, and what is refused by its name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.integration.calls import PROTOCOLS, Array, ask
from tests.integration.families import family
from tests.integration.harness import Server, modelyard, serve

MINIMUM_ACCURACY = 0.93
NAMES = (
    "alcohol",
    "malic_acid",
    "ash",
    "alcalinity_of_ash",
    "magnesium",
    "total_phenols",
    "flavanoids",
    "nonflavanoid_phenols",
    "proanthocyanins",
    "color_intensity",
    "hue",
    "od280_od315_of_diluted_wines",
    "proline",
)
"""The model's columns in their order."""
FIRST_WINE = (14.23, 1.71, 2.43, 15.6, 127.0, 2.80, 3.06, 0.28, 2.29, 5.64, 1.04, 3.92, 1065.0)
"""The first wine of the data: cultivar 0."""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a version of wine."""
    return family("wine", tmp_path_factory)


@pytest.fixture(scope="module")
def rows(repository: Path) -> tuple[Array, Array]:
    """The wines that the forest never saw, and their cultivars, as the version carries them."""
    (path,) = sorted(repository.glob("wine/versions/*/evaluation.npz"))[-1:]
    with np.load(path) as arrays:
        return arrays["input:features"], arrays["truth"]


@pytest.fixture(scope="module")
def wine(repository: Path) -> Iterator[Server]:
    """The service."""
    with serve(repository, "wine") as server:
        yield server


@pytest.fixture
def client(wine: Server) -> Iterator[httpx.Client]:
    """An HTTP client of the service."""
    with httpx.Client(base_url=wine.url, timeout=30) as connection:
        yield connection


def named(features: Any) -> dict[str, Any]:
    """A row of the model as the typed API takes it."""
    return dict(zip(NAMES, map(float, features), strict=True))


def refusal(client: httpx.Client, body: Any) -> str:
    """The text with which a body is refused."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    reply = client.post("/classify", content=content, headers={"Content-Type": "application/json"})
    assert reply.status_code == 400, reply.text
    text: str = reply.json()["error"]
    assert "Traceback" not in text
    return text


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_accuracy_over_the_wire(wine: Server, rows: tuple[Array, Array], protocol: str) -> None:
    features, cultivars = rows
    answer = ask(wine, {"features": features}, protocol)
    label, probabilities = answer.outputs["label"], answer.outputs["probabilities"]
    assert label.dtype == np.int64
    assert label.shape == cultivars.shape
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(label, probabilities.argmax(axis=1))
    assert np.mean(label == cultivars) >= MINIMUM_ACCURACY


def test_the_typed_api_agrees_with_the_protocol(wine: Server, client: httpx.Client, rows: tuple[Array, Array]) -> None:
    for features in rows[0][:10]:
        expected = ask(wine, {"features": features[np.newaxis]})
        reply = client.post("/classify", json=named(features))
        assert reply.status_code == 200, reply.text
        answer = reply.json()
        assert answer["label"] == int(expected.outputs["label"][0])
        np.testing.assert_allclose(answer["probabilities"], expected.outputs["probabilities"][0], atol=1e-6)
        assert answer["model_version"] == expected.version


def test_an_equal_wine_is_answered_from_the_cache_whatever_the_order_of_its_fields(client: httpx.Client) -> None:
    first = client.post("/classify", json=named(FIRST_WINE)).raise_for_status().json()
    again = client.post("/classify", json=dict(reversed(named(FIRST_WINE).items()))).raise_for_status().json()
    assert first["label"] == 0
    assert again["cache"] == "hit"
    assert again["probabilities"] == first["probabilities"]


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_measurement_is_named(client: httpx.Client, name: str) -> None:
    body = named(FIRST_WINE)
    del body[name]
    assert name in refusal(client, body)


@pytest.mark.parametrize("name", NAMES)
def test_a_measurement_out_of_range_is_named(client: httpx.Client, name: str) -> None:
    for value in (-1.0, 1e6):
        text = refusal(client, named(FIRST_WINE) | {name: value})
        assert text.startswith(f"{name}:"), text
        assert "than or equal to" in text


@pytest.mark.parametrize("value", [b"NaN", b"Infinity", b"-Infinity", b"1e999", b"null", b'"13"', b"true", b"[13]"])
def test_what_is_no_number_is_named(client: httpx.Client, value: bytes) -> None:
    body = json.dumps(named(FIRST_WINE) | {"hue": 0.123456}).encode().replace(b"0.123456", value)
    assert value in body
    assert "hue" in refusal(client, body)


def test_an_unknown_measurement_is_named_and_all_faults_are_said_at_once(client: httpx.Client) -> None:
    assert "sugar" in refusal(client, named(FIRST_WINE) | {"sugar": 2.0})
    body = named(FIRST_WINE) | {"ash": 99.0, "colour": 1.0}
    del body["proline"]
    text = refusal(client, body)
    for name in ("ash", "colour", "proline"):
        assert name in text


@pytest.mark.parametrize("body", [b"{", b"[]", b"{}", b"null", b"5", b"\xff"], ids=repr)
def test_bad_bodies_are_refused(client: httpx.Client, body: bytes) -> None:
    refusal(client, body)


def test_whole_numbers_are_numbers(client: httpx.Client) -> None:
    reply = client.post("/classify", json=named(FIRST_WINE) | {"magnesium": 127, "proline": 1065})
    assert reply.status_code == 200, reply.text


def test_the_openapi_document_describes_every_measurement(client: httpx.Client) -> None:
    document = client.get("/docs.json").raise_for_status().json()
    fields = document["paths"]["/classify"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert list(fields["properties"]) == list(NAMES)
    assert set(fields["required"]) == set(NAMES)
    assert all({"description", "minimum", "maximum"} <= set(field) for field in fields["properties"].values())


def test_the_command_line_shows_the_quality(repository: Path) -> None:
    shown = modelyard("inspect", "wine", "--repository", repository)
    assert shown.code == 0, shown.err
    for word in ("features", "label", "probabilities", "accuracy", "onnxruntime-cpu"):
        assert word in shown.out
