"""The `data` of a JSON tensor to an array, and back: typed decoding, so that nothing is coerced.

msgspec decodes straight into list[int], list[float], list[bool] or list[str] and refuses everything else: 1.0 or
"1" for an integer, true for a number. `data` may be flat or nested as deep as the shape (inference_rest.md, Tensor
Data).
"""

import struct
from collections.abc import Callable, Sequence
from functools import lru_cache
from math import prod
from typing import Any

import msgspec
import numpy as np

from modelyard.errors import InvalidInput
from modelyard.tensors import BINARY_ONLY, DTYPES, FLOATING, MAX_RANK, Array, all_finite, dtype_of, element_count

_ELEMENTS: dict[str, type] = {"BOOL": bool, "BYTES": str, "FP32": float, "FP64": float}
_SPACE = b" \t\r\n"
_FLOAT_CODES = {"FP32": "f", "FP64": "d"}
_flat_decoder = msgspec.json.Decoder(list[float])
_NESTING = frozenset({b"[", b" ", b"\t", b"\r", b"\n"})


def decode_data(datatype: str, shape: Sequence[int], data: bytes, what: str) -> Array:
    """Raises InvalidInput when the data does not fit datatype and shape exactly."""
    dtype = dtype_of(datatype, what)
    if datatype in BINARY_ONLY:
        raise InvalidInput(
            f"{what}: {datatype} has no JSON form; ask for binary: send the tensor as binary data", "datatype"
        )
    count = element_count(shape, what)
    depth = _depth(data, what)
    if depth not in (1, len(shape)) and (count or depth > len(shape)):  # an empty axis hides those inside it
        raise InvalidInput(
            f"{what}: data is nested {depth} deep, the shape {list(shape)} has rank {len(shape)}", "shape"
        )
    try:
        values = _decoder(_ELEMENTS.get(datatype, int), depth).decode(data)
        with np.errstate(over="ignore"):
            array = np.array(values, dtype)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"{what}: {error} ({datatype})", "value") from None
    except OverflowError:
        raise InvalidInput(f"{what}: a value is out of the range of {datatype}", "value") from None
    except ValueError:
        raise InvalidInput(f"{what}: data is ragged", "shape") from None
    if array.shape != tuple(shape) and (depth > 1 or array.ndim != 1 or array.size != count) and (count or array.size):
        raise InvalidInput(f"{what}: {array.size} values given, the shape {list(shape)} takes {count}", "size")
    if datatype in FLOATING and not all_finite(array):
        raise InvalidInput(f"{what}: a value is out of the range of {datatype}", "value")
    if datatype == "BYTES":
        return _encoded(array).reshape(shape)
    return array.reshape(shape)


def flat_floats(datatype: str, shape: Sequence[int], data: bytes) -> Array | None:
    """Flat data of FP32 or FP64, the common case, in a few steps; None for all else, which `decode_data` looks at."""
    code = _FLOAT_CODES.get(datatype)
    if code is None or not shape or min(shape) < 1:
        return None
    try:
        values = _flat_decoder.decode(data)
        if len(values) != prod(shape):
            return None
        # struct rounds as NumPy does, and refuses what becomes infinite without a warning to be silenced
        return np.frombuffer(_packer(code, len(values))(*values), DTYPES[datatype]).reshape(shape)
    except (msgspec.MsgspecError, OverflowError):
        return None


def encode_data(datatype: str, array: Array, what: str) -> Any:
    """What orjson writes as `data`: flat. Raises InvalidInput for what JSON cannot carry."""
    if datatype in BINARY_ONLY:
        raise InvalidInput(f"{what}: {datatype} has no JSON form; ask for binary (binary_data)", "datatype")
    if datatype == "BYTES":
        try:
            return [element.decode("utf-8") for element in array.ravel()]
        except UnicodeDecodeError:
            raise InvalidInput(f"{what} holds bytes that are no UTF-8; ask for binary (binary_data)", "value") from None
    if datatype in FLOATING and not all_finite(array):
        raise InvalidInput(
            f"{what} holds NaN or Infinity, which JSON cannot carry; ask for binary (binary_data)", "value"
        )
    return array.ravel()


@lru_cache(maxsize=256)
def _packer(code: str, count: int) -> Callable[..., bytes]:
    return struct.Struct(f"<{count}{code}").pack


def _depth(data: bytes, what: str) -> int:
    """How many brackets open before the first value."""
    if data[:1] == b"[" and data[1:2] not in _NESTING:
        return 1
    depth = 0
    for byte in data:
        if byte == 0x5B:
            depth += 1
        elif byte not in _SPACE:
            break
        if depth > MAX_RANK:
            raise InvalidInput(f"{what}: data is nested deeper than {MAX_RANK}", "shape")
    if not depth:
        raise InvalidInput(f"{what}: data is no array", "value")
    return depth


@lru_cache(maxsize=256)
def _decoder(element: type, depth: int) -> msgspec.json.Decoder[Any]:
    kind: Any = element
    for _ in range(depth):
        kind = list[kind]
    return msgspec.json.Decoder(kind)


def _encoded(texts: Array) -> Array:
    raw = np.empty(texts.size, np.object_)
    raw[:] = [text.encode("utf-8") for text in texts.ravel()]
    return raw
