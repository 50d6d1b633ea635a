"""What a fitted scikit-learn estimator takes: one matrix of numbers, texts, or columns by their names.

Rows are made up from what the estimator has learnt: around the mean of a scaler, between the thresholds of trees, out
of the categories of an encoder. They try the conversion and become golden rows; of the model's quality they say
nothing.
"""

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from modelyard.errors import ConfigurationError
from modelyard.tensors import Array

ROWS = 64
_WORDS = ("a", "good", "bad", "the", "of")


@dataclass(frozen=True, slots=True)
class Columns:
    names: list[str]
    """Of the columns, where the estimator was fitted with names."""
    inputs: dict[str, Array]
    """Made-up rows by the name of the ONNX input: float32 or str, [rows, columns]."""
    texts: bool = False
    by_name: bool = False

    def with_rows(self, path: Path) -> "Columns":
        """The same with real rows out of an .npz file. Raises ConfigurationError when they are of another model."""
        try:
            with path.open("rb") as raw:
                file = np.load(raw, allow_pickle=False)
                arrays = {name: file[name] for name in self.inputs}
        except (OSError, ValueError, KeyError, TypeError, IndexError, EOFError, zipfile.BadZipFile) as error:
            wanted = ", ".join(f"{name} [-1, {rows.shape[1]}]" for name, rows in self.inputs.items())
            raise ConfigurationError(f"{path} does not hold what the estimator takes, {wanted} ({error})") from None
        for name, made_up in self.inputs.items():
            texts = made_up.dtype.kind == "U"
            if arrays[name].shape[1:] != made_up.shape[1:] or (arrays[name].dtype.kind == "U") != texts:
                shape = list(arrays[name].shape)
                raise ConfigurationError(
                    f"{path}: '{name}' has shape {shape}, the estimator takes {made_up.shape[1]} columns"
                )
            arrays[name] = arrays[name] if texts else arrays[name].astype(np.float32)
        return replace(self, inputs=arrays)

    def frame(self) -> Any:
        """The rows as the estimator takes them: the same numbers in float64, with which it was most likely fitted."""
        if self.texts:
            return [row[0] for row in self.inputs["text"]]
        if self.by_name:
            import pandas as pd  # noqa: PLC0415  (whoever fitted on columns by name has it)

            return pd.DataFrame({name: rows[:, 0] for name, rows in self.inputs.items()})
        (matrix,) = self.inputs.values()
        return matrix.astype(np.float64)


def columns_of(estimator: Any) -> Columns:
    """Raises ConfigurationError when it cannot be told what the estimator takes."""
    random = np.random.default_rng(0)
    first = next(iter(_first_steps(estimator)))
    if hasattr(first, "vocabulary_"):
        words = [*list(first.vocabulary_)[:100], *_WORDS]
        texts = [" ".join(random.choice(words, 6)) for _ in range(ROWS)]
        return Columns([], {"text": np.array(texts).reshape(-1, 1)}, texts=True)
    count = getattr(estimator, "n_features_in_", None)
    if count is None:
        raise ConfigurationError(
            f"a {type(estimator).__name__} does not say how many columns it takes (n_features_in_): convert it with "
            "skl2onnx where it was fitted, and bring the ONNX file"
        )
    names = [str(name) for name in getattr(estimator, "feature_names_in_", ())]
    categories = _categories(first, names)
    if categories is not None:
        return Columns(names, {name: _column(name, categories, random) for name in names}, by_name=True)
    middle, width = _scales(first, int(count))
    rows = middle + width * random.standard_normal((ROWS, int(count)))
    return Columns(names, {"features": np.asarray(rows, np.float32)})


def _first_steps(estimator: Any) -> Iterator[Any]:
    """What sees the columns first."""
    steps = getattr(estimator, "steps", None)
    while steps:
        estimator = steps[0][1]
        steps = getattr(estimator, "steps", None)
    yield estimator


def _categories(first: Any, names: list[str]) -> dict[str, list[Any]] | None:
    """The categories by column of a ColumnTransformer that chooses columns by name; None for anything else."""
    transformers = getattr(first, "transformers_", None)
    if transformers is None or not names:
        return None
    found: dict[str, list[Any]] = {}
    for _, transformer, chosen in transformers:
        encoder = next(iter(_first_steps(transformer))) if not isinstance(transformer, str) else None
        for name, known in zip(chosen, getattr(encoder, "categories_", ()), strict=False):
            found[str(name)] = list(known)
    return found


def _column(name: str, categories: dict[str, list[Any]], random: np.random.Generator) -> Array:
    known = categories.get(name)
    if known and isinstance(known[0], str):
        return np.array([known[index] for index in random.integers(0, len(known), ROWS)]).reshape(-1, 1)
    if known:
        return np.asarray(random.choice(known, (ROWS, 1)), np.float32)
    return np.asarray(random.standard_normal((ROWS, 1)), np.float32)


def _scales(first: Any, count: int) -> tuple[Array, Array]:
    """The middle and the width of each column, as far as the estimator tells."""
    if getattr(first, "mean_", None) is not None and getattr(first, "scale_", None) is not None:
        return np.asarray(first.mean_), np.asarray(first.scale_)
    if getattr(first, "data_min_", None) is not None:
        low, high = np.asarray(first.data_min_), np.asarray(first.data_max_)
        return (low + high) / 2, (high - low) / 4
    low, high = np.full(count, np.inf), np.full(count, -np.inf)
    for feature, threshold in _splits(first):
        np.minimum.at(low, feature, threshold)
        np.maximum.at(high, feature, threshold)
    seen = np.isfinite(low)
    middle = np.where(seen, (np.where(seen, low, 0) + np.where(seen, high, 0)) / 2, 0.0)
    width = np.where(seen, (np.where(seen, high, 0) - np.where(seen, low, 0)) / 2, 1.0)
    return middle, np.where(width > 0, width, 1.0)


def _splits(estimator: Any) -> Iterator[tuple[Array, Array]]:
    """(columns, thresholds) of every tree."""
    tree = getattr(estimator, "tree_", None)
    if tree is not None:
        inner = tree.feature >= 0
        yield tree.feature[inner], tree.threshold[inner]
    for predictors in getattr(estimator, "_predictors", ()) or ():  # of histogram gradient boosting
        for predictor in predictors:
            inner = predictor.nodes[predictor.nodes["is_leaf"] == 0]
            yield inner["feature_idx"].astype(np.int64), inner["num_threshold"]
    for part in np.ravel(np.asarray(getattr(estimator, "estimators_", ()), dtype=object)):
        yield from _splits(part)
