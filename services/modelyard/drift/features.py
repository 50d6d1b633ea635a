"""Which features of its inputs a model is watched by.

An input of few elements: each of them. A larger one (an image, an embedding) or one whose size varies: what sums a row
up. BYTES: the lengths. `plan` decides once, when a version is published; the reference keeps what was decided.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from modelyard.drift_spec import MAX_FEATURES, elements_of
from modelyard.spec import ModelSpec, TensorSpec

What = Literal["element", "length", "mean", "deviation", "minimum", "maximum", "zeros"]
SUMMARY: tuple[What, ...] = ("mean", "deviation", "minimum", "maximum", "zeros")
"""Of a row; `zeros` is their share."""
SUMMARY_OF_TEXTS: tuple[What, ...] = ("length", "mean", "maximum")
"""Of a row of many BYTES: how many there are, and the bytes of each."""


class Feature(BaseModel):
    """One number of a row."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    input: str
    what: What
    index: int = 0
    """Of an element: its place in the row."""
    padded: bool = False
    """Zeros fill a row up, and are not looked at."""


def plan(spec: ModelSpec) -> list[Feature]:
    """At most MAX_FEATURES, in the order of model.yaml; an input that does not fit whole any more is summed up."""
    found: list[Feature] = []
    for tensor in spec.inputs:
        if spec.drift.inputs is not None and tensor.name not in spec.drift.inputs:
            continue
        room = MAX_FEATURES - len(found)
        elements = elements_of(row_shape(spec, tensor))
        names = spec.drift.names.get(tensor.name, ())
        if elements == 0:
            continue
        if elements is not None and elements <= room:
            found += _elements(tensor, elements, names)
        else:
            padded = elements is None and tensor.name in spec.drift.padding
            found += _summary(tensor, varies=elements is None, padded=padded)[:room]
    return found


def row_shape(spec: ModelSpec, tensor: TensorSpec) -> tuple[int, ...]:
    return tensor.shape[1:] if spec.batched else tensor.shape


def _elements(tensor: TensorSpec, elements: int, names: tuple[str, ...]) -> list[Feature]:
    if not names and elements == 1:
        names = (tensor.name,)
    elif not names:
        names = tuple(f"{tensor.name}[{place}]" for place in range(elements))
    return [Feature(name=n, input=tensor.name, what="element", index=place) for place, n in enumerate(names)]


def _summary(tensor: TensorSpec, *, varies: bool, padded: bool) -> list[Feature]:
    of_numbers = ("length", *SUMMARY) if varies else SUMMARY
    kinds = SUMMARY_OF_TEXTS if tensor.datatype == "BYTES" else of_numbers
    kinds = tuple(what for what in kinds if not (padded and what == "zeros"))
    return [Feature(name=f"{tensor.name}.{what}", input=tensor.name, what=what, padded=padded) for what in kinds]
