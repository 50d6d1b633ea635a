"""Entries of the Redis tier: what was written comes back, and everything else is a miss."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.cache.codec import OutputSpec, decode, encode
from modelyard.cache.store import MISS, Row
from modelyard.tensors import Tensor
from tests.unit.strategies import bytes_array, same, tensors

KEY = bytes(range(32))
OUTPUTS: list[OutputSpec] = [("p", "FP32"), ("label", "BYTES")]
ROW: Row = (np.array([0.25, np.nan], np.float32), bytes_array([b"cat"], (1,)))
ENTRY = encode(KEY, OUTPUTS, ROW)


@given(st.binary(min_size=32, max_size=32), st.lists(tensors(), min_size=1, max_size=3))
def test_every_row_comes_back_bit_for_bit(key: bytes, outputs: list[Tensor]) -> None:
    specs = [(tensor.name, tensor.datatype) for tensor in outputs]
    row = tuple(tensor.array for tensor in outputs)
    decoded = decode(key, specs, encode(key, specs, row))
    assert decoded is not MISS
    assert all(same(got, put) for got, put in zip(decoded, row, strict=True))


@pytest.mark.parametrize("bit", [0, 3, 7])
def test_one_flipped_bit_anywhere_is_a_miss(bit: int) -> None:
    for position in range(len(ENTRY)):
        broken = bytearray(ENTRY)
        broken[position] ^= 1 << bit
        assert decode(KEY, OUTPUTS, bytes(broken)) is MISS, position


def test_every_truncation_and_every_extension_is_a_miss() -> None:
    for length in range(len(ENTRY)):
        assert decode(KEY, OUTPUTS, ENTRY[:length]) is MISS, length
    assert decode(KEY, OUTPUTS, ENTRY + b"\0") is MISS


@given(st.binary(max_size=200))
def test_any_bytes_are_a_miss(entry: bytes) -> None:
    assert decode(KEY, OUTPUTS, entry) is MISS


def test_the_entry_of_another_key_is_a_miss() -> None:
    assert decode(bytes(32), OUTPUTS, ENTRY) is MISS


@pytest.mark.parametrize(
    "outputs",
    [
        [("q", "FP32"), ("label", "BYTES")],
        [("p", "INT32"), ("label", "BYTES")],
        [("label", "BYTES"), ("p", "FP32")],
        [("p", "FP32")],
        [*OUTPUTS, ("more", "FP32")],
    ],
)
def test_other_outputs_than_were_asked_for_are_a_miss(outputs: list[OutputSpec]) -> None:
    assert decode(KEY, outputs, ENTRY) is MISS


def test_an_entry_that_contradicts_itself_is_a_miss() -> None:
    """Rightly signed, but its raw bytes are not as many as datatype and shape say."""
    wrong = encode(KEY, [("p", "FP64"), ("label", "BYTES")], ROW)
    assert decode(KEY, [("p", "FP64"), ("label", "BYTES")], wrong) is MISS
