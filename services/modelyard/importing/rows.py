"""Rows to try a model on: made-up ones, or those that its owner gave.

Made-up numbers are right for most models and wrong for some: a logarithm wants positive ones, a convolution wants more
than 2 x 2 pixels. So several are offered, the likeliest first.
"""

import zipfile
from collections.abc import Iterator, Sequence
from math import prod
from pathlib import Path
from typing import Literal

import numpy as np

from modelyard.errors import ConfigurationError
from modelyard.spec import ModelSpec, TensorSpec
from modelyard.tensors import DTYPES, FLOATING, Array

TRIAL_ROWS = 3
MOST_GIVEN = 8
"""Of the rows that are given, so many are kept as golden ones."""
MOST_BYTES = 2**30
"""Of one made-up input: what is larger, no request could carry."""
_SIZES = (2, 16, 64, 224)
"""Of free dimensions beside the first."""
Values = Literal["normal", "positive", "zero"]
_VALUES: tuple[Values, ...] = ("normal", "positive", "zero")


def made_up(spec: ModelSpec) -> Iterator[tuple[str, list[Array]]]:
    """(what they are, an array for each input), the likeliest first. Raises ConfigurationError where none can be."""
    free = any(-1 in tensor.shape[1:] for tensor in spec.inputs)
    for size in _SIZES if free else _SIZES[:1]:
        shapes = [_shape(tensor, size) for tensor in spec.inputs]
        largest = max(zip(shapes, spec.inputs, strict=True), key=lambda pair: _bytes(*pair))
        if _bytes(*largest) > MOST_BYTES:
            if size > _SIZES[0]:
                return
            shape, tensor = largest
            raise ConfigurationError(
                f"input '{tensor.name}' {tensor.datatype} {list(tensor.shape)} takes "
                f"{_bytes(shape, tensor) / 2**30:.3g} GiB for a trial run: no request could carry it"
            )
        for values in _VALUES:
            random = np.random.default_rng(0)
            yield values, [_made_up(t, shape, values, random) for t, shape in zip(spec.inputs, shapes, strict=True)]


def given(path: Path, spec: ModelSpec) -> list[Array]:
    """Rows out of an .npz file, an array for each input by its name. Raises ConfigurationError."""
    try:
        with path.open("rb") as raw:
            file = np.load(raw, allow_pickle=False)
            if isinstance(file, np.ndarray):
                raise ConfigurationError(f"{path} holds one array without a name: save it with numpy.savez")
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ConfigurationError(
            f"{path} holds no rows: numpy.savez(path, INPUT=array) writes them ({error})"
        ) from None
    names = [tensor.name for tensor in spec.inputs]
    if sorted(arrays) != sorted(names):
        raise ConfigurationError(f"{path} has the arrays {sorted(arrays)}, the inputs are called {sorted(names)}")
    rows = [_cast(arrays[tensor.name], tensor, path) for tensor in spec.inputs]
    if all(tensor.shape[:1] == (-1,) for tensor in spec.inputs):
        if len({len(array) for array in rows}) > 1 or len(rows[0]) == 0:
            raise ConfigurationError(f"{path}: its arrays have no rows, or different numbers of rows")
        return [_several(array[:MOST_GIVEN]) for array in rows]
    return rows


def _several(rows: Array) -> Array:
    """A row alone would look independent of others whatever the model does: two like it go with it."""
    if len(rows) > 1:
        return rows
    if rows.dtype.kind != "f":
        return np.repeat(rows, TRIAL_ROWS, axis=0)
    return np.concatenate([rows * rows.dtype.type(factor) for factor in (1.0, 0.9, 1.1)])


def _cast(array: Array, tensor: TensorSpec, path: Path) -> Array:
    fits = len(array.shape) == len(tensor.shape) and all(
        want in (-1, have) for have, want in zip(array.shape, tensor.shape, strict=True)
    )
    if not fits:
        raise ConfigurationError(
            f"{path}: '{tensor.name}' has shape {list(array.shape)}, the model takes {list(tensor.shape)}"
        )
    if tensor.datatype == "BYTES":
        if array.dtype.kind not in "US":
            raise ConfigurationError(f"{path}: '{tensor.name}' is {array.dtype}, the model takes strings")
        texts = array.astype(np.str_)
        return np.asarray(np.frompyfunc(str.encode, 1, 1)(texts), np.object_).reshape(array.shape)
    if array.dtype.kind not in "biuf":
        raise ConfigurationError(f"{path}: '{tensor.name}' is {array.dtype}, the model takes {tensor.datatype}")
    if tensor.datatype == "BF16":
        return np.asarray(np.ascontiguousarray(array, np.float32).view(np.uint32) >> 16, np.uint16)
    return np.ascontiguousarray(array, DTYPES[tensor.datatype])


def _shape(tensor: TensorSpec, size: int) -> list[int]:
    free = [TRIAL_ROWS if axis == 0 else size for axis in range(len(tensor.shape))]
    return [have if have >= 0 else instead for have, instead in zip(tensor.shape, free, strict=True)]


def _bytes(shape: Sequence[int], tensor: TensorSpec) -> int:
    return prod(shape) * DTYPES[tensor.datatype].itemsize


def _made_up(tensor: TensorSpec, shape: Sequence[int], values: Values, random: np.random.Generator) -> Array:
    """Three distinct rows for a free first dimension; small whole numbers, which are valid indices most often."""
    if tensor.datatype in FLOATING:
        numbers = random.standard_normal(shape) if values == "normal" else random.uniform(0.1, 1.0, shape)
        return np.asarray(numbers * (values != "zero"), DTYPES[tensor.datatype])
    if values == "zero":
        whole = np.zeros(shape, np.int64)
    else:
        whole = random.integers(0, 2, shape) if values == "normal" else np.ones(shape, np.int64)
    if tensor.datatype == "BYTES":
        return np.asarray(np.frompyfunc(lambda number: b"ab"[number : number + 1], 1, 1)(whole), np.object_)
    if tensor.datatype == "BF16":
        return np.asarray(whole * 0x3F80, np.uint16)  # 0.0 and 1.0
    return np.asarray(whole, DTYPES[tensor.datatype])
