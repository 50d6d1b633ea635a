"""The embed service as its users see it: equal to the package, whatever the length, the batch and the wire."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tokenizers

from tests.integration.calls import PROTOCOLS, Array, ask, ask_all
from tests.integration.embed_reference import Reference, exported, reference
from tests.integration.harness import Server, serve

pytestmark = pytest.mark.timeout(600)  # the first test waits for the package's own library, slow to import and to run

TOLERANCE = 1e-4
PADDING_TOLERANCE = 1e-5
MOST_TEXTS = 64
MOST_TOKENS = 256
LENGTHS = [3, 12, 25, 50, 100, 240, 400]
"""Words of texts that fill every bucket, the last one beyond what the model reads."""
WORDS = "the old boat on a calm river carried bread and salt to many small towns"


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a version of embed."""
    return exported(tmp_path_factory)


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """What the package says."""
    return reference(tmp_path_factory.mktemp("package") / "reference.npz")


@pytest.fixture(scope="session")
def tokenizer(repository: Path) -> tokenizers.Tokenizer:
    """The tokenizer that the version carries."""
    newest = max((repository / "embed" / "versions").iterdir(), key=lambda path: path.stat().st_mtime)
    return tokenizers.Tokenizer.from_file(str(newest / "tokenizer.json"))


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


def embed(client: httpx.Client, texts: Sequence[str]) -> dict[str, Any]:
    """POST /embed and give the answer."""
    reply = client.post("/embed", json={"texts": list(texts)})
    assert reply.status_code == 200, reply.text
    answer: dict[str, Any] = reply.json()
    return answer


def vectors_of(client: httpx.Client, texts: Sequence[str]) -> Array:
    """[n, 384], in as many calls as the limit asks for."""
    starts = range(0, len(texts), MOST_TEXTS)
    return np.concatenate([embed(client, texts[start : start + MOST_TEXTS])["embeddings"] for start in starts])


def padded(rows: Sequence[Sequence[int]], width: int) -> dict[str, Array]:
    """The model's inputs."""
    ids, mask = np.zeros((len(rows), width), np.int64), np.zeros((len(rows), width), np.int64)
    for index, row in enumerate(rows):
        ids[index, : len(row)], mask[index, : len(row)] = row, 1
    return {"input_ids": ids, "attention_mask": mask}


def text_of(words: int, start: int = 0) -> str:
    """A text of so many common words; another one for another `start`."""
    some = WORDS.split()
    return " ".join(some[(start + index * (start + 1)) % len(some)] for index in range(words))


def test_equal_to_the_package(client: httpx.Client, package: Reference) -> None:
    vectors = vectors_of(client, package.everything)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(vectors, package.vectors, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_protocol_gives_the_same(
    server: Server, tokenizer: tokenizers.Tokenizer, package: Reference, protocol: str
) -> None:
    rows = [encoding.ids for encoding in tokenizer.encode_batch(package.everything)]
    order = sorted(range(len(rows)), key=lambda index: len(rows[index]))
    parts = [order[start : start + 16] for start in range(0, len(order), 16)]
    requests = [padded([rows[index] for index in part], len(rows[part[-1]])) for part in parts]
    for part, answer in zip(parts, ask_all(server, requests, protocol), strict=True):
        assert set(answer.outputs) == {"embedding"}
        assert answer.only.dtype == np.float32
        np.testing.assert_allclose(answer.only, package.vectors[part], rtol=0, atol=TOLERANCE)


def test_tokens_and_what_was_cut_are_said(client: httpx.Client) -> None:
    answer = embed(client, ["", "bread", *[text_of(words) for words in LENGTHS]])
    assert answer["tokens"] == [2, 3, *[min(words + 2, MOST_TOKENS) for words in LENGTHS]]
    assert answer["truncated"] == [False] * (1 + len(LENGTHS)) + [True]
    assert answer["model_version"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_padding_changes_nothing(server: Server, tokenizer: tokenizers.Tokenizer, protocol: str) -> None:
    row = tokenizer.encode(text_of(9)).ids
    alone = ask(server, padded([row], len(row)), protocol).only
    for width in (len(row) + 1, 16, 32, 128, 256):
        answer = ask(server, padded([row, row[:5]], width), protocol).only
        np.testing.assert_allclose(answer[:1], alone, rtol=0, atol=PADDING_TOLERANCE)


def test_what_stands_under_the_padding_does_not_matter(server: Server, tokenizer: tokenizers.Tokenizer) -> None:
    inputs = padded([tokenizer.encode("bread and salt").ids], 16)
    expected = ask(server, inputs).only
    inputs["input_ids"] = np.where(inputs["attention_mask"] == 1, inputs["input_ids"], 4321)
    np.testing.assert_allclose(ask(server, inputs).only, expected, rtol=0, atol=PADDING_TOLERANCE)


def test_a_row_without_tokens_has_an_answer(server: Server) -> None:
    answer = ask(server, padded([[]], 16)).only
    assert answer.shape == (1, 384)
    assert np.isfinite(answer).all()


def test_lengths_mixed_in_one_call_keep_their_order(client: httpx.Client) -> None:
    texts = [text_of(words, start) for start in range(3) for words in LENGTHS]
    np.random.default_rng(0).shuffle(texts)
    together = vectors_of(client, texts)
    with httpx.Client(base_url=str(client.base_url), timeout=60) as other:
        alone = np.concatenate([embed(other, [text])["embeddings"] for text in texts])
    np.testing.assert_allclose(together, alone, rtol=0, atol=PADDING_TOLERANCE)


def test_many_callers_at_once_get_their_own(client: httpx.Client) -> None:
    calls = [[text_of(3 + (7 * call + index) % 30, call) for index in range(1 + call % 5)] for call in range(24)]
    expected = [vectors_of(client, texts) for texts in calls]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda texts: vectors_of(client, texts), calls))
    for answer, wanted in zip(answers, expected, strict=True):
        np.testing.assert_allclose(answer, wanted, rtol=0, atol=PADDING_TOLERANCE)


