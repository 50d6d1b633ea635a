"""An export that answers differently is not published."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from modelyard.authoring import parity
from modelyard.authoring.parity import ParityError, check_parity

ROWS = np.linspace(-1, 1, 20, dtype=np.float32).reshape(10, 2)


@pytest.fixture
def doubling(tmp_path: Path) -> Path:
    """x -> 2x, and the row's sum rounded to INT64."""
    nodes = [
        helper.make_node("Add", ["x", "x"], ["y"]),
        helper.make_node("ReduceSum", ["y", "axes"], ["sums"], keepdims=0),
        helper.make_node("Cast", ["sums"], ["n"], to=TensorProto.INT64),
    ]
    graph = helper.make_graph(
        nodes,
        "doubling",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n_rows", 2])],
        [
            helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n_rows", 2]),
            helper.make_tensor_value_info("n", TensorProto.INT64, ["n_rows"]),
        ],
        [helper.make_tensor("axes", TensorProto.INT64, [1], [1])],
    )
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


def test_the_largest_difference_is_told(doubling: Path) -> None:
    expected = 2 * ROWS
    expected[3, 1] += np.float32(0.001)
    assert check_parity(doubling, {"x": ROWS}, {"y": expected}, tolerance=0.01) == pytest.approx(0.001, rel=0.01)


def test_above_the_tolerance_is_an_error(doubling: Path) -> None:
    with pytest.raises(ParityError, match=r"0\.5"):
        check_parity(doubling, {"x": ROWS}, {"y": 2 * ROWS + np.float32(0.5)}, tolerance=0.4)


def test_nan_never_passes(doubling: Path) -> None:
    expected = 2 * ROWS
    expected[9, 0] = np.nan
    with pytest.raises(ParityError):
        check_parity(doubling, {"x": ROWS}, {"y": expected}, tolerance=1e9)


def test_integers_are_equal_or_not(doubling: Path) -> None:
    right = (2 * ROWS).sum(axis=1).astype(np.int64)
    assert check_parity(doubling, {"x": ROWS}, {"n": right}, tolerance=0.0) == 0
    with pytest.raises(ParityError):
        check_parity(doubling, {"x": ROWS}, {"n": right + 1}, tolerance=1e9)


def test_another_shape_is_an_error(doubling: Path) -> None:
    with pytest.raises(ParityError, match="shape"):
        check_parity(doubling, {"x": ROWS}, {"y": np.zeros((10, 3), np.float32)}, tolerance=1.0)


def test_batches_are_what_was_asked_for(doubling: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    class Session:
        def run(self, names: list[str], feed: dict[str, np.ndarray]) -> list[np.ndarray]:
            sizes.append(len(feed["x"]))
            return [2 * feed["x"] for _ in names]

    monkeypatch.setattr(parity, "open_session", lambda _: Session())
    check_parity(doubling, {"x": ROWS}, {"y": 2 * ROWS}, tolerance=0.0, batches=(4, parity.ALL))
    assert sizes == [4, 4, 2, 10]
