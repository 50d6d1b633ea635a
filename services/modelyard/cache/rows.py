"""Rows taken out of tensors and put together again. Pure functions."""

from collections.abc import Sequence

import numpy as np

from modelyard.cache.store import MISS, Missing, Row
from modelyard.tensors import FLOATING, Array, Tensor, all_finite


def take(inputs: Sequence[Tensor], slots: Sequence[int]) -> Sequence[Tensor]:
    """The rows in `slots`: the tensors themselves when that is all of them, views when they are neighbours."""
    first, count = slots[0], len(slots)
    if count == inputs[0].array.shape[0]:
        return inputs
    neighbours = slots[-1] - first + 1 == count
    index: slice | list[int] = slice(first, first + count) if neighbours else list(slots)
    return [Tensor(tensor.name, tensor.datatype, tensor.array[index]) for tensor in inputs]


def separate(outputs: Sequence[Array], count: int, batched: bool) -> list[Row]:
    """Each row of a run's outputs as arrays of its own: what is kept must not hold the whole batch, nor be written on.

    Without a batch dimension the outputs are one row.
    """
    rows = [tuple([array[i, ...].copy() for array in outputs]) for i in range(count)] if batched else [tuple(outputs)]
    for row in rows:
        for array in row:
            array.flags.writeable = False
    return rows


def assemble(rows: Sequence[Row | Missing], batched: bool) -> list[Array]:
    """The outputs of a request whose rows are all there; undoes `separate`."""
    whole = [row for row in rows if row is not MISS]
    if not batched:
        return list(whole[0])
    if len(whole) == 1:
        return [array[np.newaxis, ...] for array in whole[0]]
    return [np.stack(arrays) for arrays in zip(*whole, strict=True)]


def finite_rows(datatypes: Sequence[str], outputs: Sequence[Array], count: int, batched: bool) -> Sequence[bool]:
    """Per row: does it hold numbers only? A NaN or an infinity is answered, but never kept."""
    finite: Array | None = None
    for datatype, array in zip(datatypes, outputs, strict=True):
        good = _finite(datatype, array)
        if good is not None:
            of_rows: Array = np.all(good.reshape(count if batched else 1, -1), axis=1)
            finite = of_rows if finite is None else finite & of_rows
    return [True] * count if finite is None else finite.tolist()


def _finite(datatype: str, array: Array) -> Array | None:
    """Per element; None when all of them are."""
    if datatype in FLOATING:
        return None if all_finite(array) else np.isfinite(array)
    if datatype == "BF16":
        good: Array = (array & 0x7F80) != 0x7F80  # all exponent bits set: NaN or infinity
        return good
    return None
