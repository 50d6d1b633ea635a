"""`modelyard import`: what is found by running, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml
from onnx import helper, numpy_helper

from modelyard.errors import ConfigurationError
from modelyard.importer import Imported, import_onnx
from modelyard.repository import load_model
from tests.integration import onnx_models


def run(folder: Path, model: onnx.ModelProto, name: str = "m") -> Imported:
    path = folder / "source.onnx"
    path.write_bytes(model.SerializeToString())
    return import_onnx(path, name, folder / "models")


def row_minus_mean() -> onnx.ModelProto:
    """A row's answer depends on the other rows."""
    nodes = [
        helper.make_node("ReduceMean", ["x", "axes"], ["mean"], keepdims=1),
        helper.make_node("Sub", ["x", "mean"], ["y"]),
    ]
    sides = [onnx_models.value(name, "FP32", (-1, 2)) for name in "xy"]
    return onnx_models.build(nodes, sides[:1], sides[1:], {"axes": np.array([0])})


@pytest.mark.parametrize("datatype", sorted(onnx_models.ELEMENT_TYPES))
def test_a_model_of_any_datatype_is_imported_and_can_be_served(tmp_path: Path, datatype: str) -> None:
    imported = run(tmp_path, onnx_models.identity(datatype))
    assert imported.spec.batching.max_batch_size == 32
    assert imported.spec.cache.enabled
    loaded = load_model(tmp_path / "models", "m")
    assert (list(loaded.versions), loaded.spec) == (["1"], imported.spec)


def test_rows_that_depend_on_each_other_are_not_batched(tmp_path: Path) -> None:
    imported = run(tmp_path, row_minus_mean())
    assert imported.spec.batching.max_batch_size == 0
    assert any("depends on the other rows" in finding for finding in imported.findings)


def test_a_random_model_is_not_cached(tmp_path: Path) -> None:
    assert not run(tmp_path, onnx_models.random_normal()).spec.cache.enabled


def test_a_second_import_is_the_next_version_of_the_same_interface(tmp_path: Path) -> None:
    assert run(tmp_path, onnx_models.identity()).version == "1"
    assert run(tmp_path, onnx_models.identity()).version == "2"
    with pytest.raises(ConfigurationError, match="inputs differ"):
        run(tmp_path, onnx_models.identity("FP64"))
    assert not (tmp_path / "models" / "m" / "versions" / "3").exists()


def test_bounds_of_model_yaml_are_no_other_interface(tmp_path: Path) -> None:
    run(tmp_path, onnx_models.identity())
    path = tmp_path / "models" / "m" / "model.yaml"
    document = yaml.safe_load(path.read_text())
    document["inputs"][0]["values"] = [-100, 100]
    path.write_text(yaml.safe_dump(document))
    assert run(tmp_path, onnx_models.identity()).version == "2"


@pytest.mark.parametrize("name", ["../m", "", ".m", "a/b", "m\n"])
def test_a_name_that_leaves_the_repository_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot name a model"):
        run(tmp_path, onnx_models.identity(), name)
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize("content", [b"", b"no model", b"\x08\x07"])
def test_a_file_that_is_no_model_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "source.onnx"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match="no ONNX file"):
        import_onnx(path, "m", tmp_path / "models")


@pytest.mark.parametrize("location", ["../secret", "/etc/passwd", "absent.bin", ""])
def test_weights_outside_the_models_folder_are_not_read(tmp_path: Path, location: str) -> None:
    model = onnx_models.affine(np.ones((2, 2), np.float32), np.zeros(2, np.float32))
    weight = next(tensor for tensor in model.graph.initializer if numpy_helper.to_array(tensor).ndim == 2)
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value=location)
    (tmp_path / "secret").write_bytes(bytes(16))
    folder = tmp_path / "inside"
    folder.mkdir()
    with pytest.raises(ConfigurationError, match="refers to"):
        run(folder, model)
