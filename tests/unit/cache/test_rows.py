"""Rows taken out of tensors and put together again are the same bits, whatever the datatype."""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from modelyard.cache.rows import assemble, finite_rows, separate, take
from modelyard.tensors import DTYPES, FLOATING, Tensor
from tests.unit.strategies import DATATYPES, arrays, same

Array = NDArray[Any]
Outputs = list[tuple[str, Array]]


@st.composite
def outputs(draw: st.DrawFn, rows: int | None = None) -> Outputs:
    """The outputs of one run with their datatypes: any shapes, zero-length ones too."""
    count = draw(st.integers(1, 5)) if rows is None else rows
    made: Outputs = []
    for _ in range(draw(st.integers(1, 3))):
        datatype = draw(st.sampled_from(DATATYPES))
        shape = (count, *draw(st.lists(st.integers(0, 3), max_size=2)))
        made.append((datatype, draw(arrays(datatype, shape))))
    return made


def only_arrays(made: Outputs) -> list[Array]:
    return [array for _, array in made]


@given(outputs())
def test_assembling_undoes_separating(made: Outputs) -> None:
    whole = only_arrays(made)
    again = assemble(separate(whole, len(whole[0]), batched=True), batched=True)
    assert all(same(one, other) for one, other in zip(whole, again, strict=True))


@given(outputs(), st.data())
def test_rows_may_be_assembled_in_any_order_and_more_than_once(made: Outputs, data: st.DataObject) -> None:
    whole = only_arrays(made)
    count = len(whole[0])
    order = data.draw(st.lists(st.integers(0, count - 1), min_size=1, max_size=6))
    rows = separate(whole, count, batched=True)
    again = assemble([rows[index] for index in order], batched=True)
    assert all(same(one[order], other) for one, other in zip(whole, again, strict=True))


@given(outputs())
def test_without_a_batch_dimension_the_outputs_are_one_row(made: Outputs) -> None:
    whole = only_arrays(made)
    rows = separate(whole, 1, batched=False)
    assert len(rows) == 1
    assert all(same(one, other) for one, other in zip(whole, assemble(rows, batched=False), strict=True))


@given(outputs())
def test_a_kept_row_holds_no_more_than_itself_and_cannot_be_written_on(made: Outputs) -> None:
    whole = [array.copy() for array in only_arrays(made)]
    for row in separate(whole, len(whole[0]), batched=True):
        for kept, array in zip(row, whole, strict=True):
            assert not np.shares_memory(kept, array)
            assert kept.base is None or kept.base.nbytes == kept.nbytes
            assert not kept.flags.writeable
            with pytest.raises(ValueError, match="read-only"):
                kept[...] = 0


@given(outputs(), st.data())
def test_taken_rows_are_those_in_the_slots(made: Outputs, data: st.DataObject) -> None:
    inputs = [Tensor(f"x{place}", datatype, array) for place, (datatype, array) in enumerate(made)]
    count = len(made[0][1])
    slots = sorted(data.draw(st.sets(st.integers(0, count - 1), min_size=1)))
    taken = take(inputs, slots)
    for tensor, part in zip(inputs, taken, strict=True):
        assert (part.name, part.datatype) == (tensor.name, tensor.datatype)
        assert same(part.array, tensor.array[slots])


@given(outputs(), st.data())
def test_what_was_taken_apart_comes_together_again(made: Outputs, data: st.DataObject) -> None:
    """As the cache does: some rows are known, the others are taken out, computed and put into their places."""
    inputs = [Tensor(f"x{place}", datatype, array) for place, (datatype, array) in enumerate(made)]
    whole = only_arrays(made)
    count = len(whole[0])
    unknown = sorted(data.draw(st.sets(st.integers(0, count - 1), min_size=1)))
    rows = separate(whole, count, batched=True)
    computed = separate([tensor.array for tensor in take(inputs, unknown)], len(unknown), batched=True)
    for slot, row in zip(unknown, computed, strict=True):
        rows[slot] = row
    assert all(same(one, other) for one, other in zip(whole, assemble(rows, batched=True), strict=True))


def test_all_rows_are_the_tensors_themselves_and_neighbours_are_views() -> None:
    tensor = Tensor("x", "FP32", np.arange(8, dtype=np.float32).reshape(4, 2))
    inputs = [tensor]
    assert take(inputs, [0, 1, 2, 3]) is inputs
    for slots in ([0], [1, 2], [1, 2, 3]):
        assert take(inputs, slots)[0].array.base is not None
        assert np.shares_memory(take(inputs, slots)[0].array, tensor.array)
    assert not np.shares_memory(take(inputs, [0, 2])[0].array, tensor.array)


# --- numbers only -----------------------------------------------------------------------------------------------------

SPECIAL = {
    "FP16": [0x0000, 0x3C00, 0x7BFF, 0x7C00, 0xFC00, 0x7E01, 0xFC01],
    "BF16": [0x0000, 0x3F80, 0x7F7F, 0x7F80, 0xFF80, 0x7FC1, 0xFF81],
    "FP32": [0x00000000, 0x3F800000, 0x7F7FFFFF, 0x7F800000, 0xFF800000, 0x7FC00001, 0xFF800001],
    "FP64": [0x0, 0x3FF0 << 48, 0x7FEF << 48, 0x7FF0 << 48, 0xFFF0 << 48, 0x7FF8 << 48, (0xFFF0 << 48) + 1],
}
"""Bits of good and bad numbers: zero, one, the largest, both infinities, NaNs."""


@st.composite
def special_outputs(draw: st.DrawFn) -> Outputs:
    count = draw(st.integers(1, 4))
    made = draw(outputs(rows=count))
    for _ in range(draw(st.integers(1, 2))):
        datatype = draw(st.sampled_from(sorted(SPECIAL)))
        shape = (count, *draw(st.lists(st.integers(0, 3), max_size=2)))
        size = math.prod(shape)
        bits = draw(st.lists(st.sampled_from(SPECIAL[datatype]), min_size=size, max_size=size))
        dtype = DTYPES[datatype]
        made.append((datatype, np.array(bits, f"u{dtype.itemsize}").view(dtype).reshape(shape)))
    return made


def is_number(datatype: str, element: Any) -> bool:
    if datatype == "BF16":
        element = struct.unpack("<f", struct.pack("<I", int(element) << 16))[0]
    return datatype not in (*FLOATING, "BF16") or math.isfinite(float(element))


@given(special_outputs())
def test_a_row_is_finite_when_every_element_of_it_is_a_number(made: Outputs) -> None:
    count = len(made[0][1])
    expected = [
        all(is_number(datatype, element) for datatype, array in made for element in array[row : row + 1].ravel())
        for row in range(count)
    ]
    datatypes, whole = [datatype for datatype, _ in made], only_arrays(made)
    assert list(finite_rows(datatypes, whole, count, batched=True)) == expected
    assert list(finite_rows(datatypes, whole, 1, batched=False)) == [all(expected)]
