"""What comes from a store is the version that was sent, or nothing is there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from modelyard.errors import ConfigurationError
from modelyard.importing.bounded import Limits
from modelyard.manifest import read_manifest
from modelyard.store.port import StoreError
from modelyard.store.pull import fetch, pull
from modelyard.store.push import push
from modelyard.store.remote import Remote
from tests.unit.lifecycle.models import NAME
from tests.unit.store.memory_store import MemoryStore, fails_at, quiet


@pytest.fixture
def filled(remote: Remote, model: Path) -> Remote:
    (model / "README.md").write_text("about it")
    push(remote, model, "1")
    return remote


def bring(remote: Remote, repository: Path) -> int:
    """The bytes that came."""
    came: list[int] = []
    pull(remote, fetch(remote, NAME, "1"), repository, Limits(), readme=True, told=came.append)
    return sum(came)


def test_there_and_back_a_version_is_the_same(filled: Remote, model: Path, tmp_path: Path) -> None:
    came = bring(filled, tmp_path / "other")
    for path in ("model.yaml", "README.md", *(f"versions/1/{each.name}" for each in (model / "versions/1").iterdir())):
        assert (tmp_path / "other" / NAME / path).read_bytes() == (model / path).read_bytes()
    manifest = read_manifest(tmp_path / "other" / NAME / "versions" / "1")
    assert came == sum(entry.bytes for entry in manifest.files.values())


@pytest.mark.parametrize(
    ("spoiled", "text"),
    [("changed", "differs from its manifest"), ("cut", "its manifest says"), ("longer", "its manifest says")],
)
def test_a_changed_object_is_refused_by_its_name(
    store: MemoryStore, filled: Remote, tmp_path: Path, spoiled: str, text: str
) -> None:
    path = store.spoil("model.onnx")
    change = {"changed": store.objects[path], "cut": store.objects[path][:-1], "longer": store.objects[path] + b"x"}
    store.objects[path] = change[spoiled]
    with pytest.raises(ConfigurationError, match=rf"s3://bucket/prefix/scaled version 1: .*model.onnx.*{text}"):
        bring(filled, tmp_path / "other")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("name", ["../evil", "/etc/passwd", "a//b", ".hidden", "manifest.json"])
def test_a_manifest_with_a_hostile_name_is_refused(
    store: MemoryStore, filled: Remote, tmp_path: Path, name: str
) -> None:
    path = f"{NAME}/versions/1/manifest.json"
    document = json.loads(store.objects[path])
    document["files"][name] = document["files"]["model.onnx"]
    store.objects[path] = json.dumps(document).encode()
    with pytest.raises(ConfigurationError):
        bring(filled, tmp_path / "other")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["models"]


def test_a_store_that_fails_on_the_way_leaves_nothing_and_says_so(
    store: MemoryStore, filled: Remote, tmp_path: Path
) -> None:
    reasons = []
    for number in range(1000):
        store.before = fails_at(number)
        try:
            bring(filled, tmp_path / "other")
        except StoreError as error:
            reasons.append(error.reason)
            assert not (tmp_path / "other").exists()
        else:
            break
    assert len(reasons) > 6
    assert set(reasons) == {"connection"}, "it can be told from a version that is wrong"
    store.before = quiet
    read_manifest(tmp_path / "other" / NAME / "versions" / "1")


def test_an_object_that_is_gone_is_named(store: MemoryStore, filled: Remote, tmp_path: Path) -> None:
    del store.objects[store.spoil("golden.json")]
    with pytest.raises(ConfigurationError, match=r"golden\.json"):
        bring(filled, tmp_path / "other")
