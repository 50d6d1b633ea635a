"""What the embed service refuses, by name; and that it serves on afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import yaml
from onnx import helper
from tritonclient.utils import InferenceServerException

from tests.integration.calls import PROTOCOLS, Array, ask, try_all
from tests.integration.embed_reference import exported
from tests.integration.harness import Server, import_model, serve
from tests.integration.onnx_models import build, value

VOCABULARY = 30_522
SOURCE = Path(__file__).resolve().parents[2] / "models" / "embed"


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a version of embed."""
    return exported(tmp_path_factory)


@pytest.fixture(scope="module")
def server(repository: Path) -> Iterator[Server]:
    """The service."""
    with serve(repository, "embed") as started:
        yield started


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    """An HTTP client of the service."""
    with httpx.Client(base_url=server.url, timeout=60) as connection:
        yield connection


EMBED: dict[str, tuple[Any, str]] = {
    "nothing": (None, ""),
    "no field": ({}, "texts"),
    "no texts": ({"texts": []}, "texts"),
    "a text alone": ({"texts": "bread"}, "texts"),
    "a number": ({"texts": ["bread", 5]}, "texts.1"),
    "null": ({"texts": [None]}, "texts.0"),
    "too many": ({"texts": ["bread"] * 65}, "texts"),
    "too long": ({"texts": ["bread", "a" * 8193]}, "texts.1"),
    "another field": ({"texts": ["bread"], "model": "x"}, "model"),
}
SEARCH: dict[str, tuple[Any, str]] = {
    "no query": ({"k": 3}, "query"),
    "a blank query": ({"query": "  "}, "query"),
    "a list": ({"query": ["bread"]}, "query"),
    "no results": ({"query": "bread", "k": 0}, "k"),
    "too many results": ({"query": "bread", "k": 51}, "k"),
    "half a result": ({"query": "bread", "k": 2.5}, "k"),
    "a word for k": ({"query": "bread", "k": "five"}, "k"),
    "another field": ({"query": "bread", "limit": 3}, "limit"),
}


def refused(client: httpx.Client, path: str, body: Any, field: str) -> None:
    """A 400 that names the field, and a server that answers the next one."""
    reply = client.post(path, json=body)
    assert reply.status_code == 400, reply.text
    text = reply.json()["error"]
    assert field in text
    assert "Traceback" not in text
    assert client.post("/embed", json={"texts": ["bread"]}).status_code == 200


@pytest.mark.parametrize("what", EMBED)
def test_bad_texts_are_refused_by_name(client: httpx.Client, what: str) -> None:
    refused(client, "/embed", *EMBED[what])


@pytest.mark.parametrize("what", SEARCH)
def test_bad_queries_are_refused_by_name(client: httpx.Client, what: str) -> None:
    refused(client, "/search", *SEARCH[what])


@pytest.mark.parametrize(
    "body",
    [b"{", b"[]", b"null", b"\xff", b'{"texts": ["\xff"]}', b'{"texts": ["\\ud800"]}', b'{"texts": ["a\\udc00b"]}'],
    ids=repr,
)
def test_bad_bodies_are_refused(client: httpx.Client, body: bytes) -> None:
    reply = client.post("/embed", content=body, headers={"Content-Type": "application/json"})
    assert reply.status_code == 400, reply.text
    assert client.post("/embed", json={"texts": ["bread"]}).status_code == 200


def tokens(*shape: int, last: int = 102, mask: int = 1) -> dict[str, Array]:
    """Inputs of that shape; the last id and the last number of the mask are given."""
    ids, marks = np.full(shape, 2000, np.int64), np.ones(shape, np.int64)
    if ids.size:
        ids.flat[-1], marks.flat[-1] = last, mask
    return {"input_ids": ids, "attention_mask": marks}


def mismatched(ids: tuple[int, ...], mask: tuple[int, ...]) -> dict[str, Array]:
    """Inputs of different shapes."""
    return {"input_ids": tokens(*ids)["input_ids"], "attention_mask": tokens(*mask)["attention_mask"]}


