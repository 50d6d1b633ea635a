"""Builders: one at a time for an engine, and whatever one leaves when it dies, no half plan."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from modelyard.backends.engine.store import EngineStore
from tests.unit.backends.engine.plans import ABOUT, KEY, PLAN, files, other, publish, store_in

SYSTEM = ("posix", "fcntl", "_io")
BUFFERED = ("write", "flush", "read", "close", "__exit__")
FSYNC = os.fsync
SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture(name="store")
def _store(tmp_path: Path) -> EngineStore:
    return store_in(tmp_path)


def build_if_missing(folder: Path, log: Path, start: Any) -> None:
    store = EngineStore(folder, 10**6)
    start.wait()
    with store.lock(KEY):
        if store.find(KEY) is None:
            with log.open("a") as file:
                file.write(f"{os.getpid()}\n")
            time.sleep(0.2)
            store.publish(KEY, PLAN, ABOUT)
    assert store.find(KEY) == PLAN


def test_processes_that_want_the_same_engine_build_it_once(store: EngineStore, tmp_path: Path) -> None:
    start = SPAWN.Event()
    made = [SPAWN.Process(target=build_if_missing, args=(store.folder, tmp_path / "log", start)) for _ in range(4)]
    for process in made:
        process.start()
    start.set()
    for process in made:
        process.join(60)
    assert [process.exitcode for process in made] == [0] * 4
    assert len((tmp_path / "log").read_text().split()) == 1
    assert not files(store, ".lock"), "a lock is there while it is wanted"


def test_the_lock_holds_between_threads_and_stores_and_says_that_one_waits(store: EngineStore) -> None:
    inside, most, waited = 0, 0, []
    count = threading.Lock()

    def work() -> None:
        nonlocal inside, most
        for _ in range(20):
            with EngineStore(store.folder, 1).lock(KEY, lambda: waited.append(1)):
                with count:
                    inside += 1
                    most = max(most, inside)
                time.sleep(0.0005)
                with count:
                    inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert waited


def test_different_engines_are_built_at_once(store: EngineStore) -> None:
    with store.lock(KEY), store.lock(other("a")):
        store.publish(KEY, PLAN, ABOUT)
        store.publish(other("a"), PLAN, ABOUT)
    assert len(store.entries()) == 2


def killed_after(events: int, work: Callable[[], None]) -> bool:
    """Run in a fork that SIGKILLs itself before or after its n-th call of the system. False: it was done by then."""
    if child := os.fork():
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
        return os.WIFSIGNALED(status)
    left = events

    def count(_frame: FrameType, event: str, called: Any) -> None:
        nonlocal left
        if event in ("c_call", "c_return") and (called.__module__ in SYSTEM or called.__name__ in BUFFERED):
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    os.fsync = FSYNC
    try:
        sys.setprofile(count)
        work()
        sys.setprofile(None)
        os._exit(0)
    finally:
        os._exit(1)


def kill_at_every_moment(folder: Path, before: bytes | None) -> list[bytes | None]:
    """What the store gives out after each death; the last one is of a builder that lived."""
    logging.disable()  # the store's own lines would be part of the profile
    os.fsync = lambda fd: None  # noqa: ARG005  (its name; only the builders that die need the disk)
    seen: list[bytes | None] = []
    killed = True
    while killed:
        store = EngineStore(folder / str(len(seen)), 10**6)
        if before:
            publish(store, plan=before)
        killed = killed_after(len(seen), lambda store=store: publish(store))  # type: ignore[misc]  # its own store
        seen.append(store.find(KEY))
        publish(store, plan=b"the next one")
        assert store.find(KEY) == b"the next one"
        assert len(files(store)) == 2, "what the dead one left is swept"
    return seen


@pytest.mark.parametrize("before", [None, b"the older plan"])
def test_a_builder_killed_at_any_moment_leaves_no_half_plan(tmp_path: Path, before: bytes | None) -> None:
    with SPAWN.Pool(1) as pool:  # a process with one thread, which may fork
        seen = pool.apply(kill_at_every_moment, (tmp_path, before))
    assert set(seen) == {before, PLAN}
    assert seen == sorted(seen, key=lambda plan: plan == PLAN), "the manifest is the one commit"
    assert len(seen) > 50


def test_what_dead_builders_of_other_engines_left_goes_when_the_store_is_pruned(store: EngineStore) -> None:
    publish(store)
    digest = other("never built again").digest
    for name in (f"{digest}.0a.plan", f"{digest}.0b.plan.0c.tmp", f"{digest}.json.0d.tmp", f"{digest}.lock"):
        (store.folder / name).write_bytes(b"half")
    (store.folder / f"{KEY.digest}.0b.plan.0c.tmp").write_bytes(b"half")
    (store.folder / "notes.txt").write_text("not ours")
    assert store.prune() == []
    assert [path.name for path in files(store) if not path.name.startswith(KEY.digest)] == ["notes.txt"]
    assert len(files(store)) == 3
    assert store.find(KEY) == PLAN


def test_what_a_dead_builder_left_is_swept_before_the_next_one_begins(store: EngineStore) -> None:
    publish(store)
    half = [store.folder / f"{KEY.digest}{ending}" for ending in (".0b.plan.0c.tmp", ".0d.plan", ".json.0e.tmp")]
    for path in half:
        path.write_bytes(b"half")
    with store.lock(KEY):
        assert not any(path.exists() for path in half), "it may need the room"
        assert store.find(KEY) == PLAN


def test_pruning_leaves_what_is_being_built(store: EngineStore) -> None:
    with store.lock(KEY):
        draft = store.folder / f"{KEY.digest}.0b.plan.0c.tmp"
        draft.write_bytes(b"half")
        assert EngineStore(store.folder, 0).prune() == []
        assert draft.exists()


def test_a_full_disk_leaves_nothing_behind(store: EngineStore, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(store, plan=b"older")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        publish(store)
    assert store.find(KEY) == b"older"
    assert len(files(store)) == 2
