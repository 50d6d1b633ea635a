"""Models on disk: the good versions serve, the broken and the hostile are refused by name."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelyard.errors import ConfigurationError
from modelyard.manifest import publish
from modelyard.repository import LoadedModel, list_models, load_model, refresh
from modelyard.tensors import Tensor
from tests.integration import onnx_models
from tests.unit.strategies import metric

YAML = """\
name: doubled
inputs: [{name: x, datatype: FP32, shape: [-1, 2]}]
outputs: [{name: y, datatype: FP32, shape: [-1, 2]}]
backends: [{name: onnxruntime-cpu}]
"""
X = Tensor("x", "FP32", np.array([[1, 2], [3, 4]], np.float32))
Y = Tensor("y", "FP32", X.array * 2)
WRONG = Tensor("y", "FP32", X.array * 3)


def add_version(model: Path, version: str, golden: Tensor = Y, artifact: bytes | None = None) -> Path:
    model.mkdir(exist_ok=True)
    (model / "model.yaml").write_text(YAML.replace("doubled", model.name))
    source = model.parent / "model.onnx"
    double = onnx_models.affine(np.eye(2, dtype=np.float32) * 2, np.zeros(2, np.float32))
    source.write_bytes(double.SerializeToString() if artifact is None else artifact)
    return publish(model, version, source, golden_inputs=[X], golden_outputs=[golden])


@pytest.fixture(name="model")
def _model(tmp_path: Path) -> Path:
    add_version(tmp_path / "doubled", "1")
    return tmp_path / "doubled"


def load(model: Path) -> LoadedModel:
    return load_model(model.parent, model.name)


def test_a_good_version_is_loaded_proved_and_runs(model: Path) -> None:
    loaded = load(model)
    version = loaded.versions["1"]
    assert (loaded.default, loaded.refused, version.chain.active.name) == ("1", {}, "onnxruntime-cpu")
    assert version.batch_seconds > 0
    np.testing.assert_array_equal(version.chain.infer([X.array], ["y"])[0], Y.array)


def spoil_artifact(folder: Path) -> None:
    path = folder / "model.onnx"
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)


def edit(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        document = json.loads((folder / "manifest.json").read_text())
        change(document)
        (folder / "manifest.json").write_text(json.dumps(document))

    return spoil


def replace_by_link(folder: Path) -> None:
    path = folder / "model.onnx"
    path.symlink_to(path.rename(folder.parent / ".elsewhere"))


def replace_by_fifo(folder: Path) -> None:
    (folder / "model.onnx").unlink()
    os.mkfifo(folder / "model.onnx")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (spoil_artifact, "sha256"),
        (lambda folder: (folder / "model.onnx").unlink(), "missing"),
        (lambda folder: (folder / "manifest.json").unlink(), "half written"),
        (replace_by_link, "no regular file"),
        (replace_by_fifo, "no regular file"),
        (edit(lambda d: d.update(model="other")), "not of 'doubled'"),
        (edit(lambda d: d["files"].update({"../../model.yaml": d["files"]["golden.json"]})), "not allowed"),
        (lambda folder: (folder / "manifest.json").write_text("[" * 100_000), "manifest"),
    ],
)
def test_a_broken_version_is_refused_by_name_and_the_others_serve(
    model: Path, spoil: Callable[[Path], object], reason: str
) -> None:
    spoil(add_version(model, "2"))
    failures = metric("model_load_failures_total", model="doubled")
    loaded = load(model)
    assert (list(loaded.versions), list(loaded.refused), loaded.default) == (["1"], ["2"], "1")
    assert reason in loaded.refused["2"]
    assert metric("model_load_failures_total", model="doubled") == failures + 1


@pytest.mark.parametrize(
    ("golden", "artifact", "reason"),
    [
        (WRONG, None, "differs from the golden one"),
        (Tensor("y", "FP32", Y.array[:1]), None, "differs from the golden one"),
        (Y, b"not a model", "no backend can run it"),
        (Y, onnx_models.identity("INT32", (-1, 2)).SerializeToString(), "is FP32"),
    ],
)
def test_an_artifact_that_is_not_what_was_exported_is_refused(
    model: Path, golden: Tensor, artifact: bytes | None, reason: str
) -> None:
    add_version(model, "2", golden, artifact)
    loaded = load(model)
    assert list(loaded.versions) == ["1"]
    assert reason in loaded.refused["2"]


def test_golden_inputs_that_the_model_cannot_take_refuse_the_version(tmp_path: Path) -> None:
    model = tmp_path / "doubled"
    add_version(model, "1")
    source = tmp_path / "model.onnx"
    for version, wrong in (("2", Tensor("z", "FP32", X.array)), ("3", Tensor("x", "FP32", X.array[:, :1]))):
        publish(model, version, source, golden_inputs=[wrong], golden_outputs=[Y])
    refused = load(model).refused
    assert "lack 'x'" in refused["2"]
    assert "golden inputs fail" in refused["3"]


def test_a_model_without_a_good_version_says_why(model: Path) -> None:
    spoil_artifact(model / "versions" / "1")
    with pytest.raises(ConfigurationError, match="sha256"):
        load(model)


def test_a_model_without_versions_says_what_to_do(model: Path) -> None:
    (model / "versions").rename(model / "elsewhere")
    with pytest.raises(ConfigurationError, match="train and export"):
        load(model)


def test_refresh_finds_new_versions_keeps_the_loaded_and_forgets_mended_refusals(model: Path) -> None:
    bad = add_version(model, "10")
    manifest = (bad / "manifest.json").read_text()
    (bad / "manifest.json").unlink()
    loaded = load(model)
    kept = loaded.versions["1"]
    (bad / "manifest.json").write_text(manifest)
    add_version(model, "9")
    refresh(model.parent, loaded)
    assert set(loaded.versions) == {"1", "9", "10"}
    assert (loaded.refused, loaded.default) == ({}, "10")
    assert loaded.versions["1"] is kept


def test_a_draft_is_not_a_version(model: Path) -> None:
    (model / "versions" / "1").rename(model / "versions" / ".draft-2-0a1b")
    with pytest.raises(ConfigurationError, match="no versions yet"):
        load(model)


def test_models_are_the_folders_with_a_spec(model: Path) -> None:
    (model.parent / "empty").mkdir()
    assert list_models(model.parent) == ["doubled"]
    with pytest.raises(ConfigurationError, match="no repository folder"):
        list_models(model.parent / "absent")
