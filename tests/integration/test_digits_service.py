"""The digits service as its users see it: the typed API, its OpenAPI document, and its accuracy over the wire."""

from __future__ import annotations

import base64
import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.integration.calls import PROTOCOLS, Array, ask
from tests.integration.families import MODELS, family
from tests.integration.harness import Server, clean_environment, serve

MINIMUM_ACCURACY = 0.98
BRIGHTEST = 16


class Rows(NamedTuple):
    """Images [n, 1, 8, 8] FP32 and labels [n]."""

    images: Array
    labels: Array


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a version of digits: the one that was exported already, else one that is trained now."""
    return family("digits", tmp_path_factory)


@pytest.fixture(scope="session")
def held_out(tmp_path_factory: pytest.TempPathFactory) -> Rows:
    """The rows that the model never saw, as models/digits/dataset.py splits them."""
    path = tmp_path_factory.mktemp("rows") / "held_out.npz"
    code = "import dataset, numpy, sys; numpy.savez(sys.argv[1], **dataset.load()[1]._asdict())"
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, cwd=MODELS / "digits", env=clean_environment())
    with np.load(path) as arrays:
        return Rows(arrays["images"], arrays["labels"])


@pytest.fixture(scope="module")
def digits(repository: Path) -> Iterator[Server]:
    """The service."""
    with serve(repository, "digits") as server:
        yield server


@pytest.fixture
def client(digits: Server) -> Iterator[httpx.Client]:
    """An HTTP client of the service."""
    with httpx.Client(base_url=digits.url, timeout=30) as connection:
        yield connection


def classify(client: httpx.Client, body: Any) -> dict[str, Any]:
    """POST /classify and give the answer."""
    reply = client.post("/classify", json=body)
    assert reply.status_code == 200, reply.text
    answer: dict[str, Any] = reply.json()
    return answer


def pixels(image: Array) -> list[list[int]]:
    """8 rows of 8 pixels from 0 to 16."""
    rows: list[list[int]] = image[0].astype(int).tolist()
    return rows


def png(image: Array, size: int = 8, mode: str = "L") -> str:
    """The image as a PNG in base64: white on black, `size` pixels wide and high."""
    grey = np.round(image[0] * (255 / BRIGHTEST)).astype(np.uint8)
    picture = Image.fromarray(grey).resize((size, size), Image.Resampling.NEAREST).convert(mode)
    return base64_png(picture)


def base64_png(picture: Image.Image) -> str:
    """A picture as a PNG in base64, on one line."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_accuracy_over_the_wire(digits: Server, held_out: Rows, protocol: str) -> None:
    labels = []
    for start in range(0, len(held_out.labels), 60):
        answer = ask(digits, {"image": held_out.images[start : start + 60]}, protocol)
        np.testing.assert_allclose(answer.only.sum(axis=1), 1, rtol=1e-4)
        labels += answer.only.argmax(axis=1).tolist()
    assert np.mean(np.array(labels) == held_out.labels) >= MINIMUM_ACCURACY


