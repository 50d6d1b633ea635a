"""A store read as a repository, by somebody who trusts none of its names; and its aliases, changed by many at once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from modelyard.aliases import Aliases, promoted, with_candidate
from modelyard.errors import ConfigurationError
from modelyard.store import remote as remote_module
from modelyard.store.push import push
from modelyard.store.remote import Remote
from tests.unit.lifecycle.models import NAME
from tests.unit.store.memory_store import MemoryStore, quiet


@pytest.fixture
def filled(remote: Remote, model: Path) -> Remote:
    push(remote, model, "1")
    push(remote, model, "2")
    return remote


def test_models_and_versions_are_what_is_whole_and_has_a_good_name(store: MemoryStore, filled: Remote) -> None:
    for path in (
        "../evil/model.yaml",
        "/etc/model.yaml",
        "./model.yaml",
        "half/versions/1/manifest.json",
        "x y/model.yaml",
    ):
        store.objects[path] = b"{}"
    for path in ("3/ab/model.onnx", "../manifest.json", "/manifest.json", "a/b/manifest.json", ".x/manifest.json"):
        store.objects[f"{NAME}/versions/{path}"] = b"{}"
    assert filled.models() == [NAME]
    assert list(filled.versions(NAME)) == ["1", "2"]


@pytest.mark.parametrize("name", ["", "..", "../x", "/etc", "a/b", ".x", "a" * 200])
def test_names_that_leave_the_store_are_never_asked_for(store: MemoryStore, filled: Remote, name: str) -> None:
    store.asked.clear()
    for call in (filled.versions, filled.spec, filled.state, lambda name: filled.sent(name, "1")):
        with pytest.raises(ConfigurationError, match="cannot name a model"):
            call(name)
    with pytest.raises(ConfigurationError, match="cannot name a version"):
        filled.sent(NAME, name)
    assert store.asked == []


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"version": "2"}, "is of 'scaled' version 2"),
        ({"model": "other"}, "is of 'other' version 1"),
        ({"artifact": "gone.onnx"}, "names 'gone.onnx'"),
        ({"files": {"model.onnx": {"sha256": "../../x", "bytes": 1}}}, "files.model.onnx.sha256"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_a_manifest_that_is_wrong_is_refused(
    store: MemoryStore, filled: Remote, change: dict[str, object], text: str
) -> None:
    path = f"{NAME}/versions/1/manifest.json"
    store.objects[path] = json.dumps(json.loads(store.objects[path]) | change).encode()
    with pytest.raises(ConfigurationError, match=text):
        filled.sent(NAME, "1")


def test_a_word_means_a_version(filled: Remote) -> None:
    assert [filled.meant(NAME, word) for word in ("", "stable", "1", "2")] == ["2", "2", "1", "2"]
    filled.update(NAME, lambda state: with_candidate(promoted(state, "1"), "2"))
    assert [filled.meant(NAME, word) for word in ("", "stable", "candidate")] == ["1", "1", "2"]
    with pytest.raises(ConfigurationError, match="no version '3' in s3://bucket/prefix; known are 1, 2"):
        filled.meant(NAME, "3")
    with pytest.raises(ConfigurationError, match="there is no model 'other' in s3://bucket/prefix"):
        filled.meant("other", "")


def test_a_change_is_made_of_what_is_there_when_it_is_written(store: MemoryStore, filled: Remote) -> None:
    filled.update(NAME, lambda state: promoted(state, "1"))

    def meanwhile(what: str, path: str) -> None:
        if what == "put":
            store.before = quiet
            filled.update(NAME, lambda state: with_candidate(state, "2", reason="other"))

    store.before = meanwhile
    done = filled.update(NAME, lambda state: promoted(state, "2", reason="mine"))
    assert (done.stable, done.previous) == ("2", "1")
    assert filled.state_now(NAME) == done
    assert [change.reason for change in done.history] == ["", "other", "mine"]


def test_a_change_that_raises_and_one_that_changes_nothing_write_nothing(store: MemoryStore, filled: Remote) -> None:
    def refuse(state: Aliases) -> Aliases:
        raise ConfigurationError("no")

    store.asked.clear()
    with pytest.raises(ConfigurationError, match="no"):
        filled.update(NAME, refuse)
    filled.update(NAME, lambda state: state)
    assert [what for what, _ in store.asked] == ["get", "get"]


def test_who_never_gets_his_turn_is_told(store: MemoryStore, filled: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_module, "PAUSE_SECONDS", 0.0)
    turn = iter(range(5, 1000))

    def always(what: str, path: str) -> None:
        if what == "put":
            store.objects[path] = json.dumps({"format": 1, "stable": str(next(turn))}).encode()

    store.before = always
    with pytest.raises(ConfigurationError, match="others keep changing the aliases"):
        filled.update(NAME, lambda state: promoted(state, "1"))


def test_broken_aliases_are_refused_by_their_place(store: MemoryStore, filled: Remote) -> None:
    store.objects[f"{NAME}/aliases.json"] = b'{"format": 1, "stable": "../x"}'
    with pytest.raises(ConfigurationError, match=r"s3://bucket/prefix/scaled/aliases\.json: stable"):
        filled.update(NAME, lambda state: promoted(state, "1"))
