"""Which version a word means, and beside which one it is judged."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelyard.aliases import Aliases, promoted, update, with_candidate
from modelyard.errors import ConfigurationError
from modelyard.lifecycle.versions import beside, on_cpu, read_model, to_check
from modelyard.spec import parse_spec
from tests.unit.lifecycle.models import NAME, add, spoil


def nearest(model: Path, version: str) -> str | None:
    manifest, _ = beside(read_model(model.parent, NAME), version)
    return manifest.version if manifest else None


def promote(model: Path, *versions: str) -> None:
    for version in versions:
        update(model, lambda state, version=version: promoted(state, version))  # type: ignore[misc]


def candidate(model: Path, version: str) -> None:
    update(model, lambda state: with_candidate(state, version))


def test_words_and_names(model: Path) -> None:
    for version in ("1", "2", "3"):
        add(model, version)
    found = read_model(model.parent, NAME)
    assert [found.version(word) for word in ("1", "3", "stable")] == ["1", "3", "3"], "the newest is served so far"
    with pytest.raises(ConfigurationError, match="known are 1, 2, 3"):
        found.version("4")
    with pytest.raises(ConfigurationError, match="no candidate"):
        found.version("candidate")
    promote(model, "1")
    candidate(model, "2")
    found = read_model(model.parent, NAME)
    assert [found.version(word) for word in ("stable", "candidate")] == ["1", "2"]


def test_without_a_version(model: Path) -> None:
    found = read_model(model.parent, NAME)
    for word in ("1", "stable"):
        with pytest.raises(ConfigurationError, match="train and export it"):
            found.version(word)
    with pytest.raises(ConfigurationError, match="train and export it"):
        to_check(found)


def test_an_unknown_model(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="there is no model 'absent'"):
        read_model(tmp_path, "absent")


@pytest.mark.parametrize("name", ["../scaled", "a/b", ".hidden", ""])
def test_a_name_that_leaves_the_repository(model: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot name a model"):
        read_model(model.parent, name)


def test_the_candidate_is_checked_or_else_the_newest(model: Path) -> None:
    for version in ("1", "2", "10"):
        add(model, version)
    assert to_check(read_model(model.parent, NAME)) == "10"
    candidate(model, "2")
    assert to_check(read_model(model.parent, NAME)) == "2"


def test_a_version_stands_beside_the_one_that_is_served(model: Path) -> None:
    assert nearest(model, "1") is None
    for version in ("1", "2", "3"):
        add(model, version)
    assert (nearest(model, "3"), nearest(model, "1")) == ("2", "3")
    promote(model, "1")
    assert (nearest(model, "3"), nearest(model, "2"), nearest(model, "1")) == ("1", "1", None)
    promote(model, "3")
    assert nearest(model, "3") == "1", "what a rollback goes to"
    assert nearest(model, "2") == "3"


def test_a_served_version_with_nothing_to_go_back_to_stands_beside_the_one_before_it(model: Path) -> None:
    for version in ("1", "2"):
        add(model, version)
    promote(model, "2")
    assert nearest(model, "2") == "1"


def test_a_broken_neighbour_is_passed_over_with_its_reason(model: Path) -> None:
    for version in ("1", "2", "3"):
        add(model, version)
    promote(model, "1", "2")
    spoil(model / "versions" / "2")
    manifest, refused = beside(read_model(model.parent, NAME), "3")
    assert manifest is not None
    assert manifest.version == "1"
    assert "version 2 is refused" in refused[0]


def test_checks_run_on_the_cpu_whatever_the_model_is_served_on() -> None:
    text = (
        "name: m\ninputs: [{name: x, datatype: FP32, shape: [-1]}]\noutputs: [{name: y, datatype: FP32, shape: [-1]}]\n"
    )
    spec = on_cpu(parse_spec(text + "minimum_backend: tensorrt\n"))
    assert ([backend.name for backend in spec.backends], spec.minimum_backend) == (["onnxruntime-cpu"], None)
    cuda = "backends: [{name: tensorrt}, {name: onnxruntime-cuda}]\n"
    assert [backend.name for backend in on_cpu(parse_spec(text + cuda)).backends] == ["onnxruntime-cpu"]
    own = "backends: [{name: onnxruntime-cpu, tolerance: {rtol: 0.5, atol: 0.5}}]\n"
    tolerance = on_cpu(parse_spec(text + own)).backends[0].tolerance
    assert tolerance is not None
    assert tolerance.rtol == 0.5


def test_the_state_is_empty_at_first(model: Path) -> None:
    assert read_model(model.parent, NAME).state == Aliases()
