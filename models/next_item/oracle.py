"""The ceiling: how well the generator itself could say what comes next, knowing all its rules and none of its dice.

A Bayes filter over what a session hides (interest and tempo), with the rules of the session's own day, drift included:
no model that sees the same events can expect a higher recall. What a model could learn from the past at best is the
same filter with the rules of the last training day. Gaps enter by their density at the whole second that was drawn.
"""

import numpy as np
from generator import (
    FOLLOW,
    GAP_MEDIAN,
    GAP_SIGMA,
    INTEREST_CHANGE,
    INTEREST_CHANGE_AFTER_PAUSE,
    KINDS,
    PAUSE,
    PAUSE_MEDIAN,
    TEMPO_CHANGE,
    Floats,
    Integers,
    Sessions,
    World,
    next_kind,
)
from numpy.typing import NDArray

_KEEP_TEMPO = np.array([[1 - TEMPO_CHANGE, TEMPO_CHANGE], [TEMPO_CHANGE, 1 - TEMPO_CHANGE]])


def next_item(world: World, sessions: Sessions, cuts: Integers) -> Floats:
    """[n, items]: how likely each item is to come after the first `cuts[i]` events of session i (1 or more)."""
    belief = _filter(world, sessions, cuts)
    kept, fresh = _step(belief, world.interest[sessions.days])
    follow = _follow(cuts > 1)
    browsing = (fresh + kept * (1 - follow)).sum(axis=2)
    going_on = (kept * follow).sum(axis=2)
    kind = _wanted(world, sessions, np.arange(len(cuts)), cuts)
    shares = np.empty((len(cuts), world.browse.shape[2]))
    for day in np.unique(sessions.days):
        chosen = sessions.days == day
        per_kind = going_on[chosen] / _mass(world, day)[:, kind[chosen]].T
        series = (per_kind @ world.browse[day]) * (world.kind == kind[chosen, None])
        shares[chosen] = browsing[chosen] @ world.browse[day] + series
    return shares


def _filter(world: World, sessions: Sessions, cuts: Integers) -> Floats:
    """[n, interests, tempos]: what the first `cuts` events say of the state at the last of them."""
    first = world.browse[sessions.days, :, sessions.items[:, 0] - 1]
    belief = _normal(np.repeat((world.interest[sessions.days] * first)[..., None], 2, axis=2))
    masses = np.stack([_mass(world, day) for day in range(len(world.browse))])
    for t in range(1, int(cuts.max())):
        rows = np.flatnonzero(cuts > t)
        gaps = sessions.times[rows, t] - sessions.times[rows, t - 1]
        kept, fresh = _step(belief[rows], world.interest[sessions.days[rows]], gaps)
        browsed = world.browse[sessions.days[rows], :, sessions.items[rows, t] - 1]
        follow = _follow(np.full(len(rows), t > 1))
        seen = (fresh + kept * (1 - follow)) * browsed[..., None]
        kind = _wanted(world, sessions, rows, np.full(len(rows), t))
        hit = world.kind[sessions.items[rows, t] - 1] == kind
        mass = masses[sessions.days[rows], :, kind]
        seen += kept * follow * (browsed / mass * hit[:, None])[..., None]
        belief[rows] = _normal(seen)
    return belief


def _step(belief: Floats, interest: Floats, gaps: Integers | None = None) -> tuple[Floats, Floats]:
    """The state at the next event, [n, interests, tempos] each: with the interest kept, and with a new one.

    With `gaps`, weighted by how likely that gap is; without, whatever it will be.
    """
    straight = (1 - PAUSE) * (belief @ _KEEP_TEMPO)
    paused = np.repeat(PAUSE * 0.5 * belief.sum(axis=2, keepdims=True), 2, axis=2)
    if gaps is not None:
        straight = straight * _density(gaps, GAP_MEDIAN)[:, None, :]
        paused = paused * _density(gaps, np.array([PAUSE_MEDIAN, PAUSE_MEDIAN]))[:, None, :]
    kept = (1 - INTEREST_CHANGE) * straight + (1 - INTEREST_CHANGE_AFTER_PAUSE) * paused
    left = INTEREST_CHANGE * straight + INTEREST_CHANGE_AFTER_PAUSE * paused
    return kept, interest[..., None] * left.sum(axis=1, keepdims=True)


def _follow(possible: NDArray[np.bool_]) -> Floats:
    """[n, 1, tempos]: how likely an event with the interest kept goes on with a series, where one is possible."""
    likely: Floats = FOLLOW * possible[:, None, None]
    return likely


def _wanted(world: World, sessions: Sessions, rows: Integers, t: Integers) -> Integers:
    """[n]: the kind that goes on with the series at event `t`; any where there is none."""
    before, last = (world.kind[sessions.items[rows, np.maximum(t - back, 0)] - 1] for back in (2, 1))
    return next_kind(before, last)


def _mass(world: World, day: int) -> Floats:
    """[interests, kinds]: how likely each interest takes up each kind."""
    return np.stack([world.browse[day][:, world.kind == kind].sum(axis=1) for kind in range(KINDS)], axis=1)


def _density(gaps: Integers, median: Floats) -> Floats:
    """[n, tempos]: of the log-normal gap; factors that are the same for all tempos and pauses are left out."""
    distance = (np.log(gaps[:, None]) - np.log(median)) / GAP_SIGMA
    density: Floats = np.exp(-0.5 * distance**2) + 1e-300
    return density


def _normal(weights: Floats) -> Floats:
    shares: Floats = weights / weights.sum(axis=(1, 2), keepdims=True)
    return shares
