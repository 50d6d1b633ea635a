"""The rule that picks a setting."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.errors import ConfigurationError
from modelyard.tuning.choose import FINALISTS, LOSS, TOLERANCE, choose, finalists
from modelyard.tuning.grid import Setting
from modelyard.tuning.sweep import Results
from modelyard.tuning.tally import Tally
from tests.unit.tuning.figures import tally

NOW = Setting(0, 2, 64)
SMALL = Setting(0, 1, 8)
BIG = Setting(0, 1, 32)
DELAYED = Setting(2, 1, 32)

settings = st.builds(Setting, st.sampled_from([0.0, 2.0]), st.integers(1, 4), st.sampled_from([1, 2, 4, 8, 16, 32]))
tallies = st.builds(tally, st.floats(1, 10_000), p99_ms=st.floats(0.01, 1000), errors=st.sampled_from([0, 0, 0, 0, 1]))


def at(**rates: float) -> Results:
    names = {"now": NOW, "small": SMALL, "big": BIG, "delayed": DELAYED}
    return {(names[name], 32): tally(rate) for name, rate in rates.items()}


def test_the_fastest_is_chosen() -> None:
    assert choose(at(now=100, small=120, big=150), NOW, None).setting == BIG


def test_the_current_setting_stays_unless_another_is_clearly_faster() -> None:
    assert choose(at(now=100, small=102, big=103), NOW, None).setting == NOW
    assert choose(at(now=100, small=90, big=104), NOW, None).setting == BIG


def test_among_equals_the_simplest_is_chosen() -> None:
    choice = choose(at(now=100, small=149, big=150, delayed=151), NOW, None)
    assert choice.setting == SMALL
    assert str(DELAYED) in choice.reason


def test_a_limit_of_p99_goes_before_throughput() -> None:
    results = {(NOW, 32): tally(100, 1), (SMALL, 32): tally(120, 2), (BIG, 32): tally(150, 9)}
    assert choose(results, NOW, 3).setting == SMALL
    assert choose(results, NOW, 1.5).setting == NOW
    with pytest.raises(ConfigurationError, match=r"p99 at 0\.5 ms.*lowest is 1"):
        choose(results, NOW, 0.5)


def test_a_current_setting_that_breaks_the_limit_does_not_stay() -> None:
    results = {(NOW, 32): tally(100, 9), (SMALL, 32): tally(50, 1)}
    assert choose(results, NOW, 3).setting == SMALL


def test_a_lone_caller_is_not_given_away_for_a_crowd() -> None:
    results = at(now=100, delayed=200, big=150)
    results |= {(NOW, 1): tally(100), (DELAYED, 1): tally(10), (BIG, 1): tally(85)}
    assert choose(results, NOW, None).setting == BIG


def test_errors_rule_a_setting_out() -> None:
    results = {(NOW, 32): tally(100), (BIG, 32): tally(200), (BIG, 1): tally(5, errors=1), (NOW, 1): tally(5)}
    assert choose(results, NOW, None).setting == NOW
    with pytest.raises(ConfigurationError, match="no setting answered"):
        choose({(NOW, 1): tally(5, errors=1)}, NOW, None)
    assert choose({(NOW, 1): tally(99, errors=1), (BIG, 1): tally(5)}, NOW, None).setting == BIG
    with pytest.raises(ConfigurationError, match="no setting answered"):
        choose({(NOW, 1): Tally(seconds=1.0)}, NOW, None)


@given(st.dictionaries(settings, st.tuples(tallies, tallies), min_size=1, max_size=20), st.data())
def test_whatever_was_measured_the_choice_keeps_the_rule(
    measured: dict[Setting, tuple[Tally, Tally]], data: st.DataObject
) -> None:
    results = {(s, level): t for s, pair in measured.items() for level, t in zip((1, 32), pair, strict=True)}
    current = data.draw(st.sampled_from(sorted(measured)))
    limit = data.draw(st.none() | st.floats(0.01, 1000))
    try:
        chosen = choose(results, current, limit).setting
    except ConfigurationError:
        fit = [s for s, pair in measured.items() if not any(t.errors for t in pair)]
        assert not fit or limit is not None
        assert current not in fit or measured[current][1].p99_ms > (limit or 0)
        return
    lone, crowd = measured[chosen]
    assert not lone.errors
    assert not crowd.errors
    assert limit is None or crowd.p99_ms <= limit
    if not any(t.errors for t in measured[current]):
        assert lone.rate >= (1 - LOSS) * measured[current][0].rate
        if chosen != current and (limit is None or measured[current][1].p99_ms <= limit):
            assert crowd.rate * (1 - TOLERANCE) > measured[current][1].rate * (1 - TOLERANCE) ** 2


@given(st.dictionaries(settings, tallies, min_size=1, max_size=30), st.data())
def test_finalists_are_few_and_hold_the_current_setting(measured: dict[Setting, Tally], data: st.DataObject) -> None:
    results = {(setting, 8): figures for setting, figures in measured.items()}
    current = data.draw(st.sampled_from(sorted(measured)))
    try:
        again = finalists(results, current, None)
    except ConfigurationError:
        return
    assert current in again
    assert len(again) <= FINALISTS
    assert set(again) <= set(measured)
    good = {setting: figures.rate for setting, figures in measured.items() if not figures.errors}
    assert not good or max(good.values()) in [measured[setting].rate for setting in again]