def test_classify_pixels_agrees_with_the_protocol(digits: Server, client: httpx.Client, held_out: Rows) -> None:
    for image in held_out.images[:10]:
        expected = ask(digits, {"image": image[np.newaxis]}).only[0]
        answer = classify(client, {"image": pixels(image)})
        assert answer["label"] == int(expected.argmax())
        assert answer["model_version"]
        np.testing.assert_allclose(answer["probabilities"], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("size", [8, 64])
def test_classify_png(client: httpx.Client, held_out: Rows, size: int) -> None:
    count = 20
    right = [
        classify(client, {"png": png(image, size)})["label"] == label
        for image, label in zip(held_out.images[:count], held_out.labels[:count].tolist(), strict=True)
    ]
    assert sum(right) >= count - 1


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P"])
def test_classify_png_in_colour_modes(client: httpx.Client, held_out: Rows, mode: str) -> None:
    image = held_out.images[0]
    grey = classify(client, {"png": png(image)})
    again = classify(client, {"png": png(image, mode=mode)})
    assert again["label"] == grey["label"]
    np.testing.assert_allclose(again["probabilities"], grey["probabilities"], rtol=1e-3, atol=1e-3)


def test_classify_png_with_transparent_paper(client: httpx.Client, held_out: Rows) -> None:
    """White ink whose strength is the alpha channel, as drawing programs export it."""
    image = held_out.images[0]
    alpha = np.round(image[0] * (255 / BRIGHTEST)).astype(np.uint8)
    white = np.dstack([np.full((*alpha.shape, 3), 255, np.uint8), alpha])
    text = base64_png(Image.fromarray(white, "RGBA"))
    grey = classify(client, {"image": pixels(image)})
    np.testing.assert_allclose(classify(client, {"png": text})["probabilities"], grey["probabilities"], atol=1e-2)


def test_classify_png_of_16_bits_with_line_breaks(client: httpx.Client, held_out: Rows) -> None:
    image = held_out.images[0]
    deep = np.round(image[0] * (65535 / BRIGHTEST)).astype(np.uint16)
    text = base64_png(Image.fromarray(deep))
    broken = "\n".join(text[start : start + 76] for start in range(0, len(text), 76)) + "\n"
    grey = classify(client, {"image": pixels(image)})
    np.testing.assert_allclose(classify(client, {"png": broken})["probabilities"], grey["probabilities"], atol=1e-3)


def test_equal_images_are_answered_from_the_cache(client: httpx.Client, held_out: Rows) -> None:
    image = {"image": pixels(held_out.images[-1])}
    first, second = classify(client, image), classify(client, image)
    assert second["cache"] == "hit"
    assert second["probabilities"] == first["probabilities"]


def base64_of(data: bytes) -> str:
    """`data` in base64."""
    return base64.b64encode(data).decode()


def jpeg() -> str:
    """An image, but no PNG."""
    buffer = io.BytesIO()
    Image.new("L", (8, 8)).save(buffer, "JPEG")
    return base64_of(buffer.getvalue())


def huge_png() -> str:
    """A small file that claims 30,000 x 30,000 pixels: it must not be unpacked."""
    buffer = io.BytesIO()
    Image.new("1", (30_000, 30_000)).save(buffer, "PNG")
    return base64_of(buffer.getvalue())


BLANK = [[0] * 8] * 8
BROKEN: dict[str, Any] = {
    "nothing": None,
    "no field": {},
    "both": {"image": BLANK, "png": png(np.zeros((1, 8, 8)))},
    "an unknown field": {"image": BLANK, "jpeg": ""},
    "a row is missing": {"image": BLANK[:7]},
    "a pixel is missing": {"image": [*BLANK[:7], [0] * 7]},
    "a pixel above 16": {"image": [*BLANK[:7], [0] * 7 + [17]]},
    "a pixel below 0": {"image": [*BLANK[:7], [0] * 7 + [-1]]},
    "words": {"image": [*BLANK[:7], ["black"] * 8]},
    "no lines": {"image": [0] * 64},
    "no base64": {"png": "!!!"},
    "no PNG": {"png": base64_of(b"not an image")},
    "a PNG that was cut": {"png": base64_of(base64.b64decode(png(np.zeros((1, 64, 64)), 64))[:60])},
    "a JPEG": {"png": jpeg()},
    "a huge picture": {"png": huge_png()},
    "an empty text": {"png": ""},
    "a number": {"png": 5},
    "a list": [1, 2],
}
"""What is no image of a digit."""


@pytest.mark.parametrize("what", BROKEN)
def test_bad_images_are_refused_with_a_clear_text(client: httpx.Client, held_out: Rows, what: str) -> None:
    reply = client.post("/classify", json=BROKEN[what])
    assert reply.status_code == 400, reply.text
    text = reply.json()["error"]
    assert isinstance(text, str)
    assert any(word in text for word in ("image", "png", "jpeg", "array", "object")), text
    assert "Traceback" not in text
    answer = classify(client, {"image": pixels(held_out.images[0])})
    assert answer["label"] == held_out.labels[0]


@pytest.mark.parametrize("body", [b"{", b"[]", b"{}", b"null", b'{"image": [[NaN]]}', b"\xff"], ids=repr)
def test_bad_bodies_are_refused(client: httpx.Client, body: bytes) -> None:
    reply = client.post("/classify", content=body, headers={"Content-Type": "application/json"})
    assert reply.status_code == 400, reply.text


def test_the_typed_api_counts_as_api(digits: Server, client: httpx.Client, held_out: Rows) -> None:
    labels = {"model": "digits", "protocol": "api", "outcome": "ok"}
    before = digits.metric("modelyard_requests_total", **labels)
    classify(client, {"image": pixels(held_out.images[1])})
    assert digits.metric("modelyard_requests_total", **labels) == before + 1


def test_the_openapi_document_names_the_api(client: httpx.Client) -> None:
    reply = client.get("/docs.json")
    assert reply.status_code == 200
    document = json.loads(reply.text)
    operation = document["paths"]["/classify"]["post"]
    assert operation["requestBody"]
    assert "200" in operation["responses"]
    assert document["openapi"].startswith("3.1")
    assert operation["responses"]["4XX"]["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/Error"
    }
    text = json.dumps(document)
    assert "root_input" not in text
    for reference in re.findall(r'"#/components/schemas/([^"]+)"', text):
        assert reference in document["components"]["schemas"]
    for word in ("image", "png", "label", "probabilities"):
        assert word in text


def test_the_page_of_the_service_calls_nobody_else(client: httpx.Client) -> None:
    page = client.get("/").raise_for_status().text
    assert "docs.json" in page
    assert "//" not in page.replace("<!DOCTYPE html>", "")
    assert client.get("/static_content/swagger-ui-bundle.js").status_code == 200


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/classify", 405), ("GET", "/nothing", 404)])
def test_errors_of_the_typed_api_are_objects(client: httpx.Client, method: str, path: str, status: int) -> None:
    reply = client.request(method, path)
    assert reply.status_code == status
    assert reply.json()["error"]


def test_each_caller_has_a_quota_of_its_own(repository: Path) -> None:
    settings = {"MODELYARD_API_KEYS": "alice:key1,bob:key2", "MODELYARD_TENANT_REQUESTS_PER_SECOND": "2"}
    blank = {"image": np.zeros((8, 8)).tolist()}
    with serve(repository, "digits", settings) as server, httpx.Client(base_url=server.url, timeout=30) as client:

        def ask_as(key: str) -> int:
            return client.post("/classify", json=blank, headers={"Authorization": f"Bearer {key}"}).status_code

        assert 429 in [ask_as("key1") for _ in range(8)]
        assert ask_as("key2") == 200
        assert ask_as("key3") == 403
