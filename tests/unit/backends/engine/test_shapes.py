"""Buckets, profiles and splitting: pure, so tested by property where there is one."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.backends.base import BackendUnavailable
from modelyard.backends.engine import shapes
from modelyard.backends.engine.shapes import UNBATCHED, InputProfile, OutsideProfile, Profile
from modelyard.spec import BackendSpec, BatchingSpec, ModelSpec, ShapeRange, TensorSpec


def spec_of(shape: tuple[int, ...] = (-1, 3), datatype: str = "FP32", **batching: Any) -> ModelSpec:
    return ModelSpec(
        name="m",
        inputs=(TensorSpec(name="x", datatype=datatype, shape=shape),),
        outputs=(TensorSpec(name="y", datatype="FP32", shape=shape),),
        batching=BatchingSpec(**batching),
    )


def backend_of(**sizes: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]) -> BackendSpec:
    ranges = {name: ShapeRange(min=low, opt=best, max=high) for name, (low, best, high) in sizes.items()}
    return BackendSpec(name="tensorrt", shapes=ranges)


@pytest.mark.parametrize(
    ("top", "expected"), [(1, (1,)), (2, (1, 2)), (8, (1, 2, 4, 8)), (11, (1, 2, 4, 8, 11)), (0, (UNBATCHED,))]
)
def test_buckets_double_up_to_the_largest_batch(top: int, expected: tuple[int, ...]) -> None:
    assert shapes.buckets(spec_of(max_batch_size=top)) == expected


def test_buckets_of_model_yaml_are_sorted_and_end_at_the_largest_batch() -> None:
    assert shapes.buckets(spec_of(max_batch_size=24, buckets=(16, 4, 64, 4))) == (4, 16, 24)


def test_a_profile_is_exactly_its_bucket_in_the_batch_dimension() -> None:
    one, two = shapes.profiles(spec_of(max_batch_size=2), backend_of())
    assert one == Profile(1, (InputProfile("x", (1, 3), (1, 3), (1, 3)),))
    assert two.inputs[0].min == two.inputs[0].max == (2, 3)


def test_free_dimensions_span_the_range_of_model_yaml() -> None:
    spec = spec_of((-1, -1, 3), max_batch_size=4, buckets=(4,))
    (profile,) = shapes.profiles(spec, backend_of(x=((8, 3), (64, 3), (128, 3))))
    assert profile.inputs == (InputProfile("x", (4, 8, 3), (4, 64, 3), (4, 128, 3)),)
    assert shapes.has_free_dimensions(spec)
    assert not shapes.has_free_dimensions(spec_of())


def test_without_batches_the_first_dimension_is_one_like_any_other() -> None:
    spec = spec_of((-1, 3), max_batch_size=0)
    (profile,) = shapes.profiles(spec, backend_of(x=((1, 3), (5, 3), (9, 3))))
    assert profile == Profile(UNBATCHED, (InputProfile("x", (1, 3), (5, 3), (9, 3)),))
    assert shapes.has_free_dimensions(spec)


def test_a_free_dimension_without_a_range_is_named() -> None:
    with pytest.raises(BackendUnavailable, match="input 'x': dimension 2 is free"):
        shapes.profiles(spec_of((-1, 3, -1)), backend_of())


def test_a_range_that_contradicts_model_yaml_is_named() -> None:
    with pytest.raises(BackendUnavailable, match="input 'x': dimension 1 is 3, `shapes` says 3 to 4"):
        shapes.profiles(spec_of((-1, 3)), backend_of(x=((3,), (3,), (4,))))


@pytest.mark.parametrize("datatype", ["BYTES", "FP64", "UINT16"])
def test_a_datatype_that_tensorrt_lacks_is_named(datatype: str) -> None:
    with pytest.raises(BackendUnavailable, match=f"no datatype {datatype}, which input 'x' has"):
        shapes.profiles(spec_of(datatype=datatype), backend_of())


def test_shapes_outside_the_profile_are_named() -> None:
    profile = Profile(4, (InputProfile("x", (4, 8), (4, 8), (4, 16)),))
    profile.check([(4, 12)])
    for shape in ((4, 17), (4, 7), (4,), (3, 8)):
        with pytest.raises(OutsideProfile, match=r"input 'x' .* \[4, 8\] to \[4, 16\]"):
            profile.check([shape])


@given(rows=st.integers(0, 300), top=st.integers(1, 64))
def test_parts_cover_the_batch_once_and_in_order(rows: int, top: int) -> None:
    parts = shapes.split(rows, top)
    assert parts[0][0] == 0
    assert parts[-1][1] == rows
    assert all(stop == start for (_, stop), (start, _) in pairwise(parts))
    assert all(stop - start == top for start, stop in parts[:-1])
    assert 0 <= parts[-1][1] - parts[-1][0] <= top


@given(st.sets(st.integers(1, 200), min_size=1), st.data())
def test_the_bucket_is_the_least_that_holds_the_rows(sizes: set[int], data: st.DataObject) -> None:
    rising = sorted(sizes)
    rows = data.draw(st.integers(0, rising[-1]))
    index = shapes.bucket_of(rising, rows)
    assert rising[index] >= rows
    assert index == 0 or rising[index - 1] < rows
