"""Thresholds hold or are broken, each by its own figure, and say which, what was wanted and what was measured."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.load.tally import Clock, Tally
from loadtests.load.thresholds import Figures, Limits, Verdict, accuracy_of, judge, least_accuracy

NAMES = ("pair json", "pair grpc")
COUNTS = st.dictionaries(st.sampled_from(["good", "wrong", "error"]), st.integers(0, 1000))


def tally(good: int = 100, wrong: int = 0, error: int = 0, owed: float = 200.0, right: int = 10) -> Tally:
    """Half of everything for each of NAMES; ten rows with a truth."""
    made = Tally(owed=Counter(dict.fromkeys(NAMES, owed / 2)))
    made.outcomes = {name: Counter(good=good, wrong=wrong, error=error) for name in NAMES}
    for row in range(10):
        made.judged(row, right=row < right)
    return made


def figures(made: Tally | None = None, **more: Any) -> Figures:
    return replace(Figures(NAMES, made or tally(), dict.fromkeys(NAMES, 20.0), 1.0, 10), **more)


def broken(found: Figures, limits: Limits | None = None) -> list[str]:
    return [str(verdict) for verdict in judge(found, limits or Limits()) if not verdict.held]


def test_a_healthy_run_breaks_nothing_and_every_threshold_is_named() -> None:
    verdicts = judge(figures(lost=0), Limits())
    assert all(verdict.held for verdict in verdicts)
    assert [verdict.threshold for verdict in verdicts] == [
        *("requests of pair json", "requests of pair grpc", "p99 of pair json", "p99 of pair grpc"),
        *("error ratio", "achieved / target", "wrong answers", "accuracy", "workers"),
    ]


@pytest.mark.parametrize(
    ("found", "limits", "text"),
    [
        (
            figures(p99_ms={"pair json": 900.0, "pair grpc": 1.0}),
            Limits(),
            "p99 of pair json: wanted at most 500 ms",
        ),
        (figures(), Limits(p99_of={"pair grpc": 5}), "p99 of pair grpc: wanted at most 5 ms, measured 20 ms"),
        (figures(tally(198, error=2, owed=400)), Limits(), "error ratio: wanted at most 0.100%, measured 1.000% (4 of"),
        (
            figures(tally(owed=250)),
            Limits(),
            "achieved / target: wanted at least 0.98, measured 0.800 (200",
        ),
        (figures(tally(99, wrong=1)), Limits(), "wrong answers: wanted at most 0.000%, measured 1.000% (2 of 200)"),
        (
            figures(tally(right=8)),
            Limits(),
            "accuracy: wanted at least 0.9000 (the export measured 1.0000), measured 0.8",
        ),
        (figures(), Limits(accuracy=1.1), "accuracy: wanted at least 1.1000, measured 1.0000 on 10 of 10 rows"),
        (figures(lost=1), Limits(), "workers: wanted none lost, measured 1 lost"),
    ],
)
def test_each_is_broken_by_its_own_figure_alone(found: Figures, limits: Limits, text: str) -> None:
    (line, *others) = broken(found, limits)
    assert line.startswith(text)
    assert not others


def test_a_run_that_asked_nothing_has_shown_nothing() -> None:
    lines = broken(figures(Tally(), p99_ms={}))
    assert lines[:2] == [f"requests of {name}: wanted at least 1 answered, measured 0 answered" for name in NAMES]
    assert lines[2].startswith("achieved / target")


def test_one_kind_that_never_answered_is_named_though_the_others_did() -> None:
    made = tally()
    made.outcomes["pair grpc"] = Counter()
    assert "requests of pair grpc: wanted at least 1 answered, measured 0 answered" in broken(figures(made))


def test_only_errors_are_no_answers() -> None:
    lines = broken(figures(tally(0, error=10)))
    assert any(line.startswith("requests of pair json") for line in lines)
    assert any(line.startswith("error ratio: wanted at most 0.100%, measured 100.000%") for line in lines)


def test_without_truth_or_figure_there_is_no_accuracy() -> None:
    assert "accuracy" not in {verdict.threshold for verdict in judge(figures(quality=None), Limits())}
    made = tally()
    made.asked.clear()
    assert "accuracy" not in {verdict.threshold for verdict in judge(figures(made), Limits(accuracy=0.5))}


def test_a_popular_row_counts_once() -> None:
    made = Tally()
    for _ in range(98):
        made.judged(0, right=False)
    made.judged(1, right=True)
    assert accuracy_of(made) == 0.5


@given(st.floats(0, 1), st.integers(1, 500), st.integers(0, 500))
def test_the_least_accuracy_leaves_no_room_for_chance_when_all_rows_came(quality: float, seen: int, more: int) -> None:
    least = least_accuracy(quality, seen, seen + more)
    assert 0 <= least <= quality
    assert least_accuracy(quality, seen, seen) == pytest.approx(max(0.0, quality - 1 / seen))
    assert least_accuracy(quality, seen, seen + more) <= least_accuracy(quality, seen, seen) + 1e-9


@given(st.lists(st.dictionaries(st.sampled_from(NAMES), COUNTS), max_size=6))
def test_what_workers_counted_adds_up(parts: list[dict[str, dict[str, int]]]) -> None:
    whole, alone = Tally(), Tally()
    for part in parts:
        worker = Tally()
        for name, counts in part.items():
            for outcome, count in counts.items():
                for _ in range(count % 5):
                    worker.count(name, outcome, "why" if outcome != "good" else "")
                    alone.count(name, outcome, "why" if outcome != "good" else "")
        whole.add(worker.take())
        assert worker.take()["outcomes"] == {}
    for outcome in ("good", "wrong", "error"):
        assert whole.total(outcome) == alone.total(outcome)
    assert whole.reasons == alone.reasons


def test_different_reasons_are_bounded() -> None:
    made = Tally()
    for number in range(1000):
        made.count("pair json", "error", f"number {number}")
    assert len(made.reasons) == 50
    assert made.total("error") == 1000


def test_a_user_owes_requests_for_the_time_that_it_lives() -> None:
    now = [0.0]
    clock, made = Clock(2.5, lambda: now[0]), Tally()
    clock.started("first", "pair json")
    now[0] = 4.0
    clock.started("second", "pair grpc")
    clock.settle(made)
    now[0] = 10.0
    clock.ended("first", made)
    clock.ended("nobody", made)
    now[0] = 12.0
    clock.settle(made)
    assert made.owed == {"pair json": 25.0, "pair grpc": 20.0}


def test_a_verdict_says_threshold_wanted_and_measured() -> None:
    assert str(Verdict("p99", "at most 5 ms", "9 ms", held=False)) == "p99: wanted at most 5 ms, measured 9 ms"
