"""A synthetic shop: sessions drawn from rules that are known, so that a model can be held against the best possible.

    build_world(seed) -> World               the rules: which items belong together, what follows what, how it drifts
    simulate(world, per_day, seed) -> Sessions   items and times of every session, day by day

No real visitor is in here, and nothing is stored: the same seed draws the same sessions. What decides the next item:

interest    each visitor pursues one of 32 interests at a time, with 40 items each; an item belongs to 4 of them, so
            that one item says little and several say much
series      every item is of one of 8 kinds, in a ring; a series goes on to a neighbouring kind, in the direction in
            which it went: the last item alone does not say which
tempo       a visitor skims (gaps of about 8 s) or reads (about 90 s) and mostly stays with it; one who reads goes on
            with a series, one who skims hardly does: only the gaps tell them apart
pause       now and then a visitor comes back after hours, mostly with another interest
drift       interests come and go, and items gain and lose within them, a little every day
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

ITEMS = 320
INTERESTS = 32
MEMBERS = 40
KINDS = 8
STEEPNESS = 0.6
"""Of the items of an interest: the one of rank r is taken up r ** -STEEPNESS times as often as the first."""

DAYS = 35
FIRST_SECOND = 1_704_067_200
"""2024-01-01T00:00:00Z: past on every clock, so that no service takes these times for a mistake."""
DAY_SECONDS = 86_400
LONGEST = 90
MEAN_LENGTH = 14

SKIM, READ = 0, 1
FOLLOW = np.array([0.10, 0.80])
"""How likely an event goes on with a series, by tempo."""
GAP_MEDIAN = np.array([8.0, 90.0])
GAP_SIGMA = 0.6
PAUSE = 0.06
PAUSE_MEDIAN = 3 * 3600.0
TEMPO_CHANGE = 0.05
INTEREST_CHANGE = 0.03
INTEREST_CHANGE_AFTER_PAUSE = 0.9

INTEREST_DRIFT = 0.12
ITEM_DRIFT = 0.12
"""Standard deviations of a day's step, of the logarithm of how often."""


@dataclass(frozen=True)
class World:
    """The rules, day by day; items count from 0 in here (their ids in sessions count from 1)."""

    kind: Integers
    """[items]: 0 to KINDS - 1."""
    interest: Floats
    """[days, interests]: how likely a visitor comes with an interest."""
    browse: Floats
    """[days, interests, items]: how likely an item is taken up within an interest."""

    def stopped(self, day: int) -> "World":
        """The same world with every day like `day`: what could be known of it by then."""
        rules = (np.broadcast_to(rule[day], rule.shape) for rule in (self.interest, self.browse))
        return World(self.kind, *rules)


@dataclass(frozen=True)
class Sessions:
    """`n` sessions in order of their start, padded with 0 on the right."""

    items: Integers
    """[n, LONGEST] ids from 1."""
    times: Integers
    """[n, LONGEST] seconds since 1970; rising."""
    lengths: Integers
    """[n], 2 or more."""
    days: Integers
    """[n]: the day on which the session began; its rules hold to its end."""

    def take(self, chosen: NDArray[np.bool_] | Integers) -> "Sessions":
        return Sessions(self.items[chosen], self.times[chosen], self.lengths[chosen], self.days[chosen])

    @property
    def ends(self) -> Integers:
        """[n]: the time of the last event."""
        rows = np.arange(len(self.lengths))
        ends: Integers = self.times[rows, self.lengths - 1]
        return ends


def build_world(seed: int, days: int = DAYS, drift: float = 1.0) -> World:
    """The rules for `days` days; `drift` 0 makes every day like the first."""
    random = np.random.default_rng(seed)
    kind = random.permutation(np.arange(ITEMS) % KINDS)
    members = _members(random, kind)
    steps = random.normal(0, INTEREST_DRIFT * drift, (days, INTERESTS))
    interest = _softmax(random.normal(0, 0.5, INTERESTS) + np.cumsum(steps, axis=0))
    appeal = -STEEPNESS * np.log(1 + np.argsort(random.random((INTERESTS, MEMBERS)), axis=1))
    moves = np.cumsum(random.normal(0, ITEM_DRIFT * drift, (days, INTERESTS, MEMBERS)), axis=0)
    browse = np.zeros((days, INTERESTS, ITEMS))
    np.put_along_axis(browse, np.broadcast_to(members, moves.shape), _softmax(appeal + moves), axis=2)
    return World(kind, interest, browse)


