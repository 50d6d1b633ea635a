"""The version that a variant is made of, and what is missing said before anything is made."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from modelyard.errors import ConfigurationError
from modelyard.evaluation import Evaluation
from modelyard.manifest import Interface, publish
from modelyard.optimizing.source import check_calibration, find_source, new_version
from modelyard.spec import TensorSpec
from tests.integration.optimize_models import publish_model, wide


@pytest.fixture(name="model")
def _model(tmp_path: Path) -> Path:
    return publish_model(tmp_path, "small", wide(8))


def edit(model: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = model / "model.yaml"
    document = yaml.safe_load(path.read_text())
    change(document)
    path.write_text(yaml.safe_dump(document))


def another(model: Path, version: str, **more: Any) -> None:
    """One more version of the same artifact."""
    publish(model, version, model.parent / "model.onnx", **more)


def test_a_version_with_all_that_is_needed_is_found(model: Path) -> None:
    source = find_source(model.parent, "small", "")
    assert source.manifest.version == "1"
    assert source.evaluation.rows == 60
    assert source.largest == 32
    assert [tensor.name for tensor in source.golden_inputs()] == ["x"]
    check_calibration(source)
    assert new_version(source, None) == "2"
    assert new_version(source, "1-int8") == "1-int8"


def test_the_newest_full_version_is_the_source_unless_one_is_named(model: Path) -> None:
    rows = Evaluation({"x": np.zeros((2, 64), np.float32)}, np.zeros(2, np.int64))
    another(model, "2", evaluation=rows)
    another(model, "3", evaluation=rows, precision="int8", parent="2")
    assert find_source(model.parent, "small", "").manifest.version == "2"
    assert find_source(model.parent, "small", "1").manifest.version == "1"
    with pytest.raises(ConfigurationError, match="3 of 'small' is int8 already"):
        find_source(model.parent, "small", "3")


def test_a_stable_version_is_the_source(model: Path) -> None:
    another(model, "2", evaluation=Evaluation({"x": np.zeros((2, 64), np.float32)}))
    (model / "aliases.json").write_text(json.dumps({"format": 1, "stable": "1"}))
    assert find_source(model.parent, "small", "").manifest.version == "1"


def test_without_golden_rows_the_first_evaluation_rows_are_taken(model: Path) -> None:
    rows = np.arange(20 * 64, dtype=np.float32).reshape(20, 64)
    another(model, "2", evaluation=Evaluation({"x": rows}))
    (golden,) = find_source(model.parent, "small", "2").golden_inputs()
    np.testing.assert_array_equal(golden.array, rows[:8])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda spec: spec.pop("quality"), "has no `quality`"),
        (lambda spec: spec["batching"].update(max_batch_size=0), "no batch dimension"),
        (lambda spec: spec["quality"].update(output="nothing"), "no output 'nothing'"),
    ],
)
def test_what_model_yaml_lacks_is_said(model: Path, change: Callable[[dict[str, Any]], object], words: str) -> None:
    edit(model, change)
    with pytest.raises(ConfigurationError, match=words):
        find_source(model.parent, "small", "")


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (None, "carries no evaluation rows"),
        (Evaluation({"y": np.zeros((2, 64), np.float32)}), "lack the input 'x'"),
        (Evaluation({"x": np.zeros((2, 63), np.float32)}), r"\[2, 63\], the model takes FP32 \[-1, 64\]"),
        (Evaluation({"x": np.zeros((2, 64), np.float64)}), "float64"),
    ],
)
def test_rows_that_do_not_fit_are_refused(model: Path, rows: Evaluation | None, words: str) -> None:
    another(model, "2", evaluation=rows)
    with pytest.raises(ConfigurationError, match=words):
        find_source(model.parent, "small", "2")


def test_a_version_with_another_interface_than_model_yaml_is_refused(model: Path) -> None:
    other = TensorSpec(name="z", datatype="FP32", shape=(-1, 64))
    interface = Interface(inputs=(other,), outputs=find_source(model.parent, "small", "").spec.outputs)
    another(model, "2", evaluation=Evaluation({"z": np.zeros((2, 64), np.float32)}), interface=interface)
    with pytest.raises(ConfigurationError, match="other inputs or outputs"):
        find_source(model.parent, "small", "2")


def test_static_needs_calibration_rows(model: Path) -> None:
    another(model, "2", evaluation=Evaluation({"x": np.zeros((2, 64), np.float32)}))
    with pytest.raises(ConfigurationError, match="no calibration rows"):
        check_calibration(find_source(model.parent, "small", "2"))


def test_names_are_checked_before_anything_is_made(model: Path) -> None:
    source = find_source(model.parent, "small", "")
    for wrong, words in (("1", "stands already"), ("../2", "cannot name"), (".2", "cannot name")):
        with pytest.raises(ConfigurationError, match=words):
            new_version(source, wrong)
    with pytest.raises(ConfigurationError, match="no version '9'; known are 1"):
        find_source(model.parent, "small", "9")
    with pytest.raises(ConfigurationError, match="nobody"):
        find_source(model.parent, "nobody", "")


def test_a_model_without_versions_has_nothing_to_start_from(tmp_path: Path) -> None:
    model = publish_model(tmp_path, "small", wide(8))
    (model / "versions").rename(tmp_path / "elsewhere")
    with pytest.raises(ConfigurationError, match="no FP32 version"):
        find_source(tmp_path, "small", "")
