"""A push makes a version appear whole or not at all, whoever dies or writes at the same time."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from modelyard.errors import ConfigurationError
from modelyard.store.port import StoreError
from modelyard.store.push import push
from modelyard.store.remote import Remote
from tests.unit.lifecycle.models import NAME, add, spoil, write_spec
from tests.unit.store.memory_store import MemoryStore, fails_at, quiet


def test_the_manifest_is_written_last_and_only_once(store: MemoryStore, remote: Remote, model: Path) -> None:
    pushed = push(remote, model, "2")
    assert (pushed.there, pushed.sent, pushed.kept) == (False, len(pushed.manifest.files), False)
    written = [path for what, path in store.asked if what in {"put", "upload"}]
    assert written[-1] == f"{NAME}/versions/2/manifest.json"
    assert all(re.fullmatch(rf"{NAME}/versions/2/[0-9a-f]{{64}}/[^/]+", path) for path in written[:-2])
    assert written[-2] == f"{NAME}/model.yaml"
    again = push(remote, model, "2")
    assert (again.there, again.sent) == (True, 0)


def test_a_push_that_dies_anywhere_shows_nothing_and_is_taken_up(
    store: MemoryStore, remote: Remote, model: Path
) -> None:
    for number in range(1000):
        store.before = fails_at(number)
        try:
            push(remote, model, "1")
        except StoreError:
            store.before = quiet
            assert remote.sent(NAME, "1") is None
            assert remote.versions(NAME) == {}
        else:
            break
    store.before = quiet
    assert number >= 6
    assert list(remote.versions(NAME)) == ["1"]


def test_another_version_of_that_name_is_refused(remote: Remote, model: Path, tmp_path: Path) -> None:
    push(remote, model, "1")
    other = write_spec(tmp_path / "other")
    add(other, "1", 7.0)
    with pytest.raises(ConfigurationError, match="version 1 of 'scaled' is in s3://bucket/prefix already, with other"):
        push(remote, other, "1")


def test_of_two_at_once_one_wins_and_its_version_is_whole(
    store: MemoryStore, remote: Remote, model: Path, tmp_path: Path
) -> None:
    other = write_spec(tmp_path / "other")
    add(other, "1", 7.0)

    def between(what: str, path: str) -> None:
        if what == "put" and path.endswith("manifest.json"):
            store.before = quiet
            push(remote, other, "1")

    store.before = between
    with pytest.raises(ConfigurationError, match="already, with other files"):
        push(remote, model, "1")
    sent = remote.sent(NAME, "1")
    assert sent is not None
    assert sent.content == (other / "versions" / "1" / "manifest.json").read_bytes()
    for name, stream in remote.files(sent.manifest):
        assert stream.read(stream.size) == (other / "versions" / "1" / name).read_bytes()


def test_two_with_the_same_at_once_are_both_content(store: MemoryStore, remote: Remote, model: Path) -> None:
    def between(what: str, path: str) -> None:
        if what == "put" and path.endswith("manifest.json"):
            store.before = quiet
            push(remote, model, "1")

    store.before = between
    assert push(remote, model, "1").there


def test_what_was_lost_or_changed_in_the_store_is_sent_again(store: MemoryStore, remote: Remote, model: Path) -> None:
    push(remote, model, "1")
    path = store.spoil("golden.json")
    store.objects[path] += b"more"
    assert push(remote, model, "1").sent == 1
    del store.objects[path]
    assert push(remote, model, "1").sent == 1
    assert push(remote, model, "1").sent == 0


def test_a_version_that_is_not_what_was_published_is_not_sent(store: MemoryStore, remote: Remote, model: Path) -> None:
    spoil(model / "versions" / "1")
    with pytest.raises(ConfigurationError, match="differs from its manifest"):
        push(remote, model, "1")
    assert store.objects == {}


def test_the_stores_model_yaml_stays_unless_it_is_to_be_replaced(
    store: MemoryStore, remote: Remote, model: Path
) -> None:
    push(remote, model, "1")
    write_spec(model.parent, batching={"max_batch_size": 4})
    (model / "README.md").write_text("about it")
    assert push(remote, model, "2").kept
    assert remote.spec_now(NAME).batching.max_batch_size == 16
    assert not push(remote, model, "2", model_yaml=True).kept
    assert remote.spec_now(NAME).batching.max_batch_size == 4
    assert store.objects[f"{NAME}/README.md"] == b"about it"
