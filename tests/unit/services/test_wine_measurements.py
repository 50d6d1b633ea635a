"""The measurements of a wine: their order is the model's, and their ranges hold the data with room on both sides."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError
from sklearn.datasets import load_wine

from wine_service.measurements import WineMeasurements

DATA = load_wine()
NAMES = [name.replace("/", "_") for name in DATA.feature_names]


def limits(name: str) -> tuple[float, float]:
    """The range that the field of that name has."""
    schema = WineMeasurements.model_json_schema()["properties"][name]
    return schema["minimum"], schema["maximum"]


def test_the_fields_are_the_columns_of_the_data() -> None:
    assert list(WineMeasurements.model_fields) == NAMES


def test_every_wine_of_the_data_is_taken_as_it_is() -> None:
    for row in DATA.data:
        wine = WineMeasurements(**dict(zip(NAMES, map(float, row), strict=True)))
        array = wine.array()
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, row[np.newaxis].astype(np.float32))


@pytest.mark.parametrize(("column", "name"), list(enumerate(NAMES)))
def test_a_range_is_wider_than_the_data_but_not_by_more_than_its_extent(column: int, name: str) -> None:
    values = DATA.data[:, column]
    extent = values.max() - values.min()
    low, high = limits(name)
    assert max(0.0, values.min() - extent) <= low < values.min()
    assert values.max() < high <= values.max() + extent


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), "13", True, None])
def test_what_is_no_number_is_refused(value: object) -> None:
    row = dict(zip(NAMES, map(float, DATA.data[0]), strict=True))
    with pytest.raises(ValidationError, match="alcohol"):
        WineMeasurements(**(row | {"alcohol": value}))
