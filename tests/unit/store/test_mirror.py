"""The mirror has what a server needs of the store, and nothing that is not whole."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import yaml

from modelyard.aliases import promoted, read_aliases, rolled_back, with_candidate
from modelyard.errors import ConfigurationError
from modelyard.importing.bounded import Limits
from modelyard.manifest import list_versions, read_manifest
from modelyard.spec import read_spec
from modelyard.store.mirror import Mirror
from modelyard.store.port import StoreError
from modelyard.store.push import push
from modelyard.store.remote import Remote
from tests.unit.lifecycle.models import NAME, OUTPUT, SPEC, add, spoil, write_spec
from tests.unit.store.memory_store import MemoryStore, away, quiet


@pytest.fixture
def filled(remote: Remote, model: Path) -> Remote:
    for version in ("1", "2", "3"):
        push(remote, model, version)
    return remote


@pytest.fixture
def faults() -> list[str]:
    return []


@pytest.fixture
def mirror(filled: Remote, tmp_path: Path, faults: list[str]) -> Mirror:
    return Mirror(filled, tmp_path / "mirror", 1, Limits(), fault=faults.append)


def promote(remote: Remote, version: str) -> None:
    remote.update(NAME, lambda state: promoted(state, version))


def here(mirror: Mirror) -> list[str]:
    return list_versions(mirror.folder / NAME)


def test_without_aliases_the_newest_versions_come(mirror: Mirror) -> None:
    assert mirror.sync([NAME]) == [NAME]
    assert here(mirror) == ["3"]
    assert read_spec(mirror.folder / NAME).name == NAME


def test_what_aliases_name_comes_before_they_say_so(store: MemoryStore, filled: Remote, mirror: Mirror) -> None:
    promote(filled, "1")
    filled.update(NAME, lambda state: with_candidate(promoted(state, "2"), "3"))
    said: list[str | None] = []

    def look(what: str, path: str) -> None:
        if what == "read":
            said.append(read_aliases(mirror.folder / NAME).stable)

    store.before = look
    mirror.sync([NAME])
    assert here(mirror) == ["1", "2", "3"]
    assert set(said) == {None}
    assert read_aliases(mirror.folder / NAME) == filled.state_now(NAME)


def test_what_has_not_changed_is_not_fetched_again(store: MemoryStore, filled: Remote, mirror: Mirror) -> None:
    promote(filled, "2")
    mirror.sync([NAME])
    store.asked.clear()
    mirror.sync([NAME])
    assert [what for what, _ in store.asked] == ["get", "get", "keys"], "tags are asked for, and the list of versions"


def test_a_promote_and_a_rollback_are_followed(filled: Remote, mirror: Mirror) -> None:
    for version in ("1", "2"):
        promote(filled, version)
        mirror.sync([NAME])
        assert read_aliases(mirror.folder / NAME).stable == version
    filled.update(NAME, rolled_back)
    mirror.sync([NAME])
    assert read_aliases(mirror.folder / NAME).stable == "1"


def test_a_changed_version_is_left_out_and_tried_later(
    store: MemoryStore, filled: Remote, mirror: Mirror, faults: list[str], monkeypatch: pytest.MonkeyPatch, model: Path
) -> None:
    promote(filled, "1")
    promote(filled, "2")
    store.spoil("versions/2/", "model.onnx")
    for _ in range(3):
        mirror.sync([NAME])
    assert here(mirror) == ["1"]
    assert faults == ["refused"], "not at every look"
    later = time.monotonic() + 3600
    monkeypatch.setattr(time, "monotonic", lambda: later)
    store.spoil("versions/2/", "model.onnx")
    mirror.sync([NAME])
    assert here(mirror) == ["1", "2"]


def test_a_store_that_is_away_changes_nothing(store: MemoryStore, filled: Remote, mirror: Mirror) -> None:
    promote(filled, "1")
    mirror.sync([NAME])
    promote(filled, "2")
    store.before = lambda what, path: away(what, path) if what in {"open", "read"} else None
    with pytest.raises(StoreError):
        mirror.sync([NAME])
    assert read_aliases(mirror.folder / NAME).stable == "1"
    store.before = quiet
    mirror.sync([NAME])
    assert read_aliases(mirror.folder / NAME).stable == "2"


def test_what_was_damaged_in_the_mirror_is_mended(filled: Remote, mirror: Mirror) -> None:
    promote(filled, "3")
    mirror.sync([NAME])
    spoil(mirror.folder / NAME / "versions" / "3")
    (mirror.folder / NAME / "aliases.json").write_text("{")
    Mirror(filled, mirror.folder, 1, Limits()).sync([NAME])
    read_manifest(mirror.folder / NAME / "versions" / "3")
    assert read_aliases(mirror.folder / NAME).stable == "3"


def test_a_version_that_was_replaced_in_the_store_is_refused(
    store: MemoryStore, filled: Remote, mirror: Mirror, faults: list[str], tmp_path: Path
) -> None:
    mirror.sync([NAME])
    before = read_manifest(mirror.folder / NAME / "versions" / "3")
    for path in [path for path in store.objects if "/versions/3/" in path]:
        del store.objects[path]
    other = write_spec(tmp_path / "other")
    add(other, "3", 7.0)
    push(filled, other, "3")
    mirror.sync([NAME])
    assert faults == ["refused"]
    assert read_manifest(mirror.folder / NAME / "versions" / "3") == before


def test_the_mirror_is_bounded(filled: Remote, mirror: Mirror, model: Path) -> None:
    for version in map(str, range(4, 10)):
        add(model, version, float(version))
        push(filled, model, version)
        mirror.sync([NAME])
    assert here(mirror) == ["8", "9"]


def test_a_changed_model_yaml_follows_and_a_broken_one_does_not(
    store: MemoryStore, filled: Remote, mirror: Mirror, model: Path
) -> None:
    mirror.sync([NAME])
    write_spec(model.parent, batching={"max_batch_size": 4})
    push(filled, model, "3", model_yaml=True)
    mirror.sync([NAME])
    assert read_spec(mirror.folder / NAME).batching.max_batch_size == 4
    store.objects[f"{NAME}/model.yaml"] = b"name: scaled\nsurprise: 1\n"
    with pytest.raises(ConfigurationError, match="surprise"):
        mirror.sync([NAME])
    assert read_spec(mirror.folder / NAME).batching.max_batch_size == 4


def test_a_model_that_is_not_there_is_said(mirror: Mirror) -> None:
    with pytest.raises(ConfigurationError, match="there is no model 'other' in s3://bucket/prefix"):
        mirror.sync(["other"])
    assert not mirror.has(["other"])
    mirror.sync([NAME])
    assert mirror.has([NAME])


def test_an_ensemble_brings_its_members(filled: Remote, mirror: Mirror, model: Path) -> None:
    ensemble = model.parent / "both"
    ensemble.mkdir()
    member = {"model": NAME, "inputs": {"x": "x"}, "outputs": {"y": "y"}}
    document = SPEC | {"name": "both", "outputs": [OUTPUT | {"name": "z"}], "ensemble": [member]}
    (ensemble / "model.yaml").write_text(yaml.safe_dump(document))
    add(ensemble, "1")
    push(filled, ensemble, "1")
    assert not mirror.has(["both"])
    assert mirror.sync(["both"]) == ["both", NAME]
    assert mirror.has(["both"])
    assert here(mirror) == ["3"]