def _members(random: np.random.Generator, kind: Integers) -> Integers:
    """[interests, members]: every item in the same number of interests, in each interest as many items of each kind."""
    rounds = INTERESTS * MEMBERS // ITEMS
    width = INTERESTS // rounds
    parts = [
        np.concatenate([random.permutation(np.flatnonzero(kind == k)).reshape(width, -1) for k in range(KINDS)], axis=1)
        for _ in range(rounds)
    ]
    return np.concatenate(parts)


def next_kind(before: Integers, last: Integers) -> Integers:
    """The kind that goes on with a series, from the kinds of its last two items: one further in their direction."""
    forward = (last - before) % KINDS < KINDS // 2
    following: Integers = (last + np.where(forward, 1, -1)) % KINDS
    return following


def simulate(world: World, per_day: int, seed: int) -> Sessions:
    """`per_day` sessions that begin on each day of the world, in order of their start."""
    random = np.random.default_rng(seed)
    days = np.repeat(np.arange(len(world.interest)), per_day)
    starts = days * DAY_SECONDS + np.sort(random.integers(0, DAY_SECONDS, (len(world.interest), per_day))).ravel()
    lengths = np.minimum(1 + random.geometric(1 / (MEAN_LENGTH - 1), len(days)), LONGEST)
    items = np.zeros((len(days), LONGEST), np.int64)
    times = np.zeros((len(days), LONGEST), np.int64)
    interest = _draw(random, world.interest[days])
    tempo = random.integers(0, 2, len(days))
    items[:, 0] = _draw(random, world.browse[days, interest]) + 1
    times[:, 0] = FIRST_SECOND + starts
    for t in range(1, int(lengths.max())):
        on = np.flatnonzero(lengths > t)
        day, pause = days[on], random.random(len(on)) < PAUSE
        fresh = random.random(len(on)) < np.where(pause, INTEREST_CHANGE_AFTER_PAUSE, INTEREST_CHANGE)
        interest[on] = np.where(fresh, _draw(random, world.interest[day]), interest[on])
        tempo[on] ^= random.random(len(on)) < np.where(pause, 0.5, TEMPO_CHANGE)
        times[on, t] = times[on, t - 1] + _gaps(random, tempo[on], pause)
        shares = world.browse[day, interest[on]]
        if t >= 2:
            goes_on = ~fresh & (random.random(len(on)) < FOLLOW[tempo[on]])
            wanted = next_kind(world.kind[items[on, t - 2] - 1], world.kind[items[on, t - 1] - 1])
            shares *= ~goes_on[:, None] | (world.kind == wanted[:, None])
        items[on, t] = _draw(random, shares) + 1
    return Sessions(items, times, lengths, days)


def _gaps(random: np.random.Generator, tempo: Integers, pause: NDArray[np.bool_]) -> Integers:
    """Whole seconds, 1 or more."""
    median = np.where(pause, PAUSE_MEDIAN, GAP_MEDIAN[tempo])
    gaps = np.rint(median * np.exp(random.normal(0, GAP_SIGMA, len(tempo))))
    whole: Integers = np.maximum(gaps, 1).astype(np.int64)
    return whole


def _draw(random: np.random.Generator, probabilities: Floats) -> Integers:
    """One column of each row [n, m], as likely as it says."""
    bounds = np.cumsum(probabilities, axis=1)
    drawn = (random.random((len(bounds), 1)) * bounds[:, -1:] >= bounds).sum(axis=1)
    chosen: Integers = np.minimum(drawn, bounds.shape[1] - 1)
    return chosen


def _softmax(logits: Floats) -> Floats:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares: Floats = powers / powers.sum(axis=-1, keepdims=True)
    return shares
