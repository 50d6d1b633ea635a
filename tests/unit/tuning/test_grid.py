"""Which settings are measured, and how options are read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.errors import ConfigurationError
from modelyard.spec import BatchingSpec
from modelyard.tuning.grid import (
    Setting,
    build_grid,
    current_setting,
    decimals,
    default_batch_sizes,
    integers,
    powers_of_two,
)


def test_the_grid_has_every_combination_once_and_the_current_setting() -> None:
    current = Setting(delay_ms=0.5, executors=3, rows=64)
    grid = build_grid(current, [1, 8], [1, 2], [0.0, 2.0])
    assert current in grid
    assert Setting(2.0, 1, 8) in grid
    assert len(grid) == len(set(grid)) == 1 + 2 + 4


def test_a_delay_makes_no_difference_to_batches_of_one_row() -> None:
    grid = build_grid(Setting(0.0, 1, 1), [1], [1, 2], [0.0, 2.0])
    assert grid == [Setting(0.0, 1, 1), Setting(0.0, 2, 1)]


def test_without_a_batch_dimension_only_threads_vary() -> None:
    grid = build_grid(Setting(0.0, 2, 0), [1, 8], [1, 4], [0.0, 2.0])
    assert grid == [Setting(0.0, 1, 0), Setting(0.0, 2, 0), Setting(0.0, 4, 0)]


@pytest.mark.parametrize(
    ("arguments", "sizes"),
    [
        ((64, 1, 32), [1, 2, 4, 8, 16, 64]),
        ((8, 1, 32), [1, 2, 4, 8]),
        ((12, 1, 32), [1, 2, 4, 8, 12]),
        ((64, 4, 8), [4, 8, 16, 64]),
        ((64, 1, 1), [64]),
        ((1, 1, 32), [1]),
    ],
)
def test_default_sizes_are_those_that_differ(arguments: tuple[int, int, int], sizes: list[int]) -> None:
    assert default_batch_sizes(*arguments) == sizes


@given(st.integers(1, 65536))
def test_powers_of_two_end_with_the_number_itself(most: int) -> None:
    numbers = powers_of_two(most)
    assert numbers == sorted(set(numbers))
    assert (numbers[0], numbers[-1]) == (1, most)
    assert all(number & (number - 1) == 0 for number in numbers[:-1])


def test_the_current_setting_fills_in_what_model_yaml_leaves_out() -> None:
    assert current_setting(BatchingSpec(max_batch_size=64), 4) == Setting(0.0, 4, 64)
    batching = BatchingSpec(max_batch_size=64, merge_rows=8, executors=2, max_queue_delay_ms=1)
    assert current_setting(batching, 4) == Setting(1.0, 2, 8)
    assert current_setting(batching, 1).executors == 1  # a server has no more
    assert current_setting(BatchingSpec(max_batch_size=0, max_queue_delay_ms=1), 4) == Setting(0.0, 4, 0)


@given(st.integers(0, 64), st.integers(1, 128), st.integers(1, 8), st.sampled_from([0.0, 2.0]))
def test_an_applied_setting_is_the_current_one_and_bounds_no_request_more(
    most: int, rows: int, executors: int, delay: float
) -> None:
    setting = Setting(delay, executors, rows) if most else Setting(0.0, executors, 0)
    applied = setting.applied(BatchingSpec(max_batch_size=most))
    BatchingSpec.model_validate(applied.model_dump())
    assert current_setting(applied, 8) == setting
    assert applied.max_batch_size >= most


def test_the_order_is_simplicity() -> None:
    plain, bigger, threads, delay = Setting(0, 1, 4), Setting(0, 1, 8), Setting(0, 2, 1), Setting(2, 1, 1)
    assert sorted([delay, threads, bigger, plain]) == [plain, bigger, threads, delay]


def test_numbers_of_options() -> None:
    assert integers("--x", "8, 1,8", 1, 8) == [1, 8]
    assert decimals("--x", "2,0.5", 0, 8) == [0.5, 2.0]


@pytest.mark.parametrize("text", ["", "a", "1,", "1;2", "0", "9", "1.5", "-1", "nan", "1e3"])
def test_other_numbers_are_refused_with_the_options_name(text: str) -> None:
    with pytest.raises(ConfigurationError, match="--batch-sizes"):
        integers("--batch-sizes", text, 1, 8)


@pytest.mark.parametrize("text", ["", "a", "nan", "inf", "-1", "9"])
def test_other_decimals_are_refused_too(text: str) -> None:
    with pytest.raises(ConfigurationError, match="--delays"):
        decimals("--delays", text, 0, 8)
