"""Refusals and timing caches: kept per artifact and per GPU, believed only where this store wrote them."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from modelyard.backends.engine.entry import EngineKey
from modelyard.backends.engine.store import EngineStore

KEY = EngineKey("ab" * 32, "10.9.0.34", "NVIDIA Fake 10", "9.0", "fp16", "[]")
GPU = ("10.9.0.34", "NVIDIA Fake 10")


@pytest.fixture(name="store")
def _store(tmp_path: Path) -> EngineStore:
    return EngineStore(tmp_path / "engines", 1000)


def join(a: bytes, b: bytes) -> bytes:
    return a + b"+" + b


def test_a_refusal_is_remembered_for_the_artifact_and_the_tensorrt(store: EngineStore) -> None:
    assert store.refusal(KEY) is None
    store.remember_refusal(KEY, "no NonMaxSuppression")
    assert store.refusal(KEY) == "no NonMaxSuppression"
    assert store.refusal(replace(KEY, gpu="another", compute_capability="8.0")) == "no NonMaxSuppression"
    for another in (
        replace(KEY, onnx_sha256="cd" * 32),
        replace(KEY, tensorrt="11.0.0"),
        replace(KEY, precision="fp32"),
        replace(KEY, profiles="[1]"),
    ):
        assert store.refusal(another) is None
    assert store.forget_refusal(KEY)
    assert not store.forget_refusal(KEY)
    assert store.refusal(KEY) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"format": 1}', '{"format": 1, "of": {}, "reason": "x"}'])
def test_a_broken_refusal_is_none(store: EngineStore, text: str) -> None:
    store.remember_refusal(KEY, "x")
    next(store.folder.glob("refusal-*.json")).write_text(text)
    assert store.refusal(KEY) is None


def test_the_timing_cache_is_kept_per_gpu_and_tensorrt(store: EngineStore) -> None:
    assert store.timing_cache(*GPU) is None
    store.keep_timing_cache(*GPU, None, b"first")
    store.keep_timing_cache(*GPU, b"first", b"first and more", join)
    assert store.timing_cache(*GPU) == b"first and more"
    assert store.timing_cache("11", GPU[1]) is None
    assert store.timing_cache(GPU[0], "another") is None
    assert store.prune(0) == [], "no engine"
    assert store.timing_cache(*GPU) == b"first and more"


def test_what_another_build_measured_meanwhile_is_not_lost(store: EngineStore) -> None:
    store.keep_timing_cache(*GPU, None, b"base")
    store.keep_timing_cache(*GPU, b"base", b"theirs", join)
    store.keep_timing_cache(*GPU, b"base", b"ours", join)
    assert store.timing_cache(*GPU) == b"theirs+ours"
    store.keep_timing_cache(*GPU, b"base", b"-")
    assert store.timing_cache(*GPU) == b"theirs+ours", "without a way to join them the larger one stays"


def test_builds_that_end_at_once_all_keep_what_they_measured(store: EngineStore) -> None:
    def build(number: int) -> None:
        store.keep_timing_cache(*GPU, None, b"%d" % number, join)

    threads = [threading.Thread(target=build, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted((store.timing_cache(*GPU) or b"").split(b"+")) == [b"%d" % number for number in range(8)]


def test_a_corrupted_timing_cache_is_deleted(store: EngineStore) -> None:
    store.keep_timing_cache(*GPU, None, b"measured")
    (path,) = store.folder.glob("timing-*.cache")
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    assert store.timing_cache(*GPU) is None
    assert not path.exists()


def test_records_that_others_could_have_written_are_not_believed(store: EngineStore) -> None:
    store.remember_refusal(KEY, "x")
    store.keep_timing_cache(*GPU, None, b"measured")
    for path in store.folder.iterdir():
        path.chmod(0o620)
    assert store.refusal(KEY) is None
    assert store.timing_cache(*GPU) is None
    store.keep_timing_cache(*GPU, None, b"ours")
    assert store.timing_cache(*GPU) == b"ours"


def test_clearing_forgets_records_and_nothing_else(store: EngineStore) -> None:
    assert store.clear_records() == 0
    store.remember_refusal(KEY, "x")
    store.keep_timing_cache(*GPU, None, b"measured")
    with store.lock(KEY):
        pass
    (store.folder / f"timing-{hashlib.sha256(b'x').hexdigest()}.cache.0a.tmp").write_bytes(b"half")
    (store.folder / "notes.txt").write_text("not ours")
    assert store.clear_records() == 3
    assert [path.name for path in store.folder.iterdir()] == ["notes.txt"]