OUTSIDE: dict[str, tuple[dict[str, Array], str]] = {
    "an id above the vocabulary": (tokens(2, 8, last=VOCABULARY), f"holds {VOCABULARY}"),
    "an id below zero": (tokens(2, 8, last=-1), "holds -1"),
    "the largest id of all": (tokens(1, 8, last=2**63 - 1), "input_ids"),
    "the least id of all": (tokens(1, 8, last=-(2**63)), "input_ids"),
    "a mask of two": (tokens(1, 8, mask=2), "attention_mask"),
    "a mask below zero": (tokens(1, 8, mask=-1), "attention_mask"),
    "too many tokens": (tokens(1, 257), "from 1 to 256"),
    "far too many tokens": (tokens(1, 20_000), "from 1 to 256"),
    "no tokens": (tokens(2, 0), "from 1 to 256"),
    "a shorter mask": (mismatched((1, 8), (1, 7)), "alike"),
    "a mask of one": (mismatched((1, 8), (1, 1)), "alike"),
    "too many rows": (tokens(65, 4), "65 rows"),
    "rows that differ": (mismatched((2, 4), (1, 4)), "rows"),
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("what", OUTSIDE)
def test_what_the_model_cannot_take_is_refused_beside_good_requests(server: Server, protocol: str, what: str) -> None:
    bad, text = OUTSIDE[what]
    good = tokens(2, 8)
    first, error, last = try_all(server, [good, bad, good], protocol)
    assert isinstance(error, InferenceServerException), error
    assert error.status() == ("400" if protocol == "http" else "StatusCode.INVALID_ARGUMENT")
    assert text in str(error.message())
    for answer in (first, last):
        assert not isinstance(answer, BaseException), answer
        assert answer.only.shape == (2, 384)
    assert np.isfinite(ask(server, tokens(1, 256, last=VOCABULARY - 1), protocol).only).all()


def test_a_call_of_many_lengths_is_one_request_of_the_quota(repository: Path) -> None:
    settings = {"MODELYARD_API_KEYS": "alice:key1", "MODELYARD_TENANT_REQUESTS_PER_SECOND": "0.001"}
    texts = ["bread " * words for words in (3, 20, 50, 100, 200)] * 4
    with serve(repository, "embed", settings) as server, httpx.Client(base_url=server.url, timeout=60) as client:
        headers = {"Authorization": "Bearer key1"}
        assert client.post("/embed", json={"texts": texts}, headers=headers).status_code == 200
        assert client.post("/embed", json={"texts": ["bread"]}, headers=headers).status_code == 429


def test_a_version_without_a_tokenizer_says_so(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Mul", ["input_ids", "attention_mask"], ["known"]),
        helper.make_node("Cast", ["known"], ["floats"], to=1),
        helper.make_node("ReduceSum", ["floats", "axis"], ["sum"], keepdims=1),
        helper.make_node("MatMul", ["sum", "weight"], ["embedding"]),
    ]
    inputs = [value(name, "INT64", (-1, "tokens")) for name in ("input_ids", "attention_mask")]
    constants = {"axis": np.array([1]), "weight": np.ones((1, 384), np.float32)}
    spec = yaml.safe_load((SOURCE / "model.yaml").read_text(encoding="utf-8"))
    model = build(nodes, inputs, [value("embedding", "FP32", (-1, 384))], constants)
    import_model(tmp_path, "embed", model, edit=lambda imported: imported.update(spec))
    with serve(tmp_path, "embed") as server, httpx.Client(base_url=server.url, timeout=30) as client:
        for path, body in (("/embed", {"texts": ["bread"]}), ("/search", {"query": "bread"})):
            reply = client.post(path, json=body)
            assert reply.status_code == 503, reply.text
            assert "'tokenizer.json'" in reply.json()["error"]
        assert ask(server, tokens(1, 8)).only.shape == (1, 384)
