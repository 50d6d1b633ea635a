"""What model.yaml says of drift: how features are called, which output is the prediction, what a log may not hold.

    drift:
      names: {features: [alcohol, malic_acid, ...]}    # of a row's elements, in their order
      ranges: {alcohol: [9, 17]}                       # values outside are counted, never refused (`values` refuses)
      prediction: probabilities                        # default: the output of `quality`, where that is a class
      redact: [image]                                  # inputs and outputs whose data no payload log holds

Everything has a default: `drift: {enabled: false}` is the way to have none of it.
"""

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

FeatureName = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^\"\\\n]+$")]
Row = tuple[int, ...]
MAX_FEATURES = 30
"""Of a model: each has a dozen series."""


class DriftSpec(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    enabled: bool = True
    inputs: tuple[str, ...] | None = None
    """Those that are watched; None: all, as far as MAX_FEATURES reach."""
    padding: tuple[str, ...] = ()
    """Inputs of varying size whose rows are filled up with zeros: these are not looked at."""
    names: dict[str, Annotated[tuple[FeatureName, ...], Field(min_length=1, max_length=MAX_FEATURES)]] = {}
    """Input to the names of a row's elements."""
    ranges: dict[str, tuple[float, float]] = {}
    """Feature to its least and largest plausible value."""
    prediction: str | None = None
    """Output: probabilities of classes, a label, or one value per row."""
    redact: tuple[str, ...] | None = None
    """Inputs and outputs whose data stay out of the payload log; None: those of BYTES."""


def check_drift(drift: DriftSpec, inputs: Mapping[str, Row], outputs: Mapping[str, Row]) -> None:
    """`inputs` and `outputs`: name to the shape of a row. Raises ValueError for what does not exist or fit."""
    for key, names, known in (
        ("inputs", drift.inputs or (), inputs),
        ("padding", drift.padding, inputs),
        ("names", drift.names, inputs),
        ("prediction", [drift.prediction] if drift.prediction else (), outputs),
        ("redact", drift.redact or (), {**inputs, **outputs}),
    ):
        for name in names:
            if name not in known:
                raise ValueError(f"drift: {key}: there is no '{name}'; known are {', '.join(known)}")
    given = [feature for names in drift.names.values() for feature in names]
    if len(set(given)) != len(given):
        raise ValueError(f"drift: names: a name stands twice: {given}")
    for name, features in drift.names.items():
        if (elements := elements_of(inputs[name])) != len(features):
            size = "rows of no fixed size" if elements is None else f"{elements} elements a row"
            raise ValueError(f"drift: names: {len(features)} names for '{name}', which has {size}")
    for feature, (low, high) in drift.ranges.items():
        if feature not in given:
            raise ValueError(f"drift: ranges: '{feature}' is none of the names that `names` gives")
        if not low <= high:
            raise ValueError(f"drift: ranges: of '{feature}': {low:g} is above {high:g}")


def elements_of(row: Row) -> int | None:
    """Of a row; None where it varies."""
    count = 1
    for size in row:
        if size < 0:
            return None
        count *= size
    return count
