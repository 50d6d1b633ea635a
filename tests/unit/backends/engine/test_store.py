"""The engine store: found again by its whole key, and bounded."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from modelyard.backends.engine.store import EngineStore
from tests.unit.backends.engine.plans import ABOUT, KEY, PLAN, files, other, publish, store_in


@pytest.fixture(name="store")
def _store(tmp_path: Path) -> EngineStore:
    return store_in(tmp_path)


def test_what_was_published_is_found_with_its_manifest(store: EngineStore) -> None:
    assert store.find(KEY) is None
    assert not store.folder.exists(), "looking makes nothing"
    publish(store)
    assert store.find(KEY) == PLAN
    (entry,) = store.entries()
    assert (entry.key, entry.about, entry.bytes) == (KEY, ABOUT, len(PLAN))
    manifest = json.loads(files(store, ".json")[0].read_text())
    assert manifest["sha256"] == hashlib.sha256(PLAN).hexdigest()
    assert manifest["about"] == {"model": "digits", "version": "1", "seconds": 2.5}


def test_only_the_owner_can_read_or_write_it(store: EngineStore) -> None:
    before = os.umask(0)
    try:
        publish(store)
        store.remember_refusal(KEY, "x")
        store.keep_timing_cache("10", "gpu", None, b"t")
    finally:
        os.umask(before)
    assert stat.S_IMODE(store.folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in files(store)} == {0o600}


@pytest.mark.parametrize(
    "field", ["onnx_sha256", "tensorrt", "gpu", "compute_capability", "precision", "profiles", "flags"]
)
def test_every_part_of_the_key_counts(store: EngineStore, field: str) -> None:
    publish(store)
    assert store.find(replace(KEY, **{field: "another"})) is None


def test_a_newer_plan_replaces_the_older_one(store: EngineStore) -> None:
    publish(store)
    publish(store, plan=b"newer")
    assert store.find(KEY) == b"newer"
    assert len(files(store)) == 2, "a manifest and a plan"


def test_publishing_needs_the_lock(store: EngineStore) -> None:
    with pytest.raises(RuntimeError, match="lock"), store.lock(other("a")):
        store.publish(KEY, PLAN, ABOUT)


@pytest.fixture(name="aged")
def _aged(tmp_path: Path) -> EngineStore:
    """Three engines of 100 bytes, `a` used longest ago."""
    store = EngineStore(tmp_path / "engines", 300)
    for age, name in enumerate("cba"):
        publish(store, other(name), name.encode() * 100)
        os.utime(store.folder / f"{other(name).digest}.json", (1000 - age, 1000 - age))
    return store


def names(store: EngineStore) -> list[str]:
    return [name for entry in store.entries() for name in "abcd" if entry.key == other(name)]


def test_the_engine_used_longest_ago_makes_room(aged: EngineStore) -> None:
    assert names(aged) == ["c", "b", "a"]
    assert aged.find(other("a")) is not None
    publish(aged, other("d"), b"d" * 150)
    assert names(aged) == ["d", "a"]
    assert sum(path.stat().st_size for path in files(aged, ".plan")) <= 300


def test_an_engine_that_is_replaced_does_not_count_twice(aged: EngineStore) -> None:
    publish(aged, other("b"), b"b" * 100)
    assert sorted(names(aged)) == ["a", "b", "c"]


def test_one_larger_than_the_bound_is_kept_alone_and_said(aged: EngineStore, caplog: pytest.LogCaptureFixture) -> None:
    publish(aged, other("d"), b"d" * 301)
    assert names(aged) == ["d"]
    assert "bound is 300" in caplog.text


def test_pruning_says_what_went(aged: EngineStore) -> None:
    assert [entry.key for entry in aged.prune(150)] == [other("a"), other("b")]
    assert [entry.key for entry in aged.prune(0)] == [other("c")]
    assert files(aged) == []
    assert EngineStore(aged.folder / "none", 1).prune() == []


def test_an_engine_that_proved_wrong_is_removed_unless_it_was_replaced(store: EngineStore) -> None:
    assert not store.remove(KEY), "no folder"
    publish(store, plan=b"wrong")
    publish(store, plan=b"right")
    assert not store.remove(KEY, b"wrong")
    assert store.find(KEY) == b"right"
    with store.lock(KEY):
        assert not EngineStore(store.folder, 1).remove(KEY, b"right"), "a builder replaces it just now"
        assert not EngineStore(store.folder, 1).remove(KEY)
    assert store.find(KEY) == b"right"
    assert store.remove(KEY, b"right")
    assert not store.remove(KEY)
    assert files(store) == []
