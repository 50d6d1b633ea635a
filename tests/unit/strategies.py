"""Hypothesis strategies and small builders that several test files share."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray
from prometheus_client import REGISTRY

from modelyard import meters
from modelyard.tensors import DTYPES, Tensor

Array = NDArray[Any]
DATATYPES = sorted(DTYPES)
FIXED = sorted(set(DTYPES) - {"BYTES"})


@st.composite
def arrays(draw: st.DrawFn, datatype: str, shape: tuple[int, ...]) -> Array:
    """Any bits that the datatype can hold, NaNs with payloads and all."""
    count = prod(shape)
    if datatype == "BYTES":
        return bytes_array(draw(st.lists(st.binary(max_size=6), min_size=count, max_size=count)), shape)
    dtype = DTYPES[datatype]
    raw = draw(st.binary(min_size=count * dtype.itemsize, max_size=count * dtype.itemsize))
    if datatype == "BOOL":
        raw = bytes(byte & 1 for byte in raw)
    return np.frombuffer(raw, dtype).reshape(shape)


@st.composite
def tensors(draw: st.DrawFn, min_rank: int = 0, min_rows: int = 0) -> Tensor:
    """A tensor of any datatype; with `min_rows` its first dimension is a batch of at least so many rows."""
    datatype = draw(st.sampled_from(DATATYPES))
    shape = draw(st.lists(st.integers(0, 3), min_size=min_rank, max_size=3))
    if min_rows:
        shape = [draw(st.integers(min_rows, 4)), *shape]
    return Tensor(draw(st.text(max_size=4)), datatype, draw(arrays(datatype, tuple(shape))))


def bytes_array(elements: list[bytes], shape: tuple[int, ...]) -> Array:
    """A BYTES array: NumPy would make a guess of its own out of a list."""
    array = np.empty(len(elements), np.object_)
    array[:] = elements
    return array.reshape(shape)


def same(one: Array, other: Array) -> bool:
    """Equal bit for bit: dtype, shape, and the payloads of NaNs."""
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    return one.tolist() == other.tolist() if one.dtype == object else one.tobytes() == other.tobytes()


def metric(name: str, **labels: str) -> float:
    """A metric's value now; 0 before it exists. Tests read differences."""
    meters.flush()
    return REGISTRY.get_sample_value(f"modelyard_{name}", labels) or 0.0
