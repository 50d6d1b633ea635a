"""Shapes of load as curves: which share of the users is there at which part of the run, both from 0 to 1. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

Curve = Callable[[float], float]

STEPS = 4
SPIKE = (0.4, 0.6)
"""The part of the run in which the spike stands."""
BEFORE_SPIKE = 0.2
RAMP = 0.05
"""Of a soak: up at its begin, down at its end."""
HOURS: Sequence[float] = (
    *(0.30, 0.22, 0.18, 0.15, 0.15, 0.18, 0.26, 0.40, 0.55, 0.65, 0.70, 0.74),
    *(0.78, 0.76, 0.72, 0.70, 0.72, 0.78, 0.86, 0.94, 1.00, 0.94, 0.72, 0.48),
)
"""A day of a service for people, from midnight: least at 3 to 5, a plateau at noon, most at 20 o'clock. Made up."""


def constant(_part: float) -> float:
    return 1.0


def step(part: float) -> float:
    """A quarter more at each quarter of the run: at which level does it break?"""
    return min(STEPS, math.floor(part * STEPS) + 1) / STEPS


def spike(part: float) -> float:
    """Little, then five times as much at once, then little: does it recover?"""
    return 1.0 if SPIKE[0] <= part < SPIKE[1] else BEFORE_SPIKE


def soak(part: float) -> float:
    """Up, then the same for long (give it hours), then down: does it leak?"""
    return max(0.0, min(1.0, part / RAMP, (1 - part) / RAMP))


def day(part: float) -> float:
    """A day in as long as the run lasts, between the hours in straight lines: does it scale up and down with it?"""
    hour = min(max(part, 0.0), 1.0) * len(HOURS)
    first = math.floor(hour)
    share = hour - first
    return HOURS[first % len(HOURS)] * (1 - share) + HOURS[(first + 1) % len(HOURS)] * share


CURVES: Mapping[str, Curve] = {"constant": constant, "step": step, "spike": spike, "soak": soak, "day": day}


def users_at(curve: Curve, part: float, most: int) -> int:
    """Never none: a run without users measures nothing."""
    return max(1, round(curve(part) * most))
