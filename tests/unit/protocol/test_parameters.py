"""Parameters that both wires carry: read strictly."""

from __future__ import annotations

import pytest

from modelyard.errors import InvalidInput
from modelyard.protocol.parameters import cached_of, flag, priority_of, timeout_of, whole
from modelyard.tensors import Parameter


def test_a_timeout_is_in_microseconds_and_zero_is_none() -> None:
    assert timeout_of({"timeout": 1_500_000}) == 1.5
    assert timeout_of({"timeout": 0}) is None
    assert timeout_of({}) is None


@pytest.mark.parametrize("value", [2**63 - 1, 2**64, 10**22, 10**310, 10**4000])
def test_a_timeout_that_no_clock_can_count_is_a_very_long_one(value: int) -> None:
    assert timeout_of({"timeout": value}) == (2**63 - 1) / 1e6


def test_defaults() -> None:
    assert priority_of({}) == 0
    assert priority_of({"priority": 1}) == 1
    assert whole({}, "n", 7) == 7
    assert flag({}, "f", default=True)
    assert cached_of({})
    assert not cached_of({"cache": False})


@pytest.mark.parametrize("name", ["timeout", "priority"])
@pytest.mark.parametrize("value", [-1, True, "1", 1.0])
def test_what_is_no_whole_number_is_refused(name: str, value: Parameter) -> None:
    with pytest.raises(InvalidInput, match=name):
        (timeout_of if name == "timeout" else priority_of)({name: value})


@pytest.mark.parametrize("value", [0, 1, "true", 1.0])
def test_what_is_neither_true_nor_false_is_refused(value: Parameter) -> None:
    with pytest.raises(InvalidInput, match="binary_data"):
        flag({"binary_data": value}, "binary_data", default=False)


@pytest.mark.parametrize("value", [0, 1, "false", 0.0])
def test_cache_is_true_or_false(value: Parameter) -> None:
    with pytest.raises(InvalidInput, match="'cache'"):
        cached_of({"cache": value})
