"""What a server does when its store is away, at the start and later: it waits, says so, counts, and goes on."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from modelyard.aliases import promoted, read_aliases
from modelyard.errors import ConfigurationError
from modelyard.importing.bounded import Limits
from modelyard.settings import Settings
from modelyard.store import follow
from modelyard.store.follow import Follower
from modelyard.store.mirror import Mirror
from modelyard.store.push import push
from modelyard.store.remote import Remote
from tests.unit.lifecycle.models import NAME
from tests.unit.store.memory_store import MemoryStore, away, fails_at, quiet
from tests.unit.strategies import metric

STORE = "s3://bucket/prefix"


@pytest.fixture(name="slept", autouse=True)
def _slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that `sleep` moves; what was slept."""
    slept: list[float] = []
    clock = SimpleNamespace(sleep=slept.append, monotonic=lambda: sum(slept), time=time.time)
    monkeypatch.setattr(follow, "time", clock)
    return slept


@pytest.fixture(name="mirror")
def _mirror(remote: Remote, model: Path, tmp_path: Path) -> Mirror:
    push(remote, model, "1")
    return Mirror(remote, tmp_path / "mirror", 2, Limits())


@pytest.fixture(name="follower")
def _follower(mirror: Mirror) -> Iterator[Follower]:
    made = Follower(mirror, [NAME], Settings(store_start_seconds=30.0, store_seconds=0.01))
    mirror.fault = made.fault
    yield made
    made.stop()


def errors(reason: str) -> float:
    return metric("store_errors_total", reason=reason)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_start_waits_for_the_store(store: MemoryStore, follower: Follower, slept: list[float]) -> None:
    turns = iter([away, away, away])

    def turn(what: str, path: str) -> None:
        next(turns, quiet)(what, path)

    store.before = turn
    follower.bring()
    assert slept == [0.5, 1.0, 2.0]


def test_a_start_does_not_wait_for_ever(
    store: MemoryStore, follower: Follower, slept: list[float], mirror: Mirror
) -> None:
    store.before = away
    with pytest.raises(ConfigurationError, match=r"there is no connection; and .* has nothing of it from before"):
        follower.bring()
    assert sum(slept) == pytest.approx(30.0)
    store.before = quiet
    mirror.sync([NAME])
    store.before = away
    follower.bring()  # from the mirror


def test_what_waiting_does_not_mend_is_not_waited_for(follower: Follower, slept: list[float]) -> None:
    follower._models = ["other"]
    with pytest.raises(ConfigurationError, match="there is no model 'other'"):
        follower.bring()
    assert slept == []


def test_it_follows_and_says_how_it_goes(
    store: MemoryStore, remote: Remote, follower: Follower, mirror: Mirror, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "modelyard.store")
    follower.bring()
    follower.start()
    assert metric("store_up", store=STORE) == 1
    before = errors("connection")
    store.before = away
    until(lambda: metric("store_up", store=STORE) == 0)
    until(lambda: errors("connection") > before + 3)
    assert sum("what is loaded serves on" in text for text in caplog.messages) == 1, "once, though it goes on"
    store.before = quiet
    remote.update(NAME, lambda state: promoted(state, "1"))
    until(lambda: metric("store_up", store=STORE) == 1)
    assert read_aliases(mirror.folder / NAME).stable == "1"
    assert sum("answers again" in text for text in caplog.messages) == 1


def test_a_fault_of_ours_ends_nothing(
    store: MemoryStore, follower: Follower, monkeypatch: pytest.MonkeyPatch, mirror: Mirror
) -> None:
    follower.bring()
    follower.start()
    before = errors("response")
    monkeypatch.setattr(mirror, "sync", lambda *_: 1 / 0)
    until(lambda: errors("response") > before)
    monkeypatch.undo()
    until(lambda: metric("store_up", store=STORE) == 1)


def test_a_folder_that_cannot_be_written_has_a_reason_of_its_own(follower: Follower, mirror: Mirror) -> None:
    mirror.folder.write_text("in the way")
    before = errors("mirror")
    with pytest.raises(ConfigurationError):
        follower.bring()
    follower.start()
    assert errors("mirror") > before


def test_a_store_that_fails_at_any_moment_is_followed_at_the_next(
    store: MemoryStore, follower: Follower, mirror: Mirror
) -> None:
    for number in range(30):
        store.before = fails_at(number)
        follower._try()
    store.before = quiet
    assert follower._try() is None
    assert mirror.has([NAME])
