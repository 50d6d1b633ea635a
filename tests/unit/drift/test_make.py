"""reference.json of a published version: what is in it, and that it changes nothing else."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from modelyard.drift.make import Rows, prediction_of
from modelyard.drift.psi import FLOOR
from modelyard.drift.reference import Reference, read_reference
from modelyard.errors import ConfigurationError
from modelyard.evaluation import Evaluation
from modelyard.manifest import Manifest, publish, read_manifest
from modelyard.spec import parse_spec

YAML = """\
name: flowers
inputs: [{name: x, datatype: FP32, shape: [-1, 3]}]
outputs: [{name: probabilities, datatype: FP32, shape: [-1, 3]}]
backends: [{name: onnxruntime-cpu}]
"""
RANDOM = np.random.default_rng(0)
ROWS = RANDOM.normal(size=(400, 3)).astype(np.float32)


def softmax(path: Path) -> Path:
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3]) for name in ("x", "probabilities")]
    graph = helper.make_graph([helper.make_node("Softmax", ["x"], ["probabilities"])], "g", info[:1], info[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "flowers"
    path.mkdir()
    (path / "model.yaml").write_text(YAML)
    return path


def published(folder: Path, evaluation: Evaluation | None, version: str = "1", rows: Rows | None = None) -> Manifest:
    artifact = softmax(folder.parent / "model.onnx")
    return read_manifest(publish(folder, version, artifact, evaluation=evaluation, rows=rows))


def reference(folder: Path, version: str = "1") -> Reference:
    return read_reference(folder / "versions" / version / "reference.json")


def test_features_of_all_rows_and_answers_of_the_held_out_ones(folder: Path) -> None:
    manifest = published(folder, Evaluation({"x": ROWS[:100]}, None, {"x": ROWS[100:]}))
    assert manifest.reference == "reference.json"
    found = reference(folder)
    assert found.rows == 400
    assert [feature.name for feature in found.features] == ["x[0]", "x[1]", "x[2]"]
    assert found.features[0].ratios == pytest.approx([0.1] * 10 + [FLOOR], abs=0.01)
    assert found.prediction is not None
    counts = np.bincount(ROWS[:100].argmax(axis=1), minlength=3)
    assert found.prediction.ratios == pytest.approx([*(counts / 100), FLOOR])
    assert found.prediction.confidence is not None
    assert sum(found.prediction.confidence) == pytest.approx(1, abs=0.01)


def test_the_digest_is_that_of_the_model_alone(folder: Path) -> None:
    with_rows = published(folder, Evaluation({"x": ROWS}), "1")
    without = published(folder, None, "2")
    assert without.reference is None
    assert with_rows.digest == without.digest


def test_names_of_model_yaml(folder: Path) -> None:
    (folder / "model.yaml").write_text(YAML + "drift: {names: {x: [length, width, colour]}}\n")
    published(folder, Evaluation({"x": ROWS}))
    assert [feature.name for feature in reference(folder).features] == ["length", "width", "colour"]


def test_rows_of_the_callers_go_before_those_of_the_evaluation(folder: Path) -> None:
    given = Rows({"x": ROWS + 100}, {"probabilities": np.eye(3, dtype=np.float32)[np.zeros(50, int)]})
    published(folder, Evaluation({"x": ROWS}), rows=given)
    found = reference(folder)
    assert found.features[0].edges[0] > 50
    assert found.prediction is not None
    assert found.prediction.ratios[0] == 1


@pytest.mark.parametrize(
    ("evaluation", "why"),
    [
        (Evaluation({"x": ROWS[:5]}), "it takes 20 rows, there are 5"),
        (Evaluation({"y": ROWS}), "lacks the input 'x'"),
        (Evaluation({"x": ROWS.astype(np.float64)}), "are float64"),
    ],
)
def test_rows_that_do_not_serve_leave_the_version_without(
    folder: Path, caplog: pytest.LogCaptureFixture, evaluation: Evaluation, why: str
) -> None:
    with caplog.at_level(logging.WARNING):
        assert published(folder, evaluation).reference is None
    assert why in caplog.text


def test_a_model_that_cannot_be_run_has_features_alone(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    broken = folder.parent / "broken.onnx"
    broken.write_bytes(b"no model")
    publish(folder, "1", broken, evaluation=Evaluation({"x": ROWS}))
    assert reference(folder).prediction is None
    assert "without answers" in caplog.text


def test_off_in_model_yaml(folder: Path) -> None:
    (folder / "model.yaml").write_text(YAML + "drift: {enabled: false}\n")
    assert published(folder, Evaluation({"x": ROWS})).reference is None


@pytest.mark.parametrize("text", ["{", "{}", '{"format": 2, "rows": 3}', '{"rows": 3, "more": 1}'])
def test_what_is_no_reference_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "reference.json"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match="no reference file"):
        read_reference(path)


@pytest.mark.parametrize(
    ("outputs", "more", "expected"),
    [
        ("[{name: p, datatype: FP32, shape: [-1, 4]}]", "quality: {output: p, measure: top1}", ("p", "probabilities")),
        ("[{name: p, datatype: FP32, shape: [-1, 4]}]", "", None),
        ("[{name: p, datatype: FP32, shape: [-1, 4]}]", "drift: {prediction: p}", ("p", "probabilities")),
        ("[{name: price, datatype: FP32, shape: [-1]}]", "", ("price", "value")),
        ("[{name: price, datatype: FP32, shape: [-1, 1]}]", "", ("price", "value")),
        ("[{name: label, datatype: INT64, shape: [-1]}]", "", ("label", "label")),
        ("[{name: vector, datatype: FP32, shape: [-1, 384]}]", "", None),
        ("[{name: text, datatype: BYTES, shape: [-1]}]", "", None),
    ],
)
def test_which_output_is_the_prediction(outputs: str, more: str, expected: tuple[str, str] | None) -> None:
    spec = parse_spec(f"name: m\ninputs: [{{name: x, datatype: FP32, shape: [-1, 3]}}]\noutputs: {outputs}\n{more}\n")
    found = prediction_of(spec)
    assert (found[0].name, found[1]) == expected if expected and found else found is None