def test_known_texts_are_answered_from_the_cache(client: httpx.Client) -> None:
    texts = ["A sentence that nobody asked for before.", text_of(70, 5)]
    first, second = embed(client, texts), embed(client, texts)
    assert first["cache"] == "miss"
    assert second["cache"] == "hit"
    assert second["embeddings"] == first["embeddings"]
    assert embed(client, [texts[0], "Another one of these, somewhat newer."])["cache"] == "partial"
    assert embed(client, [texts[0], text_of(70, 6)])["cache"] == "partial"


@pytest.mark.parametrize(
    ("query", "topic"),
    [
        ("How do I bake bread at home?", "cooking"),
        ("Who won the cup last night?", "football"),
        ("planets orbiting distant suns", "astronomy"),
        ("My code crashes with a segmentation fault", "programming"),
        ("Will I need an umbrella tomorrow?", "weather"),
        ("symphony and chamber orchestras", "music"),
        ("The attorney filed a complaint with the tribunal", "law"),
        ("stocks, bonds and dividends", "money"),
    ],
)
def test_search_finds_the_topic(client: httpx.Client, package: Reference, query: str, topic: str) -> None:
    reply = client.post("/search", json={"query": query, "k": 10})
    assert reply.status_code == 200, reply.text
    results = reply.json()["results"]
    scores = [result["score"] for result in results]
    assert len(results) == 10
    assert scores == sorted(scores, reverse=True)
    assert results[0]["topic"] == topic
    assert {result["sentence"] for result in results} <= set(package.searched)
    assert reply.json()["model_version"]


def test_a_searched_sentence_finds_itself(client: httpx.Client, package: Reference) -> None:
    assert len(set(package.searched)) >= 300
    assert not set(package.searched) & set(package.held_out)
    for sentence in package.searched[::40]:
        (result,) = client.post("/search", json={"query": sentence, "k": 1}).raise_for_status().json()["results"]
        assert result["sentence"] == sentence
        assert result["score"] == pytest.approx(1, abs=1e-3)


def test_search_gives_five_and_the_cosines_of_the_vectors(client: httpx.Client) -> None:
    query = "a ship on the ocean"
    results = client.post("/search", json={"query": query}).raise_for_status().json()["results"]
    assert len(results) == 5
    vectors = vectors_of(client, [query, *[result["sentence"] for result in results]])
    np.testing.assert_allclose([result["score"] for result in results], vectors[1:] @ vectors[0], atol=1e-3)


def test_the_openapi_document_names_the_api(client: httpx.Client) -> None:
    document = json.loads(client.get("/docs.json").raise_for_status().text)
    assert {"/embed", "/search"} <= set(document["paths"])
    for word in ("texts", "embeddings", "truncated", "query", "score"):
        assert word in json.dumps(document)
