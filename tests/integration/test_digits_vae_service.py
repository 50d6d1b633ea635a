"""The service that generates digits: its typed API, both protocols, and what the cache may keep of it."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from tritonclient.utils import InferenceServerException

from tests.integration.calls import PROTOCOLS, Array, ask
from tests.integration.families import families
from tests.integration.harness import Server, serve

LATENT = 8
BRIGHTEST = 16
RECOGNISED = 0.9


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the model, and `digits`, which reads what it draws."""
    return families(["digits_vae", "digits"], tmp_path_factory)


@pytest.fixture(scope="module")
def vae(repository: Path) -> Iterator[Server]:
    """The service; the cache is always asked."""
    with serve(repository, "digits_vae", {"MODELYARD_CACHE_FACTOR": "0"}) as server:
        yield server


@pytest.fixture
def client(vae: Server) -> Iterator[httpx.Client]:
    """An HTTP client of the service."""
    with httpx.Client(base_url=vae.url, timeout=30) as connection:
        yield connection


def generate(client: httpx.Client, **wanted: Any) -> dict[str, Any]:
    """POST /generate.json and give the answer."""
    reply = client.post("/generate.json", json=wanted)
    assert reply.status_code == 200, reply.text
    answer: dict[str, Any] = reply.json()
    return answer


def draw(client: httpx.Client, **wanted: Any) -> httpx.Response:
    """POST /generate and give the answer, which is a PNG."""
    reply = client.post("/generate", json=wanted)
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-type"] == "image/png"
    return reply


def pixels(png: bytes) -> Array:
    """Its grey values."""
    with Image.open(io.BytesIO(png)) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("L"), np.float32)


def latent(seed: int) -> list[float]:
    values: list[float] = np.random.default_rng(seed).standard_normal(LATENT).astype(np.float32).tolist()
    return values


def test_a_png_is_the_pixels_of_the_json(client: httpx.Client) -> None:
    for scale in (1, 8):
        picture = pixels(draw(client, digit=3, seed=7, scale=scale).content)
        assert picture.shape == (8 * scale, 8 * scale)
        answer = generate(client, digit=3, seed=7, scale=scale)
        np.testing.assert_array_equal(pixels(base64.b64decode(answer["png"])), picture)
        expected = np.repeat(np.repeat(answer["pixels"], scale, 0), scale, 1) * (255 / BRIGHTEST)
        np.testing.assert_allclose(picture, expected, atol=1)


def test_what_is_drawn_is_the_digit(repository: Path, client: httpx.Client) -> None:
    """As `digits` reads it, which was trained on real ones alone."""
    wanted = [digit for digit in range(10) for _ in range(6)]
    images = np.array([generate(client, digit=digit, seed=n)["pixels"] for n, digit in enumerate(wanted)], np.float32)
    assert images.min() >= 0
    assert images.max() <= BRIGHTEST
    with serve(repository, "digits") as reader:
        read = ask(reader, {"image": images[:, np.newaxis]}).only.argmax(axis=1)
    assert np.mean(read == wanted) >= RECOGNISED


def test_the_same_seed_is_the_same_image_and_cached(vae: Server, client: httpx.Client) -> None:
    first = generate(client, digit=5, seed=101)
    before = vae.metric("modelyard_batch_rows_sum", model="digits_vae")
    again = generate(client, digit=5, seed=101)
    assert (first["cache"], again["cache"]) == ("miss", "hit")
    assert vae.metric("modelyard_batch_rows_sum", model="digits_vae") == before
    assert {**first, "cache": ""} == {**again, "cache": ""}
    assert generate(client, digit=5, seed=102)["pixels"] != first["pixels"]
    assert generate(client, digit=6, seed=101)["pixels"] != first["pixels"]
    picture = draw(client, digit=5, seed=101)
    assert picture.headers["x-modelyard-cache"] == "hit"
    assert picture.headers["x-modelyard-seed"] == "101"
    assert picture.headers["x-modelyard-model-version"] == first["model_version"]


def test_without_a_seed_each_image_is_new_and_none_is_kept(vae: Server, client: httpx.Client) -> None:
    asked = 10
    keep = {"model": "digits_vae", "result": "miss"}
    missed = vae.metric("modelyard_cache_rows_total", **keep)
    bypassed = vae.metric("modelyard_cache_rows_total", **{**keep, "result": "bypass"})
    answers = [generate(client, digit=8) for _ in range(asked)]
    assert [answer["cache"] for answer in answers] == ["bypass"] * asked
    assert len({json.dumps(answer["pixels"]) for answer in answers}) == asked
    assert len({answer["seed"] for answer in answers}) == asked
    assert vae.metric("modelyard_cache_rows_total", **keep) == missed
    assert vae.metric("modelyard_cache_rows_total", **{**keep, "result": "bypass"}) == bypassed + asked
    assert draw(client, digit=8).headers["x-modelyard-cache"] == "bypass"
    by_seed = generate(client, digit=8, seed=answers[0]["seed"])
    assert by_seed["cache"] == "miss", "an image that was drawn without a seed was not kept"
    np.testing.assert_allclose(by_seed["pixels"], answers[0]["pixels"], atol=1e-3)


