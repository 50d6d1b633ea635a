"""What an estimator takes is read from what it has learnt; made-up rows fall where it makes differences."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import GradientBoostingRegressor, HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LinearRegression
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from modelyard.authoring.columns import columns_of
from modelyard.errors import ConfigurationError

RANDOM = np.random.default_rng(1)
FAR = np.array([1000.0, -5.0, 0.0])
ROWS = RANDOM.standard_normal((80, 3)) * np.array([10.0, 1.0, 0.1]) + FAR
TRUTH = ROWS.sum(axis=1)


@pytest.mark.parametrize(
    "estimator",
    [
        make_pipeline(StandardScaler(), LinearRegression()),
        make_pipeline(MinMaxScaler(), LinearRegression()),
        RandomForestRegressor(5, random_state=0),
        GradientBoostingRegressor(n_estimators=20, random_state=0),
        HistGradientBoostingRegressor(max_iter=5, min_samples_leaf=5),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_rows_lie_among_those_of_the_training(estimator: Any) -> None:
    columns = columns_of(estimator.fit(ROWS, TRUTH))
    (rows,) = columns.inputs.values()
    assert rows.dtype == np.float32
    assert abs(rows[:, 0].mean() - 1000) < 15
    assert abs(rows[:, 1].mean() + 5) < 2
    assert len(np.unique(estimator.predict(columns.frame()))) > 10


def test_a_vectorizer_takes_texts() -> None:
    columns = columns_of(make_pipeline(CountVectorizer(), LinearRegression()).fit(["good day", "bad day"], [1, 0]))
    assert columns.inputs["text"].shape == (64, 1)
    assert isinstance(columns.frame()[0], str)


def test_what_does_not_say_what_it_takes_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="how many columns"):
        columns_of(make_pipeline(NearestNeighbors()))


def test_real_rows_take_the_place_of_made_up_ones(tmp_path: Path) -> None:
    columns = columns_of(LinearRegression().fit(ROWS, TRUTH))
    path = tmp_path / "rows.npz"
    np.savez(path, features=ROWS[:4], more=ROWS)
    assert np.array_equal(columns.with_rows(path).inputs["features"], ROWS[:4].astype(np.float32))
    for arrays in ({"x": ROWS}, {"features": ROWS[:, :2]}, {"features": np.array([["a", "b", "c"]])}):
        np.savez(path, **arrays)
        with pytest.raises(ConfigurationError, match=r"rows\.npz"):
            columns.with_rows(path)
    path.write_bytes(b"no rows")
    with pytest.raises(ConfigurationError, match="does not hold"):
        columns.with_rows(path)
