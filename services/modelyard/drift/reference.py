"""reference.json of a version: for every feature and for the prediction, bins and the share of rows in each.

What is watched while the version serves is what stands here, also when model.yaml has changed since.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from modelyard.drift.bins import BINS
from modelyard.drift.features import Feature
from modelyard.drift.psi import FLOOR
from modelyard.drift_spec import MAX_FEATURES
from modelyard.errors import ConfigurationError
from modelyard.tensors import Array

Kind = Literal["probabilities", "label", "value"]
Shares = tuple[float, ...]
Edges = tuple[float, ...]
OTHER = "other"
NO_CLASS = -1
MOST_CLASSES = 10
CONFIDENCE_EDGES = tuple(round(0.1 * step, 1) for step in range(1, BINS + 1))


class BinnedFeature(Feature):
    edges: Edges = Field(min_length=1, max_length=BINS - 1)
    ratios: Shares
    """Of the bins in their order, the missing last; none below psi.FLOOR."""

    @model_validator(mode="after")
    def _fits(self) -> "BinnedFeature":
        if len(self.ratios) != len(self.edges) + 2 or list(self.edges) != sorted(set(self.edges)):
            raise ValueError(f"'{self.name}': {len(self.edges)} edges do not go with {len(self.ratios)} ratios")
        return self


class Prediction(BaseModel):
    """What the model answers: the likeliest class of `probabilities`, a `label`, or a `value` by bins."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    output: str
    kind: Kind
    classes: tuple[int, ...] = Field((), max_length=MOST_CLASSES)
    """The most frequent ones, rising; all others count as one. None of a value."""
    edges: Edges = ()
    """Of a value."""
    ratios: Shares
    """Of the classes, then the others; or of the bins, then the missing."""
    confidence: Shares | None = None
    """Of the highest probability of each row, by CONFIDENCE_EDGES; None where the output holds no probabilities."""
    rows: int = Field(ge=1)

    @model_validator(mode="after")
    def _fits(self) -> "Prediction":
        if len(self.ratios) != len(self.labels):
            raise ValueError(f"prediction: {len(self.labels)} classes do not go with {len(self.ratios)} ratios")
        return self

    @property
    def labels(self) -> list[str]:
        """What the classes are called in metrics."""
        if self.kind == "value":
            return [*map(str, range(len(self.edges) + 1)), OTHER]
        return [*map(str, self.classes), OTHER]

    def counts_of(self, answers: Array) -> Array:
        """How many answers [n] (classes or values) fall under each of `labels`."""
        if self.kind == "value":
            places = np.searchsorted(self.edges, answers, side="right")
            places[np.isnan(answers)] = len(self.labels) - 1
        else:
            known = np.asarray(self.classes)
            places = np.searchsorted(known, answers)
            inside = np.minimum(places, len(known) - 1)
            places = np.where(known[inside] == answers, inside, len(known))
        return np.bincount(places, minlength=len(self.labels))


class Reference(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    format: Literal[1] = 1
    rows: int = Field(ge=1)
    """That the features were taken from."""
    floor: float = FLOOR
    features: tuple[BinnedFeature, ...] = Field((), max_length=MAX_FEATURES)
    prediction: Prediction | None = None


def answers_of(kind: Kind, array: Array) -> tuple[Array, Array | None]:
    """One answer [n] for each row of an output [n, ...], and the highest probability [n] of each, if it has some.

    A row with NaN among its probabilities has NO_CLASS for an answer.
    """
    if kind == "probabilities":
        flat = array.reshape(len(array), math.prod(array.shape[1:]))  # -1 would not do for a request of no rows
        answers, highest = flat.argmax(axis=1), flat.max(axis=1).astype(np.float64)
        answers[np.isnan(highest)] = NO_CLASS
        return answers, highest
    return array.reshape(-1).astype(np.float64 if kind == "value" else np.int64), None


def confidence_counts(confidence: Array) -> Array:
    """By CONFIDENCE_EDGES, each with its upper edge, as Prometheus counts; NaN is in none."""
    places = np.searchsorted(CONFIDENCE_EDGES, confidence[~np.isnan(confidence)])
    return np.bincount(np.minimum(places, BINS - 1), minlength=BINS)


def write_reference(path: Path, reference: Reference) -> None:
    path.write_text(reference.model_dump_json(indent=1) + "\n", encoding="utf-8")


def read_reference(path: Path) -> Reference:
    """Raises ConfigurationError when the file is no reference."""
    try:
        return Reference.model_validate_json(path.read_bytes())
    except ValidationError as error:
        faults: Sequence[str] = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_url=False)]
        raise ConfigurationError(f"{path}: no reference file ({'; '.join(faults[:3])})") from None
    except OSError as error:
        raise ConfigurationError(f"{path}: no reference file ({error})") from None
