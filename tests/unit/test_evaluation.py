"""Held-out rows on disk: what is written comes back, what does not fit together is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from modelyard.errors import ConfigurationError
from modelyard.evaluation import Evaluation, read_evaluation, write_evaluation

ROWS = np.arange(6, dtype=np.float32).reshape(3, 2)


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "evaluation.npz"
    given_ = Evaluation({"x": ROWS, "y": ROWS[:, 0]}, np.array([2, 0, 1]), {"x": ROWS[:2]})
    write_evaluation(path, given_)
    got = read_evaluation(path)
    assert got.rows == 3
    assert list(got.inputs) == ["x", "y"]
    np.testing.assert_array_equal(got.inputs["x"], ROWS)
    np.testing.assert_array_equal(got.inputs["y"], ROWS[:, 0])
    assert got.truth is not None
    np.testing.assert_array_equal(got.truth, [2, 0, 1])
    np.testing.assert_array_equal(got.calibration["x"], ROWS[:2])


@given(rows=arrays(np.float32, array_shapes(min_dims=1, min_side=1), elements=st.floats(width=32)))
def test_every_bit_is_kept(tmp_path_factory: pytest.TempPathFactory, rows: np.ndarray) -> None:
    path = tmp_path_factory.mktemp("rows") / "evaluation.npz"
    write_evaluation(path, Evaluation({"a:b/c": rows}))
    got = read_evaluation(path)
    assert got.truth is None
    assert not got.calibration
    assert got.inputs["a:b/c"].tobytes() == rows.tobytes()


@pytest.mark.parametrize(
    ("evaluation", "fault"),
    [
        (Evaluation({}), "needs rows"),
        (Evaluation({"x": ROWS[:0]}), "needs rows"),
        (Evaluation({"x": ROWS, "y": ROWS[:2]}), "different numbers of rows"),
        (Evaluation({"x": np.array(1, np.float32)}), "different numbers of rows"),
        (Evaluation({"x": ROWS}, np.array([1])), "3 rows need as many true answers"),
        (Evaluation({"x": ROWS}, None, {"x": ROWS, "y": ROWS[:1]}), "calibration .* different numbers"),
        (Evaluation({"x": np.array([b"a"], object)}), "BYTES cannot be kept"),
    ],
)
def test_rows_that_do_not_fit_are_refused(tmp_path: Path, evaluation: Evaluation, fault: str) -> None:
    path = tmp_path / "evaluation.npz"
    with pytest.raises(ConfigurationError, match=fault):
        write_evaluation(path, evaluation)
    assert not path.exists()


def test_what_is_no_such_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "evaluation.npz"
    with pytest.raises(ConfigurationError, match="no evaluation file"):
        read_evaluation(path)
    np.save(tmp_path / "one.npy", ROWS)
    for content in (b"", b"PK\x03\x04", b"no zip at all", (tmp_path / "one.npy").read_bytes()):
        path.write_bytes(content)
        with pytest.raises(ConfigurationError, match="no evaluation file"):
            read_evaluation(path)


def test_a_pickle_inside_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "evaluation.npz"
    with path.open("wb") as file:
        np.savez(file, allow_pickle=True, **{"input:x": np.array([{"a": 1}], object)})
    with pytest.raises(ConfigurationError, match="no evaluation file"):
        read_evaluation(path)
