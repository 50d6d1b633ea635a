"""The generator's sessions, split by time: what was known before a day, and what came after it.

Everything here is drawn from two seeds (`generator.py`): nothing is read, nothing is stored. A session that reaches
over the border is in neither part, so that no event to train on is later than one that is held out.
"""

from typing import NamedTuple

import generator
import numpy as np
from generator import DAY_SECONDS, FIRST_SECOND, Integers, Sessions, World

WORLD_SEED = 2024
SESSIONS_SEED = 2025
HELD_OUT_SEED = 2026
PER_DAY = 700
HELD_OUT = 4000
TRAINING_DAYS = 28
RECENT_DAYS = 7
LONGEST = 64
"""Events of a row: as many as the network looks at."""


class Rows(NamedTuple):
    """Sessions up to some event, padded with 0 on the right, and the item that came next."""

    items: Integers
    """[n, LONGEST]"""
    timestamps: Integers
    """[n, LONGEST] seconds since 1970"""
    truth: Integers
    """[n]"""


class Data(NamedTuple):
    world: World
    train: Sessions
    held_out: Sessions
    cuts: Integers
    """[n]: how many events of each held-out session are shown; the next one is to be found."""


def load() -> Data:
    """Sessions of the first 28 days to train on, and 4,000 of those that begin in the 7 days after. Some seconds."""
    world = generator.build_world(WORLD_SEED)
    sessions = generator.simulate(world, PER_DAY, SESSIONS_SEED)
    train = sessions.take(sessions.ends < FIRST_SECOND + TRAINING_DAYS * DAY_SECONDS)
    later = np.flatnonzero(sessions.days >= TRAINING_DAYS)
    chosen = np.random.default_rng(HELD_OUT_SEED).choice(later, HELD_OUT, replace=False)
    held_out = sessions.take(np.sort(chosen))
    return Data(world, train, held_out, random_cuts(held_out, HELD_OUT_SEED))


def recent(train: Sessions) -> Sessions:
    """The last week of training: what a baseline may prefer, since the world drifts."""
    return train.take(train.days >= TRAINING_DAYS - RECENT_DAYS)


def random_cuts(sessions: Sessions, seed: int) -> Integers:
    """[n]: one place in each session, every place alike; at least one event before it and one after."""
    return np.random.default_rng(seed).integers(1, sessions.lengths)


def rows(sessions: Sessions, cuts: Integers) -> Rows:
    """What a model is shown: of the first `cuts` events the newest LONGEST."""
    places = np.maximum(cuts - LONGEST, 0)[:, None] + np.arange(LONGEST)
    there = places < cuts[:, None]
    places = np.where(there, places, 0)
    items = np.where(there, np.take_along_axis(sessions.items, places, axis=1), 0)
    times = np.where(there, np.take_along_axis(sessions.times, places, axis=1), 0)
    return Rows(items, times, sessions.items[np.arange(len(cuts)), cuts])


def last_two(shown: Rows) -> Integers:
    """[n, 2]: ids of the last two events, 0 where there is none."""
    lengths = (shown.items > 0).sum(axis=1)
    every = np.arange(len(lengths))
    before = np.where(lengths > 1, shown.items[every, np.maximum(lengths - 2, 0)], 0)
    return np.stack([before, shown.items[every, lengths - 1]], axis=1)
