"""Interleaved timing, by a clock that the runs themselves advance."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from modelyard.optimizing.speed import measure


class Machine:
    """A clock, and runs that take the seconds that they are told to."""

    def __init__(self) -> None:
        self.now = 0.0
        self.order: list[tuple[str, int]] = []
        self.slow_from, self.slow_until = 0.0, 0.0

    def clock(self) -> float:
        return self.now

    def run(self, name: str, seconds_per_row: float) -> Callable[[int], None]:
        def once(rows: int) -> None:
            self.order.append((name, rows))
            disturbed = 10.0 if self.slow_from <= self.now < self.slow_until else 1.0
            self.now += seconds_per_row * rows * disturbed

        return once


def test_rates_and_their_factor() -> None:
    machine, steps = Machine(), []
    speeds = measure(
        machine.run("parent", 0.01), machine.run("variant", 0.004), [1, 8], 3, lambda: steps.append(1), machine.clock
    )
    assert [speed.rows for speed in speeds] == [1, 8]
    for speed in speeds:
        assert speed.parent == pytest.approx(100, rel=0.05)
        assert speed.variant == pytest.approx(250, rel=0.05)
        assert speed.factor == pytest.approx(2.5, rel=0.05)
    assert len(steps) == 2 * 3


def test_both_run_in_turn_and_who_begins_changes() -> None:
    machine = Machine()
    measure(machine.run("parent", 1.0), machine.run("variant", 1.0), [4], 3, lambda: None, machine.clock)
    measured = [name for name, _ in machine.order[2:]]
    assert measured == ["parent", "variant", "variant", "parent", "parent", "variant"]


def test_a_disturbed_round_does_not_count() -> None:
    machine = Machine()
    machine.slow_from, machine.slow_until = 0.0, 2.0
    (speed,) = measure(machine.run("parent", 0.05), machine.run("variant", 0.05), [1], 9, lambda: None, machine.clock)
    assert speed.factor == pytest.approx(1.0)
    assert speed.parent == pytest.approx(20)
