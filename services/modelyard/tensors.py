"""Tensors as the Open Inference Protocol names them: the datatype table, Tensor, InferRequest, InferResponse.

One table maps the protocol's datatypes to NumPy; one pair of functions, `to_bytes` and `from_bytes`, is the protocol's
binary form (little-endian, row-major, BYTES with a uint32 length before each element). HTTP binary tensors, gRPC raw
contents, cache entries, cache keys and golden files all use that pair.

BF16 has no NumPy dtype: its arrays hold the bits as uint16. BYTES arrays hold `bytes` objects.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelyard.errors import InvalidInput

Array = NDArray[Any]
Shape = tuple[int, ...]
Buffer = bytes | bytearray | memoryview
Parameter = bool | int | float | str

MAX_RANK = 32
MAX_DIMENSION = 2**31 - 1
MAX_ELEMENTS = 2**40  # far above any body cap; keeps every size within 64 bits

DTYPES: Mapping[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype(np.uint16),
    "UINT32": np.dtype(np.uint32),
    "UINT64": np.dtype(np.uint64),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype(np.int16),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "FP16": np.dtype(np.float16),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
    "BF16": np.dtype(np.uint16),
    "BYTES": np.dtype(np.object_),
}
BINARY_ONLY = frozenset({"FP16", "BF16"})
"""Datatypes that JSON and typed gRPC contents cannot carry."""
FLOATING = frozenset({"FP16", "FP32", "FP64"})

_NAMES = {dtype: name for name, dtype in DTYPES.items() if name != "BF16"}
_LENGTH = struct.Struct("<I")


@dataclass(slots=True)
class Tensor:
    """A named array, never changed once made. `array.dtype` is always the dtype of `datatype`."""

    name: str
    datatype: str
    array: Array

    @property
    def shape(self) -> Shape:
        return self.array.shape

    @classmethod
    def from_array(cls, name: str, array: Array) -> "Tensor":
        """A tensor whose datatype is that of the array's dtype. Raises InvalidInput for a dtype outside the table."""
        datatype = _NAMES.get(array.dtype.newbyteorder("="))
        if datatype is None:
            raise InvalidInput(f"'{name}': no datatype for dtype {array.dtype}", "datatype")
        return cls(name, datatype, np.asarray(array, DTYPES[datatype], order="C"))


@dataclass(slots=True)
class InferRequest:
    """One inference, whichever wire it came over."""

    model_name: str
    inputs: list[Tensor]
    model_version: str = ""
    """Empty: the model's default version."""
    id: str = ""
    outputs: tuple[str, ...] = ()
    """Names of the outputs that are wanted; empty: all of them."""
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    timeout: float | None = None
    """Seconds that the caller is willing to wait, from arrival."""
    priority: int = 0
    """1 is the highest, 0 the default (Triton's schedule-policy extension)."""
    cached: bool = True
    """False: the cache is neither read nor filled."""
    part: bool = False
    """Of a call whose quota was taken with another part of it."""
    protocol: str = "api"


@dataclass(slots=True)
class InferResponse:
    model_name: str
    model_version: str
    outputs: list[Tensor]
    id: str = ""
    parameters: dict[str, Parameter] = field(default_factory=dict)


def element_count(shape: Sequence[int], what: str) -> int:
    """Number of elements of `shape`. Raises InvalidInput before anything could be allocated for an absurd one."""
    if len(shape) > MAX_RANK:
        raise InvalidInput(f"{what}: rank {len(shape)} is above {MAX_RANK}", "shape")
    for dimension in shape:
        if dimension < 0 or dimension > MAX_DIMENSION:
            raise InvalidInput(f"{what}: dimension {dimension} is outside 0..{MAX_DIMENSION}", "shape")
    # a zero elsewhere must not hide dimensions whose product overflows: NumPy refuses such shapes too
    if prod(dimension or 1 for dimension in shape) > MAX_ELEMENTS:
        raise InvalidInput(f"{what}: shape {list(shape)} is too large", "shape")
    return prod(shape)


def dtype_of(datatype: str, what: str) -> np.dtype[Any]:
    """The NumPy dtype of a protocol datatype. Raises InvalidInput for an unknown name."""
    dtype = DTYPES.get(datatype)
    if dtype is None:
        raise InvalidInput(f"{what}: unknown datatype '{datatype[:40]}'", "datatype")
    return dtype


def all_finite(array: Array) -> bool:
    """No NaN and no infinity. (Looking for a zero byte takes half the time of `.all()` on a small array.)"""
    return b"\0" not in np.isfinite(array).tobytes()


def to_bytes(datatype: str, array: Array) -> bytes:
    """The protocol's binary form of an array."""
    if datatype != "BYTES":
        return array.tobytes()
    parts: list[bytes] = []
    for element in array.ravel():
        parts += (_LENGTH.pack(len(element)), element)
    return b"".join(parts)


def from_bytes(datatype: str, shape: Sequence[int], raw: Buffer, what: str) -> Array:
    """The array behind the protocol's binary form: a view of `raw` where the datatype allows.

    Raises InvalidInput when `raw` is not exactly as long as datatype and shape say.
    """
    dtype = dtype_of(datatype, what)
    count = element_count(shape, what)
    if datatype == "BYTES":
        return _bytes_elements(raw, count, what).reshape(shape)
    expected = count * dtype.itemsize
    if len(raw) != expected:
        raise InvalidInput(f"{what}: {len(raw)} bytes given, {datatype} {list(shape)} takes {expected}", "size")
    if datatype == "BOOL" and count and np.frombuffer(raw, np.uint8).max() > 1:
        raise InvalidInput(f"{what}: a BOOL byte is neither 0 nor 1", "value")
    return np.frombuffer(raw, dtype).reshape(shape)


def _bytes_elements(raw: Buffer, count: int, what: str) -> Array:
    """Split `raw` into `count` length-prefixed elements; each prefix is checked against what is there."""
    view = memoryview(raw)
    if count * _LENGTH.size > len(view):  # before allocating: every element takes at least its prefix
        raise InvalidInput(f"{what}: {len(view)} bytes cannot hold {count} BYTES elements", "size")
    elements = np.empty(count, np.object_)
    position, end = 0, len(view)
    for index in range(count):
        start = position + _LENGTH.size
        if start > end:
            raise InvalidInput(f"{what}: {index} BYTES elements found, {count} expected", "size")
        position = start + _LENGTH.unpack_from(view, position)[0]
        if position > end:
            raise InvalidInput(f"{what}: the length of BYTES element {index} reaches past the data", "size")
        elements[index] = view[start:position].tobytes()
    if position != end:
        raise InvalidInput(f"{what}: {end - position} bytes are left after {count} BYTES elements", "size")
    return elements
