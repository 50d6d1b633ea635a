"""What a server loads when it starts: what the aliases name, then the newest, no more than there may be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from modelyard.aliases import ALIASES_FILE, promoted, update, with_candidate
from modelyard.errors import ConfigurationError
from modelyard.folders import state_stamp, version_folder, version_stamp
from modelyard.manifest import Interface, publish
from modelyard.repository import load_model
from modelyard.spec import read_spec
from modelyard.tensors import Tensor
from tests.integration import onnx_models
from tests.unit.strategies import metric
from tests.unit.test_repository import YAML, add_version, load, spoil_artifact


@pytest.fixture(name="model")
def _model(tmp_path: Path) -> Path:
    for version in ("1", "2", "3", "4", "5", "6"):
        add_version(tmp_path / "doubled", version)
    return tmp_path / "doubled"


def promote(model: Path, *versions: str) -> None:
    for version in versions:
        update(model, lambda state, version=version: promoted(state, version, instead_of="1"))  # type: ignore[misc]  # mypy knows no such lambda


def loaded(model: Path, most: int | None) -> str:
    found = load_model(model.parent, model.name, most)
    return " ".join(sorted(found.versions)) + " -> " + found.default


def test_without_aliases_the_newest(model: Path) -> None:
    assert loaded(model, None) == "1 2 3 4 5 6 -> 6"
    assert loaded(model, 2) == "5 6 -> 6"


def test_what_the_aliases_name_comes_first(model: Path) -> None:
    promote(model, "2", "3")
    update(model, lambda state: with_candidate(state, "4"))
    assert loaded(model, 1) == "2 3 4 -> 3"
    assert loaded(model, 4) == "2 3 4 6 -> 3"
    assert loaded(model, None) == "1 2 3 4 5 6 -> 3"


def test_broken_ones_do_not_count(model: Path) -> None:
    spoil_artifact(model / "versions" / "6")
    assert loaded(model, 2) == "4 5 -> 5"


def test_a_broken_stable_version_leaves_the_one_before(model: Path, caplog: pytest.LogCaptureFixture) -> None:
    promote(model, "2", "3", "4")
    spoil_artifact(model / "versions" / "4")
    failures = metric("model_load_failures_total", model="doubled")
    assert loaded(model, 2) == "3 6 -> 3"
    assert metric("model_load_failures_total", model="doubled") == failures + 1
    assert "version 4 is promoted and refused: version 3 is served" in caplog.text


def test_further_down_the_way_back(model: Path) -> None:
    promote(model, "2", "3", "4")
    for version in ("3", "4"):
        spoil_artifact(model / "versions" / version)
    assert loaded(model, 2) == "2 5 6 -> 2"
    spoil_artifact(model / "versions" / "2")
    assert loaded(model, 2) == "1 5 6 -> 1"
    spoil_artifact(model / "versions" / "1")
    assert loaded(model, 2) == "5 6 -> 6"


def test_a_stable_version_that_is_gone_is_refused_by_name(model: Path) -> None:
    promote(model, "7")
    found = load(model)
    assert (found.default, list(found.refused)) == ("1", ["7"])


def test_a_broken_aliases_file_stops_the_start(model: Path) -> None:
    (model / ALIASES_FILE).write_text("[]")
    with pytest.raises(ConfigurationError, match=ALIASES_FILE):
        load(model)


def test_a_version_with_an_interface_of_its_own_is_loaded_by_it(model: Path) -> None:
    """What stood before a forced promote of another interface: the way back."""
    renamed = YAML.replace("name: y", "name: z")
    (model / "model.yaml").write_text(renamed)
    spec = read_spec(model)
    assert spec.outputs[0].name == "z"
    found = load(model)
    assert {version.spec.outputs[0].name for version in found.versions.values()} == {"y"}
    source = model.parent / "model.onnx"
    node = helper.make_node("Identity", ["x"], ["z"])
    values = [onnx_models.value("x", "FP32", (-1, 2))], [onnx_models.value("z", "FP32", (-1, 2))]
    source.write_bytes(onnx_models.build([node], *values).SerializeToString())
    publish(model, "7", source, interface=Interface(inputs=spec.inputs, outputs=spec.outputs))
    version = load(model).versions["7"]
    assert version.public is version.spec
    x = Tensor("x", "FP32", np.ones((1, 2), np.float32))
    np.testing.assert_array_equal(version.chain.infer([x.array], ["z"])[0], x.array)


def test_stamps_change_with_what_they_stand_for(model: Path) -> None:
    before = state_stamp(model), version_stamp(model, "1"), version_stamp(model, "2")
    promote(model, "2")
    assert state_stamp(model) != before[0]
    spoil_artifact(model / "versions" / "1")
    (model / "versions" / "2" / "more").touch()
    assert version_stamp(model, "1") != before[1]
    assert version_stamp(model, "2") != before[2]
    promoted_stamp = state_stamp(model)
    add_version(model, "8")
    assert state_stamp(model) != promoted_stamp
    assert version_stamp(model, "9") == version_stamp(model, "../1") == ()


@pytest.mark.parametrize("name", ["", "..", "../1", "/etc", ".draft-1", "a/b", "1\n"])
def test_what_cannot_name_a_version_has_no_folder(model: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot name a version"):
        version_folder(model, name)
