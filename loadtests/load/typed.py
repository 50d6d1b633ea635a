"""The typed APIs of the services: what each takes for a row, and which of the model's outputs are in its answer.

A service that is not named here is asked as `modelyard new` writes one: POST /infer with every input as nested lists.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from loadtests.load.rows import Row
from modelyard.nested import to_array, to_lists
from modelyard.spec import ModelSpec
from modelyard.tensors import Array

Outputs = dict[str, Array]
WINE = (
    *("alcohol", "malic_acid", "ash", "alcalinity_of_ash", "magnesium", "total_phenols", "flavanoids"),
    *("nonflavanoid_phenols", "proanthocyanins", "color_intensity", "hue", "od280_od315_of_diluted_wines", "proline"),
)
"""The fields of the service in the order of the model's columns."""


@dataclass(frozen=True, slots=True)
class Typed:
    """One typed API. `answer` may hold fewer outputs than the model has."""

    path: str
    body: Callable[[Row], dict[str, Any]]
    answer: Callable[[Mapping[str, Any]], Outputs]


def typed_of(spec: ModelSpec) -> Typed | None:
    """None for a model that is served by the inference protocol alone."""
    if spec.service is None:
        return None
    return SERVICES.get(spec.name) or _generic(spec)


def _generic(spec: ModelSpec) -> Typed:
    inputs = {tensor.name: tensor.datatype for tensor in spec.inputs}

    def body(row: Row) -> dict[str, Any]:
        return {name: to_lists(row.inputs[name], datatype) for name, datatype in inputs.items()}

    def answer(document: Mapping[str, Any]) -> Outputs:
        return {t.name: to_array(document[t.name], t.datatype, t.shape, t.name) for t in spec.outputs}

    return Typed("/infer", body, answer)


def _image(row: Row) -> dict[str, Any]:
    return {"image": row.inputs["image"][0, 0].tolist()}


def _probabilities(document: Mapping[str, Any]) -> Outputs:
    return {"probabilities": _one(document["probabilities"], np.float32)}


def _vote(document: Mapping[str, Any]) -> Outputs:
    votes = [vote["label"] for vote in document["votes"]]
    named = {"label": document["label"], "votes": votes}
    return _probabilities(document) | {name: _one(value, np.int64) for name, value in named.items()}


def _wine(row: Row) -> dict[str, Any]:
    return dict(zip(WINE, row.inputs["features"][0].tolist(), strict=True))


def _cultivar(document: Mapping[str, Any]) -> Outputs:
    return _probabilities(document) | {"label": _one(document["label"], np.int64)}


def _session(row: Row) -> dict[str, Any]:
    events = zip(row.inputs["items"][0].tolist(), row.inputs["timestamps"][0].tolist(), strict=True)
    return {"events": [{"item": item, "at": at} for item, at in events if item > 0], "k": 50}


def _ranking(document: Mapping[str, Any]) -> Outputs:
    items = document["items"]
    return {
        "next_items": _one([item["item"] for item in items], np.int64),
        "scores": _one([item["score"] for item in items], np.float32),
    }


def _wanted(row: Row) -> dict[str, Any]:
    digit = int(row.inputs["label"][0])
    return {"latent": row.inputs["latent"][0].tolist(), "scale": 1} | ({"digit": digit} if digit >= 0 else {})


def _pixels(document: Mapping[str, Any]) -> Outputs:
    return {"image": _one([document["pixels"]], np.float32)}


def _texts(row: Row) -> dict[str, Any]:
    return {"texts": [row.text]}


def _vectors(document: Mapping[str, Any]) -> Outputs:
    return {"embedding": np.asarray(document["embeddings"], np.float32)}


def _one(value: Any, dtype: type[np.generic]) -> Array:
    """A batch of one."""
    return np.asarray([value], dtype)


SERVICES: Mapping[str, Typed] = {
    "digits": Typed("/classify", _image, _probabilities),
    "digits_ensemble": Typed("/classify", _image, _vote),
    "digits_vae": Typed("/generate.json", _wanted, _pixels),
    "embed": Typed("/embed", _texts, _vectors),
    "next_item": Typed("/recommend", _session, _ranking),
    "wine": Typed("/classify", _wine, _cultivar),
}
