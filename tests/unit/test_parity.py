"""Parity between backends: within the tolerance passes, NaN and other shapes never do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from modelyard.parity import agrees, difference, tolerance_of
from modelyard.spec import BackendSpec, Precision, ToleranceSpec

Array = NDArray[Any]
EXACT = ToleranceSpec(rtol=0, atol=0)


def engine(precision: Precision = "fp32", tolerance: ToleranceSpec | None = None) -> BackendSpec:
    return BackendSpec(name="tensorrt", precision=precision, tolerance=tolerance)


def against(array: Array, reference: Array, backend: BackendSpec, datatype: str = "FP32") -> str:
    return difference([("y", datatype, array, reference)], backend)


@given(st.floats(-1e6, 1e6), st.floats(0, 1), st.floats(0, 1), st.floats(-1, 1))
def test_the_rule_is_an_absolute_part_and_a_relative_one(b: float, rtol: float, atol: float, share: float) -> None:
    limit = atol + rtol * abs(b)
    inside, outside = np.array([b + 0.999 * share * limit]), np.array([b + 1.001 * limit + 1e-6 + 1e-9 * abs(b)])
    tolerance = ToleranceSpec(rtol=rtol, atol=atol)
    assert agrees(inside, np.array([b]), "FP64", tolerance) or abs(share) > 0.99
    assert not agrees(outside, np.array([b]), "FP64", tolerance)


@pytest.mark.parametrize(("precision", "off", "passes"), [("fp32", 0.005, False), ("fp16", 0.005, True)])
def test_each_precision_has_its_tolerance(precision: Precision, off: float, passes: bool) -> None:
    reference = np.zeros((2, 3), np.float32)
    assert (against(reference + np.float32(off), reference, engine(precision)) == "") is passes


def test_model_yaml_may_name_another_tolerance() -> None:
    assert tolerance_of(engine("fp16", EXACT)) == EXACT
    assert (
        against(np.ones(1, np.float32), np.zeros(1, np.float32), engine(tolerance=ToleranceSpec(rtol=0, atol=2))) == ""
    )


def test_a_difference_names_the_output_and_how_large_it_is() -> None:
    text = against(np.array([[0.0, 2.5]], np.float32), np.zeros((1, 2), np.float32), engine())
    assert "'y'" in text
    assert "2.5" in text


def test_nan_never_passes_an_engine_even_where_the_reference_has_it() -> None:
    nan = np.array([np.nan], np.float32)
    assert "NaN" in against(nan, nan, engine("int8"))
    assert agrees(nan, nan, "FP32", EXACT)


def test_another_shape_is_said() -> None:
    assert "[3]" in against(np.zeros(3, np.float32), np.zeros(2, np.float32), engine())


def test_strings_and_bfloat16_must_be_equal() -> None:
    assert agrees(np.array([b"a"], np.object_), np.array([b"a"], np.object_), "BYTES", EXACT)
    assert not agrees(
        np.array([b"a"], np.object_), np.array([b"b"], np.object_), "BYTES", ToleranceSpec(rtol=9, atol=9)
    )
    assert not agrees(np.array([1], np.uint16), np.array([2], np.uint16), "BF16", ToleranceSpec(rtol=9, atol=9))


def test_int8_scores_must_also_name_the_same_classes() -> None:
    reference = np.array([[0.50, 0.52]] * 10, np.float32)
    flipped = reference[:, ::-1].copy()
    assert agrees(flipped, reference, "FP32", tolerance_of(engine("int8")))
    assert "same class in 0%" in against(flipped, reference, engine("int8"))
    assert against(flipped, reference, engine("fp32", ToleranceSpec(rtol=0, atol=1))) == ""
