"""The vote of digits_ensemble: its ONNX file answers as NumPy does, whatever the members say."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnxruntime
import pytest

from modelyard.errors import ConfigurationError

FOLDER = Path(__file__).resolve().parents[3] / "models" / "digits_ensemble"


@pytest.fixture(scope="module")
def vote() -> ModuleType:
    """The script as a module: models/ is no package."""
    spec = importlib.util.spec_from_file_location("digits_ensemble_vote", FOLDER / "vote.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def shares(vote: ModuleType) -> Any:
    """The network counts more, the forest is sharpened more."""
    return {"digits": vote.Share(0.75, 1.5), "digits_forest": vote.Share(0.25, 3.0)}


@pytest.mark.parametrize("rows", [1, 5, 200])
def test_the_file_counts_as_numpy_does(vote: ModuleType, shares: Any, rows: int) -> None:
    random = np.random.default_rng(rows)
    inputs = {name: random.dirichlet(np.full(10, 0.2), rows).astype(np.float32) for name in ("convolution", "forest")}
    inputs["forest"][0] = inputs["convolution"][0]
    expected = vote.count(inputs, shares)
    session = onnxruntime.InferenceSession(vote.graph(shares).SerializeToString())
    for name, array in zip(expected, session.run(list(expected), inputs), strict=True):
        np.testing.assert_allclose(array, expected[name], atol=1e-6)
        assert array.dtype == expected[name].dtype
    assert expected["agree"][0]
    np.testing.assert_allclose(expected["probabilities"].sum(axis=1), 1, atol=1e-5)


def test_the_heavier_member_decides(vote: ModuleType, shares: Any) -> None:
    inputs = {"convolution": np.eye(10, dtype=np.float32)[[3]], "forest": np.eye(10, dtype=np.float32)[[5]]}
    answers = vote.count(inputs, shares)
    assert (answers["label"].tolist(), answers["votes"].tolist(), answers["agree"].tolist()) == ([3], [[3, 5]], [False])


def test_sharper_probabilities_add_up_to_one_and_keep_their_order(vote: ModuleType) -> None:
    soft = np.array([[0.5, 0.3, 0.2], [0.0, 1.0, 0.0]], np.float32)
    np.testing.assert_allclose(vote.sharpen(soft, 1.0), soft, atol=1e-6)
    np.testing.assert_allclose(vote.sharpen(soft, 2.0), np.array([[25, 9, 4], [0, 38, 0]]) / 38, atol=1e-6)


def test_the_shares_of_other_members_are_refused(
    vote: ModuleType, shares: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vote, "BUILD", tmp_path)
    monkeypatch.setattr(vote, "SHARES", tmp_path / "shares.json")
    vote.save_shares(shares, 0.98)
    assert vote.load_shares() == (shares, 0.98)
    vote.save_shares({"digits": vote.Share(1.0, 1.0)}, 0.98)
    with pytest.raises(ConfigurationError, match="other members"):
        vote.load_shares()
