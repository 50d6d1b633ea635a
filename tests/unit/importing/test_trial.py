"""Rows are found on which a model runs; what runs on none, or gives no numbers, is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from modelyard.errors import ConfigurationError
from modelyard.importing.describe import describe
from modelyard.importing.rows import given, made_up
from modelyard.importing.trial import Trial, try_model
from modelyard.spec import ModelSpec
from tests.integration import onnx_models


def spec_of(model: onnx.ModelProto) -> ModelSpec:
    return describe(model, "m", Path("m.onnx"))


def tried(folder: Path, model: onnx.ModelProto, rows: Path | None = None) -> Trial:
    artifact = folder / "m.onnx"
    artifact.write_bytes(model.SerializeToString())
    return try_model(artifact, spec_of(model), rows, [])


def one_node(operator: str, datatype: str = "FP32", shape: tuple[int, ...] = (-1, 4), **more: Any) -> onnx.ModelProto:
    node = helper.make_node(operator, ["x"], ["y"], **more)
    return onnx_models.build([node], [onnx_models.value("x", datatype, shape)], [onnx_models.value("y", "FP32", shape)])


def test_a_logarithm_is_tried_on_positive_numbers(tmp_path: Path) -> None:
    trial = tried(tmp_path, one_node("Log"))
    assert trial.batched
    assert np.all(trial.inputs[0].array > 0)
    assert np.all(np.isfinite(trial.outputs[0].array))


def test_a_model_without_numbers_is_refused_and_takes_given_rows(tmp_path: Path) -> None:
    nodes = [helper.make_node("Sub", ["x", "two"], ["d"]), helper.make_node("Sqrt", ["d"], ["y"])]
    sides = [onnx_models.value(name, "FP32", (-1, 4)) for name in "xy"]
    model = onnx_models.build(nodes, sides[:1], sides[1:], {"two": np.array([9.0], np.float32)})
    with pytest.raises(ConfigurationError, match="hold NaN for all the made-up rows"):
        tried(tmp_path, model)
    np.savez(tmp_path / "rows.npz", x=np.full((2, 4), 13.0))
    trial = tried(tmp_path, model, tmp_path / "rows.npz")
    assert trial.outputs[0].array.tolist() == [[2.0] * 4] * 2


def test_larger_free_dimensions_are_tried(tmp_path: Path) -> None:
    node = helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=[5, 5])
    shape = (-1, 1, -1, -1)
    sides = [onnx_models.value(name, "FP32", shape) for name in "xy"]
    trial = tried(tmp_path, onnx_models.build([node], sides[:1], sides[1:]))
    assert trial.inputs[0].shape == (3, 1, 16, 16)
    assert trial.batched


def test_a_model_that_runs_on_nothing_says_why(tmp_path: Path) -> None:
    model = onnx_models.gather_table(1)
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.zeros((0, 2), np.float32), "table"))
    trial = tried(tmp_path, model)
    assert trial.inputs == []
    assert "failed" in trial.findings[0]


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"y": np.zeros((1, 4))}, "the inputs are called"),
        ({"x": np.zeros((1, 5))}, "shape"),
        ({"x": np.zeros(4)}, "shape"),
        ({"x": np.zeros((0, 4))}, "no rows"),
        ({"x": np.array([["a"] * 4])}, "takes FP32"),
        ({"x": np.zeros((1, 4), complex)}, "takes FP32"),
        ({"x": np.array([[None] * 4])}, "holds no rows"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_rows_that_do_not_fit_are_refused(tmp_path: Path, arrays: dict[str, np.ndarray], words: str) -> None:
    path = tmp_path / "rows.npz"
    np.savez(path, **arrays)  # type: ignore[arg-type]  # the stub takes the arrays for its flag
    with pytest.raises(ConfigurationError, match=words):
        given(path, spec_of(onnx_models.identity("FP32", (-1, 4))))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x93NUMPY", b"text"], ids=repr)
def test_a_file_without_rows_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "rows.npz"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match="holds no rows"):
        given(path, spec_of(onnx_models.identity()))


def test_an_array_without_a_name_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.zeros(3))
    with pytest.raises(ConfigurationError, match="without a name"):
        given(tmp_path / "rows.npy", spec_of(onnx_models.identity()))


def test_given_rows_become_the_datatype(tmp_path: Path) -> None:
    path = tmp_path / "rows.npz"
    for datatype in sorted(onnx_models.ELEMENT_TYPES):
        spec = spec_of(onnx_models.identity(datatype, (-1, 1)))
        np.savez(path, x=np.array([["a"], ["ä"]] if datatype == "BYTES" else [[0.0], [1.0]]))
        (array,) = given(path, spec)
        assert array.shape == (2, 1), datatype
        if datatype == "BYTES":
            assert array.tolist() == [[b"a"], ["ä".encode()]]


def test_one_given_row_is_tried_among_others(tmp_path: Path) -> None:
    """A single row would look independent of the others whatever the model does."""
    path = tmp_path / "rows.npz"
    np.savez(path, x=np.array([[1.0, 2.0]]))
    (array,) = given(path, spec_of(onnx_models.identity("FP32", (-1, 2))))
    assert len(array) == 3
    assert array[0].tolist() == [1.0, 2.0]
    assert array[1].tolist() != [1.0, 2.0]


def test_an_input_that_no_request_could_carry_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no request could carry it"):
        list(made_up(spec_of(one_node("Identity", shape=(2**30, 2**30)))))
    free = list(made_up(spec_of(one_node("Identity", shape=(-1, 100_000, -1, -1)))))
    assert {array.shape[2] for _, (array,) in free} == {2, 16}
