"""The next_item service as its users see it: typed API and protocol give one answer, and its recall over the wire."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from tests.integration.calls import PROTOCOLS, Answer, Array, ask, ask_all
from tests.integration.families import family
from tests.integration.harness import Server, serve

BUCKETS = (8, 16, 32, 64)
LONGEST = 64
ITEMS = 320
BATCH = 64
RANKINGS = ("next_items", "new_items")
SCORES = ("scores", "new_scores")


class Rows(NamedTuple):
    """Held-out sessions [n, 64], filled with 0 on the right, and the item that came next [n]."""

    items: Array
    timestamps: Array
    truth: Array

    def session(self, row: int) -> tuple[Array, Array]:
        """Items and times of one session, without what fills it."""
        there = self.items[row] > 0
        return self.items[row][there], self.timestamps[row][there]


class Version(NamedTuple):
    """What the version says of itself, and the rows that it says it about."""

    metrics: dict[str, float]
    held_out: Rows


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return family("next_item", tmp_path_factory)


@pytest.fixture(scope="module")
def version(repository: Path) -> Version:
    folder = max((repository / "next_item" / "versions").iterdir(), key=lambda path: int(path.name))
    manifest = json.loads((folder / "manifest.json").read_text())
    with np.load(folder / manifest["evaluation"], allow_pickle=False) as file:
        rows = Rows(file["input:items"], file["input:timestamps"], file["truth"])
    return Version(manifest["metrics"], rows)


@pytest.fixture(scope="module")
def held_out(version: Version) -> Rows:
    return version.held_out


@pytest.fixture(scope="module")
def server(repository: Path) -> Iterator[Server]:
    with serve(repository, "next_item") as server:
        yield server


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=30) as connection:
        yield connection


def padded(session: tuple[Array, Array], length: int, places: Array | None = None) -> dict[str, Array]:
    """One row of the model's inputs: the session at `places` (on the left when not given), 0 elsewhere."""
    events = len(session[0])
    row = {name: np.zeros((1, length), np.int64) for name in ("items", "timestamps")}
    for name, values in zip(row, session, strict=True):
        row[name][0, np.arange(events) if places is None else places] = values
    return row


def body(session: tuple[Array, Array], **more: Any) -> dict[str, Any]:
    """The session for the typed API."""
    pairs = zip(session[0].tolist(), session[1].tolist(), strict=True)
    return {"events": [{"item": item, "at": at} for item, at in pairs], **more}


def recommend(client: httpx.Client, document: Any) -> dict[str, Any]:
    """POST /recommend and give the answer."""
    reply = client.post("/recommend", json=document)
    assert reply.status_code == 200, reply.text
    answer: dict[str, Any] = reply.json()
    return answer


def ids(answer: dict[str, Any]) -> list[int]:
    return [each["item"] for each in answer["items"]]


def scores(answer: dict[str, Any]) -> list[float]:
    return [each["score"] for each in answer["items"]]


def assert_equal(one: Answer, other: Answer) -> None:
    """Equal scores; ids may change places only where their scores are equal to rounding."""
    for name in SCORES:
        np.testing.assert_allclose(one.outputs[name], other.outputs[name], atol=1e-5)
    for name, of_scores in zip(RANKINGS, SCORES, strict=True):
        moved = one.outputs[name] != other.outputs[name]
        score = other.outputs[of_scores]
        steps = np.abs(np.diff(score, axis=1))
        near = np.pad(steps, ((0, 0), (1, 0)), constant_values=1) < 1e-5
        near |= np.pad(steps, ((0, 0), (0, 1)), constant_values=1) < 1e-5
        near[:, -1] = True  # the next one after the ranking's end cannot be seen
        assert not (moved & ~near).any()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_recall_over_the_wire_is_that_of_the_manifest(server: Server, version: Version, protocol: str) -> None:
    rows = version.held_out
    hits: list[bool] = []
    for start in range(0, len(rows.truth), BATCH):
        part = slice(start, start + BATCH)
        inputs = {"items": rows.items[part], "timestamps": rows.timestamps[part]}
        ranked = ask(server, inputs, protocol, outputs=("next_items",)).only
        hits += (ranked[:, :10] == rows.truth[part, None]).any(axis=1).tolist()
    metrics = version.metrics
    assert len(hits) == len(rows.truth) >= 3000
    assert np.mean(hits) == pytest.approx(metrics["recall_at_10"], abs=0.001)
    assert metrics["recall_at_10"] > max(metrics["popularity"], metrics["first_order"]) + 0.05
    assert metrics["recall_at_10"] < metrics["oracle"], "nobody beats the generator, or the figures are wrong"


def test_recall_over_the_typed_api(client: httpx.Client, version: Version) -> None:
    count = 300
    rows = version.held_out
    documents = [body(rows.session(row)) for row in range(count)]
    with ThreadPoolExecutor(8) as pool:
        found = [ids(answer) for answer in pool.map(lambda document: recommend(client, document), documents)]
    hits = [truth in ranked for ranked, truth in zip(found, rows.truth[:count].tolist(), strict=True)]
    assert all(len(ranked) == 10 for ranked in found)
    assert np.mean(hits) == pytest.approx(version.metrics["recall_at_10"], abs=0.09)  # three standard errors


