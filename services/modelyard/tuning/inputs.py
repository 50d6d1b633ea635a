"""Requests to measure with: golden inputs where the version has them, otherwise made-up ones of the same kind.

    spec, golden, --dim -> the shape of each input -> some hundred requests that differ from each other

Floating values are varied by about 1 %. Everything else is only ever repeated from the golden rows: an index or a text
that the model never saw might be none that it takes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from modelyard.errors import ConfigurationError
from modelyard.golden import Golden
from modelyard.spec import ModelSpec, TensorSpec
from modelyard.tensors import DTYPES, FLOATING, MAX_DIMENSION, Array, Shape, Tensor
from modelyard.tuning.grid import check_range

POOL_REQUESTS = 256
POOL_BYTES = 64 * 2**20
VARIATION = 0.01

Dims = Mapping[tuple[str, int], int]
"""(input, axis) to its size."""


@dataclass(frozen=True, slots=True)
class Pool:
    requests: list[list[Tensor]]
    notes: list[str]
    """What the inputs are, a line each."""
    warnings: list[str]
    """Sizes that nobody asked for, and on which the figures depend."""

    @property
    def shapes(self) -> dict[str, list[int]]:
        return {tensor.name: list(tensor.shape) for tensor in self.requests[0]}


def build_pool(spec: ModelSpec, golden: Golden | None, dims: Dims, rows: int) -> Pool:
    """Requests of `rows` rows each."""
    known = {tensor.name: tensor.array for tensor in golden.inputs} if golden else {}
    shapes = [_shape(tensor, known.get(tensor.name), dims, rows if spec.batched else None) for tensor in spec.inputs]
    elements = sum(prod(shape) for shape in shapes)
    count = max(8, min(POOL_REQUESTS, POOL_BYTES // (8 * elements + 1)))
    random = np.random.default_rng(0)
    requests = []
    for number in range(count):
        picked = np.arange(number, number + rows)
        arrays = [
            _varied(tensor, known.get(tensor.name), shape, picked, spec.batched, random)
            for tensor, shape in zip(spec.inputs, shapes, strict=True)
        ]
        requests.append([Tensor(t.name, t.datatype, a) for t, a in zip(spec.inputs, arrays, strict=True)])
    source = "as the golden inputs" if golden else "made up: the version has no golden inputs"
    notes = [f"{t.name} {t.datatype} {list(s)}, {source}" for t, s in zip(spec.inputs, shapes, strict=True)]
    return Pool(requests, notes, _warnings(spec, shapes, known, dims))


def parse_dims(spec: ModelSpec, texts: Sequence[str]) -> dict[tuple[str, int], int]:
    """`NAME=N` sizes every free dimension of an input, `NAME.AXIS=N` one of them. Raises ConfigurationError."""
    dims: dict[tuple[str, int], int] = {}
    for text in texts:
        place, _, size = text.rpartition("=")
        if not size.isdecimal():
            raise ConfigurationError(f"--dim takes NAME=N or NAME.AXIS=N, not '{text[:80]}'")
        check_range(f"--dim {place}", int(size), 1, MAX_DIMENSION)
        dims |= dict.fromkeys(_places(spec, place), int(size))
    return dims


def _places(spec: ModelSpec, place: str) -> list[tuple[str, int]]:
    name, _, axis = place.rpartition(".")
    for tensor in spec.inputs:
        free = _free_axes(spec, tensor)
        if tensor.name == place and free:
            return [(place, each) for each in free]
        if tensor.name == name and axis.isdecimal() and int(axis) in free:
            return [(name, int(axis))]
    possible = [f"{tensor.name}.{axis}" for tensor in spec.inputs for axis in _free_axes(spec, tensor)]
    raise ConfigurationError(f"--dim: '{place[:80]}' has no free dimension; free are {', '.join(possible) or 'none'}")


def _free_axes(spec: ModelSpec, tensor: TensorSpec) -> list[int]:
    first = 1 if spec.batched else 0
    return [axis for axis, size in enumerate(tensor.shape) if size < 0 and axis >= first]


def _shape(tensor: TensorSpec, golden: Array | None, dims: Dims, rows: int | None) -> Shape:
    shape = []
    for axis, size in enumerate(tensor.shape):
        if axis == 0 and rows is not None:
            shape.append(rows)
        elif size >= 0:
            shape.append(size)
        else:
            shape.append(dims.get((tensor.name, axis), golden.shape[axis] if golden is not None else 1))
    return tuple(shape)


def _warnings(spec: ModelSpec, shapes: Sequence[Shape], known: Mapping[str, Array], dims: Dims) -> list[str]:
    lines = []
    for tensor, shape in zip(spec.inputs, shapes, strict=True):
        for axis in _free_axes(spec, tensor):
            if (tensor.name, axis) not in dims:
                why = "as in the golden inputs" if tensor.name in known else "the smallest there is"
                place = f"{tensor.name}.{axis}"
                lines.append(f"the free dimension {place} is {shape[axis]}, {why}: --dim {place}=N measures another")
    return lines


def _varied(
    tensor: TensorSpec, golden: Array | None, shape: Shape, picked: Array, batched: bool, random: np.random.Generator
) -> Array:
    """One request's array. `picked` are the golden rows that it is made of, counted around."""
    if golden is None or not golden.size:
        array = _made_up(tensor.datatype, shape, random)
    elif batched and golden.shape[1:] == shape[1:]:
        array = golden[picked % golden.shape[0]]
    elif golden.shape == shape:
        array = golden
    else:
        array = random.choice(golden.ravel(), shape)
    if tensor.datatype not in FLOATING:
        return np.ascontiguousarray(array)
    limits = np.finfo(array.dtype)
    with np.errstate(invalid="ignore"):  # golden NaNs of every kind stay NaN
        varied = array.astype(np.float64) * (1 + VARIATION * random.standard_normal(shape))
        return np.asarray(np.clip(varied, limits.min, limits.max), array.dtype)


def _made_up(datatype: str, shape: Shape, random: np.random.Generator) -> Array:
    """Small numbers, which are valid indices most often."""
    if datatype in FLOATING:
        return np.asarray(random.standard_normal(shape), DTYPES[datatype])
    numbers = random.integers(0, 2, shape)
    if datatype == "BYTES":
        return np.asarray(np.where(numbers > 0, b"a", b"b"), np.object_)
    return np.asarray(numbers * 0x3F80 if datatype == "BF16" else numbers, DTYPES[datatype])
