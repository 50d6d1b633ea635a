"""What an input may hold beyond its datatype and shape, said in model.yaml:

    - {name: input_ids, datatype: INT64, shape: [-1, -1], values: [0, 30521], sizes: [1, 256]}
    - {name: attention_mask, datatype: INT64, shape: [-1, -1], values: [0, 1], like: input_ids}

A token id outside the vocabulary, or more tokens than there are positions, would fail deep inside the model: here the
caller reads what is wrong, before anything runs and before anything is allocated for it.
"""

from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict, Field, model_validator

from modelyard.errors import InvalidInput
from modelyard.tensors import Array, Shape, Tensor

UNORDERED = ("BYTES", "BF16")


class Bounded(BaseModel):
    """The part of a TensorSpec that bounds an input."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    values: tuple[float, float] | None = None
    """The least and the largest value, both allowed; NaN is outside."""
    sizes: tuple[int, int] | None = None
    """The least and the largest size of every dimension that may vary, the batch apart."""
    like: str | None = Field(None, min_length=1)
    """Another input, of the same shape."""

    @model_validator(mode="after")
    def _rising(self) -> "Bounded":
        for name, pair in (("values", self.values), ("sizes", self.sizes)):
            if pair is not None and not pair[0] <= pair[1]:
                raise ValueError(f"{name}: {pair[0]:g} is above {pair[1]:g}")
        return self

    @property
    def bounded(self) -> bool:
        return self.values is not None or self.sizes is not None or self.like is not None


def check_tensor_bounds(inputs: Mapping[str, tuple[str, Bounded]], outputs: Mapping[str, Bounded]) -> None:
    """`inputs` by name: datatype and bounds. Raises ValueError for bounds that cannot be held."""
    for name, bounds in outputs.items():
        if bounds.bounded:
            raise ValueError(f"output '{name}': values, sizes and like are for inputs")
    for name, (datatype, bounds) in inputs.items():
        if bounds.like is not None and bounds.like not in inputs:
            raise ValueError(f"input '{name}': like: there is no input '{bounds.like}'")
        if bounds.values is not None and datatype in UNORDERED:
            raise ValueError(f"input '{name}': values: those of {datatype} have no order here")


def check_bounds(tensor: Tensor, bounds: Bounded, declared: Shape, inputs: Sequence[Tensor], *, batched: bool) -> None:
    """`declared` is the shape of model.yaml, which `tensor` fits. Raises InvalidInput, saying what is allowed."""
    if bounds.sizes is not None:
        _check_sizes(tensor, declared, bounds.sizes, int(batched))
    if bounds.like is not None:
        other = next(each for each in inputs if each.name == bounds.like)
        if tensor.shape != other.shape:
            raise InvalidInput(
                f"input '{tensor.name}' has shape {list(tensor.shape)}, '{other.name}' has {list(other.shape)}: "
                "they have to be alike",
                "shape",
            )
    if bounds.values is not None and tensor.array.size:
        _check_values(tensor.name, tensor.array, *bounds.values)


def _check_sizes(tensor: Tensor, declared: Shape, sizes: tuple[int, int], first: int) -> None:
    least, most = sizes
    for axis in range(first, len(declared)):
        if declared[axis] < 0 and not least <= tensor.shape[axis] <= most:
            raise InvalidInput(
                f"input '{tensor.name}' has shape {list(tensor.shape)}: dimension {axis} goes from {least} to {most}",
                "shape",
            )


def _check_values(name: str, array: Array, least: float, most: float) -> None:
    low, high = array.min(), array.max()
    if not (least <= low and high <= most):
        wrong = high if least <= low else low
        raise InvalidInput(f"input '{name}' holds {wrong}; its values go from {least:.15g} to {most:.15g}", "value")