def test_three_ways_give_one_answer(server: Server, client: httpx.Client, held_out: Rows) -> None:
    for row in range(12):
        session = held_out.session(row)
        over_http, over_grpc = (ask(server, padded(session, LONGEST), protocol) for protocol in PROTOCOLS)
        assert_equal(over_http, over_grpc)
        for seen, name, of_scores in zip((False, True), RANKINGS, SCORES, strict=True):
            answer = recommend(client, body(session, k=20, exclude_seen=seen))
            assert ids(answer)[:5] == over_http.outputs[name][0, :5].tolist()
            np.testing.assert_allclose(scores(answer), over_http.outputs[of_scores][0, :20], atol=1e-5)
            assert answer["model_version"] == over_http.version


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_padding_changes_no_answer(server: Server, held_out: Rows, protocol: str) -> None:
    rows = [int(np.flatnonzero((held_out.items > 0).sum(axis=1) == length)[0]) for length in (1, 3, 8)]
    for row in rows:
        session = held_out.session(row)
        length = len(session[0])
        alone = ask(server, padded(session, length), protocol)
        for bucket in (*BUCKETS, 100):
            left, right = np.arange(bucket - length, bucket), np.arange(length)
            between = np.sort(np.random.default_rng(bucket).choice(bucket, length, replace=False))
            for places in (left, right, between):
                assert_equal(ask(server, padded(session, bucket, places), protocol), alone)


def test_lengths_mix_in_a_batch(server: Server, held_out: Rows) -> None:
    """One request of many lengths, and many requests at once, give what each session gives alone."""
    chosen = range(20, 50)
    alone = [ask(server, padded(held_out.session(row), LONGEST)) for row in chosen]
    part = slice(chosen.start, chosen.stop)
    together = ask(server, {"items": held_out.items[part], "timestamps": held_out.timestamps[part]}, "grpc")
    for index, expected in enumerate(alone):
        rows = {name: array[index : index + 1] for name, array in together.outputs.items()}
        assert_equal(Answer(together.version, rows), expected)
    lengths = [len(held_out.session(row)[0]) for row in chosen]
    fitted = [next(bucket for bucket in BUCKETS if bucket >= length) for length in lengths]
    requests = [padded(held_out.session(row), bucket) for row, bucket in zip(chosen, fitted, strict=True)]
    for answer, expected in zip(ask_all(server, requests, "grpc"), alone, strict=True):
        assert_equal(answer, expected)


def test_the_newest_events_count(server: Server, client: httpx.Client, held_out: Rows) -> None:
    joined = [held_out.session(row)[0] for row in range(20)]
    items = np.concatenate(joined)[:150]
    session = items, 1_700_000_000 + np.arange(len(items)) * 37
    newest = session[0][-LONGEST:], session[1][-LONGEST:]
    assert len(items) > LONGEST
    assert_equal(ask(server, padded(session, len(items))), ask(server, padded(newest, LONGEST)))
    long, short = recommend(client, body(session)), recommend(client, body(newest))
    assert ids(long) == ids(short)
    assert (long["events_used"], long["events_dropped"]) == (LONGEST, len(items) - LONGEST)
    assert (short["events_used"], short["events_dropped"]) == (LONGEST, 0)


def test_what_is_no_item_is_unknown_to_the_protocol(server: Server) -> None:
    """Any number is answered, and every one that is no item alike."""
    times = np.array([10, 20, 30])
    expected = ask(server, padded((np.array([5, ITEMS + 1, 7]), times), 8))
    assert np.isfinite(expected.outputs["scores"]).all()
    for wrong in (-1, ITEMS + 2, 2**63 - 1, -(2**63)):
        assert_equal(ask(server, padded((np.array([5, wrong, 7]), times), 8), "grpc"), expected)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_session_without_events_is_answered(server: Server, protocol: str) -> None:
    """A new visitor: what most begin with. No length is too small, and no row is none at all."""
    empty = ask(server, padded((np.array([], np.int64), np.array([], np.int64)), 8), protocol)
    assert empty.outputs["scores"][0].sum() > 0.1
    for length in (0, 1):
        blank = {name: np.zeros((1, length), np.int64) for name in ("items", "timestamps")}
        assert_equal(ask(server, blank, protocol), empty)
    assert server.status("/v2/health/ready") == 200


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_rows_that_do_not_fit_are_refused_by_name(server: Server, protocol: str) -> None:
    rows = {name: np.ones((2, 8), np.int64) for name in ("items", "timestamps")}
    for wrong in (np.ones((2, 7), np.int64), np.ones((3, 8), np.int64)):
        with pytest.raises(InferenceServerException, match=r"timestamps|rows"):
            ask(server, rows | {"timestamps": wrong}, protocol)
    with pytest.raises(InferenceServerException, match=r"'items' .*1024"):
        ask(server, {name: np.ones((1, 1025), np.int64) for name in rows}, protocol)


def test_seen_items_are_left_out(client: httpx.Client, held_out: Rows) -> None:
    session = held_out.session(int(np.argmax((held_out.items > 0).sum(axis=1))))
    seen = set(session[0].tolist())
    everything = recommend(client, body(session, k=50))
    new = recommend(client, body(session, k=50, exclude_seen=True))
    assert len(ids(everything)) == len(ids(new)) == 50
    assert seen & set(ids(everything))
    assert not seen & set(ids(new))
    assert scores(new) == sorted(scores(new), reverse=True)


@pytest.mark.parametrize("k", [1, 10, 50])
def test_k_items_are_given(client: httpx.Client, held_out: Rows, k: int) -> None:
    answer = recommend(client, body(held_out.session(3), k=k))
    assert len(set(ids(answer))) == k
    assert ids(answer) == ids(recommend(client, body(held_out.session(3), k=50)))[:k]


def test_equal_sessions_are_answered_from_the_cache(client: httpx.Client, held_out: Rows) -> None:
    items, times = held_out.session(77)
    first = recommend(client, body((items, times)))
    again = recommend(client, body((items, times - 86_400), k=5))
    assert again["cache"] == "hit"
    assert ids(again) == ids(first)[:5]