def test_a_latent_vector_gives_its_image_with_and_without_a_class(client: httpx.Client) -> None:
    given = latent(1)
    first, again = (generate(client, digit=2, latent=given) for _ in range(2))
    assert (first["cache"], again["cache"]) == ("miss", "hit")
    assert (first["seed"], first["digit"], first["latent"]) == (None, 2, given)
    assert "x-modelyard-seed" not in draw(client, digit=2, latent=given).headers
    open_class = generate(client, latent=given)
    assert open_class["digit"] is None
    assert open_class["pixels"] != first["pixels"]
    drawn = generate(client, digit=2, seed=55)
    np.testing.assert_allclose(generate(client, digit=2, latent=drawn["latent"])["pixels"], drawn["pixels"], atol=1e-3)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_both_protocols_give_the_image_of_the_typed_api(vae: Server, client: httpx.Client, protocol: str) -> None:
    answers = [generate(client, digit=digit, latent=latent(digit)) for digit in range(10)]
    answers.append(generate(client, latent=latent(10)))
    inputs: dict[str, Array] = {
        "label": np.array([*range(10), -1], np.int64),
        "latent": np.array([answer["latent"] for answer in answers], np.float32),
    }
    answer = ask(vae, inputs, protocol)
    assert answer.only.shape == (11, 1, 8, 8)
    assert answer.version == answers[0]["model_version"]
    np.testing.assert_allclose(answer.only[:, 0], [each["pixels"] for each in answers], atol=1e-3)
    assert ask(vae, inputs, protocol).cache == "hit"
    assert ask(vae, inputs, protocol, parameters={"cache": False}).cache == "bypass"


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("label", [10, -2, 2**40])
def test_a_label_that_is_none_is_refused_by_name(vae: Server, label: int, protocol: str) -> None:
    inputs: dict[str, Array] = {"label": np.array([label], np.int64), "latent": np.zeros((1, LATENT), np.float32)}
    with pytest.raises(InferenceServerException, match="label"):
        ask(vae, inputs, protocol)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
def test_a_latent_value_out_of_range_is_refused_by_name(vae: Server, value: float, protocol: str) -> None:
    inputs: dict[str, Array] = {"label": np.array([3], np.int64), "latent": np.full((1, LATENT), value, np.float32)}
    with pytest.raises(InferenceServerException, match="latent"):
        ask(vae, inputs, protocol)


GOOD = latent(0)
BROKEN: dict[str, tuple[Any, str]] = {
    "nothing": ({}, "digit"),
    "a seed alone": ({"seed": 1}, "digit"),
    "digit 10": ({"digit": 10}, "digit"),
    "digit -1": ({"digit": -1}, "digit"),
    "digit 2.5": ({"digit": 2.5}, "digit"),
    "digit a text": ({"digit": "3"}, "digit"),
    "digit true": ({"digit": True}, "digit"),
    "a latent vector too short": ({"digit": 1, "latent": GOOD[:-1]}, "latent"),
    "a latent vector too long": ({"digit": 1, "latent": [*GOOD, 0.0]}, "latent"),
    "no latent values": ({"digit": 1, "latent": []}, "latent"),
    "a latent text": ({"digit": 1, "latent": [*GOOD[:-1], "1"]}, "latent"),
    "a latent value too far": ({"digit": 1, "latent": [*GOOD[:-1], 1e300]}, "latent"),
    "seed and latent": ({"digit": 1, "seed": 1, "latent": GOOD}, "seed or latent"),
    "seed -1": ({"digit": 1, "seed": -1}, "seed"),
    "a seed too large": ({"digit": 1, "seed": 2**32}, "seed"),
    "a seed as text": ({"digit": 1, "seed": "7"}, "seed"),
    "scale 0": ({"digit": 1, "scale": 0}, "scale"),
    "scale 65": ({"digit": 1, "scale": 65}, "scale"),
    "an unknown field": ({"digit": 1, "sed": 7}, "sed"),
    "a list": ([3], "object"),
}
"""What cannot be drawn, and the word that the refusal has to say."""


@pytest.mark.parametrize("path", ["/generate", "/generate.json"])
@pytest.mark.parametrize("what", BROKEN)
def test_what_cannot_be_drawn_is_refused_by_name(client: httpx.Client, what: str, path: str) -> None:
    body, word = BROKEN[what]
    reply = client.post(path, json=body)
    assert reply.status_code == 400, reply.text
    assert word in reply.json()["error"]


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_latent_value_that_is_no_number_is_refused(client: httpx.Client, value: str) -> None:
    body = f'{{"digit": 1, "latent": [{value}, 0, 0, 0, 0, 0, 0, 0]}}'
    reply = client.post("/generate", content=body, headers={"Content-Type": "application/json"})
    assert reply.status_code == 400, reply.text
    assert "latent" in reply.json()["error"]


def test_the_openapi_document_names_both_answers(client: httpx.Client) -> None:
    document = client.get("/docs.json").raise_for_status().json()
    (png,) = document["paths"]["/generate"]["post"]["responses"]["200"]["content"]
    (described,) = document["paths"]["/generate.json"]["post"]["responses"]["200"]["content"]
    assert (png, described) == ("image/png", "application/json")
    for word in ("digit", "seed", "latent", "scale", "pixels"):
        assert word in json.dumps(document)
