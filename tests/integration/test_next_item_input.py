"""What the typed API of next_item takes and refuses: times in every form, and each fault by its name."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import httpx
import pytest

from tests.integration.families import family
from tests.integration.harness import serve

ITEMS = 320


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with (
        serve(family("next_item", tmp_path_factory), "next_item") as server,
        httpx.Client(base_url=server.url, timeout=30) as connection,
    ):
        yield connection


def recommend(client: httpx.Client, document: Any) -> dict[str, Any]:
    """POST /recommend and give the answer."""
    reply = client.post("/recommend", json=document)
    assert reply.status_code == 200, reply.text
    answer: dict[str, Any] = reply.json()
    return answer


def test_time_comes_in_three_ways(client: httpx.Client) -> None:
    first = datetime(2025, 3, 1, 9, 30, tzinfo=UTC)
    moments = [first, first + timedelta(seconds=50), first + timedelta(hours=5)]
    east = timezone(timedelta(hours=2))
    ways: list[list[Any]] = [
        [moment.timestamp() for moment in moments],
        [moment.isoformat() for moment in moments],
        [moment.astimezone(east).isoformat() for moment in moments],
        [moment.strftime("%Y-%m-%dT%H:%M:%SZ") for moment in moments],
        [moment.timestamp() - 86_400 for moment in moments],  # another day: only gaps count
    ]
    documents = [{"events": [{"item": 9, "at": at} for at in way]} for way in ways]
    answers = [recommend(client, document) for document in documents]
    assert all(answer["items"] == answers[0]["items"] for answer in answers)
    hasty = [{"item": 9, "at": moment} for moment in (100, 101, 102)]
    assert recommend(client, {"events": hasty})["items"] != answers[0]["items"]


NOW = 1_750_000_000
GOOD = {"item": 17, "at": NOW}
BROKEN: dict[str, tuple[Any, str]] = {
    "no body": (None, ""),
    "no events": ({}, "events"),
    "an empty session": ({"events": []}, "events"),
    "events are no list": ({"events": GOOD}, "events"),
    "an unknown field": ({"events": [GOOD], "user": 3}, "user"),
    "an unknown field of an event": ({"events": [GOOD | {"price": 1}]}, "events.0.price"),
    "no item": ({"events": [{"at": NOW}]}, "events.0.item"),
    "no time": ({"events": [GOOD, {"item": 3}]}, "events.1.at"),
    "item 0": ({"events": [{"item": 0, "at": NOW}]}, "events.0.item"),
    "an unknown item": ({"events": [GOOD, {"item": ITEMS + 1, "at": NOW}]}, f"events.1.item: {ITEMS + 1} is no item"),
    "a huge item": ({"events": [{"item": 2**70, "at": NOW}]}, "events.0.item"),
    "an item that is text": ({"events": [{"item": "17", "at": NOW}]}, "events.0.item"),
    "an item that is true": ({"events": [{"item": True, "at": NOW}]}, "events.0.item"),
    "half an item": ({"events": [{"item": 1.5, "at": NOW}]}, "events.0.item"),
    "out of order": ({"events": [GOOD, {"item": 3, "at": NOW - 1}]}, "events.1.at is before events.0.at"),
    "a time that is none": ({"events": [{"item": 3, "at": "yesterday"}]}, "events.0.at"),
    "a time without a zone": ({"events": [{"item": 3, "at": "2025-01-01T10:00:00"}]}, "zone"),
    "a time in milliseconds": ({"events": [{"item": 3, "at": NOW * 1000}]}, "events.0.at: the time is in the future"),
    "the day after tomorrow": ({"events": [{"item": 3, "at": time.time() + 3 * 86_400}]}, "future"),
    "before 1970": ({"events": [{"item": 3, "at": -5}]}, "events.0.at"),
    "k is 0": ({"events": [GOOD], "k": 0}, "k"),
    "k is 51": ({"events": [GOOD], "k": 51}, "k"),
    "k is true": ({"events": [GOOD], "k": True}, "k"),
    "exclude_seen is text": ({"events": [GOOD], "exclude_seen": "no"}, "exclude_seen"),
    "ten thousand and one events": ({"events": [GOOD] * 10_001}, "events"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_broken_input_is_refused_by_name(client: httpx.Client, what: str) -> None:
    document, text = BROKEN[what]
    reply = client.post("/recommend", json=document)
    assert reply.status_code == 400, reply.text
    assert text in reply.json()["error"]
    assert recommend(client, {"events": [GOOD]})["items"]


def test_the_api_is_documented(client: httpx.Client) -> None:
    document = client.get("/docs.json").raise_for_status().json()
    schema = document["paths"]["/recommend"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    named = schema.get("$ref", "").rpartition("/")[2]
    fields = document["components"]["schemas"][named]["properties"] if named else schema["properties"]
    assert set(fields) == {"events", "k", "exclude_seen"}
