"""Nested lists <-> arrays: what a typed API takes and gives for a tensor of any datatype, as JSON writes it.

    [[1.5, 2], [3, 4]] -> to_array(..., "FP32", (-1, 2), "x") -> float32 [2, 2]      to_lists is the way back

Truth values are JSON's, BYTES are text. BF16 has no NumPy dtype and cannot go this way.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from modelyard.errors import InvalidInput
from modelyard.tensors import DTYPES, FLOATING, Array, all_finite


def to_array(values: Any, datatype: str, shape: Sequence[int], name: str) -> Array:
    """The array of `datatype` that nested lists hold; -1 in `shape` may vary. `name` is said in complaints.

    Raises InvalidInput for lists of uneven lengths, a wrong shape, and a number that the datatype cannot hold.
    """
    try:
        with np.errstate(over="ignore"):
            array = np.array(values, DTYPES[datatype])
    except ValueError:
        raise InvalidInput(f"{name}: lists of different lengths side by side", "shape") from None
    except (OverflowError, TypeError):
        raise InvalidInput(f"{name}: a value does not fit {datatype}", "value") from None
    given, wanted = list(array.shape), list(shape)
    if len(given) != len(wanted) or any(want not in (-1, have) for have, want in zip(given, wanted, strict=True)):
        raise InvalidInput(f"{name}: shape {given}, the model takes {wanted}", "shape")
    if datatype == "BYTES":
        return _encoded(array, name)
    if datatype in FLOATING and not all_finite(array):
        raise InvalidInput(f"{name}: a number does not fit {datatype}", "value")
    return array


def to_lists(array: Array, datatype: str) -> Any:
    """The same as nested lists; a bare value for a tensor of no dimensions."""
    if datatype != "BYTES":
        return array.tolist()
    texts = np.empty(array.shape, np.object_)
    for index, element in np.ndenumerate(array):
        texts[index] = element.decode("utf-8", "replace")
    return texts.tolist()


def _encoded(array: Array, name: str) -> Array:
    raw = np.empty(array.shape, np.object_)
    for index, element in np.ndenumerate(array):
        if not isinstance(element, str):  # lists of uneven lengths, which an array of objects takes as they are
            raise InvalidInput(f"{name}: lists of different lengths side by side, or a value that is no text", "shape")
        try:
            raw[index] = element.encode("utf-8")
        except UnicodeEncodeError:
            raise InvalidInput(f"{name}: a text that is no Unicode", "value") from None
    return raw
