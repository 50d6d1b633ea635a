"""The generator of next_item keeps the rules that it documents, and what is measured on it is measured rightly."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.unit.models.next_item import scripts

PER_DAY = 80
Array = NDArray[Any]


@pytest.fixture(scope="module")
def model() -> Iterator[SimpleNamespace]:
    with scripts() as modules:
        yield modules


@pytest.fixture(scope="module")
def world(model: SimpleNamespace) -> Any:
    return model.generator.build_world(seed=1)


@pytest.fixture(scope="module")
def sessions(model: SimpleNamespace, world: Any) -> Any:
    return model.generator.simulate(world, PER_DAY, seed=2)


@pytest.fixture(scope="module")
def data(model: SimpleNamespace) -> Any:
    return model.dataset.load()


def in_series(model: SimpleNamespace, world: Any, sessions: Any) -> tuple[Array, Array]:
    """Of every third and later event: whether it is of the kind that goes on with a series, and the gap before it."""
    t = np.arange(2, sessions.items.shape[1])
    there = sessions.items[:, t] > 0
    before, last, kind = (world.kind[sessions.items[:, t - back][there] - 1] for back in (2, 1, 0))
    gaps = (sessions.times[:, t] - sessions.times[:, t - 1])[there]
    return model.generator.next_kind(before, last) == kind, gaps


def test_the_same_seed_draws_the_same_sessions(model: SimpleNamespace, world: Any, sessions: Any) -> None:
    again = model.generator.simulate(model.generator.build_world(seed=1), PER_DAY, seed=2)
    other = model.generator.simulate(world, PER_DAY, seed=3)
    for name in ("items", "times", "lengths", "days"):
        np.testing.assert_array_equal(getattr(again, name), getattr(sessions, name))
    assert not np.array_equal(other.items, sessions.items)


def test_sessions_are_well_formed(model: SimpleNamespace, sessions: Any) -> None:
    generator = model.generator
    there = np.arange(generator.LONGEST) < sessions.lengths[:, None]
    assert len(sessions.lengths) == PER_DAY * generator.DAYS
    assert sessions.lengths.min() >= 2
    assert (sessions.lengths > model.network.LONGEST).any(), "some must be longer than what counts"
    assert ((sessions.items > 0) == there).all()
    assert sessions.items.max() <= generator.ITEMS
    assert (sessions.times > 0)[there].all()
    assert (np.diff(sessions.times, axis=1)[there[:, 1:]] >= 1).all()
    starts = (sessions.times[:, 0] - generator.FIRST_SECOND) // generator.DAY_SECONDS
    np.testing.assert_array_equal(starts, sessions.days)
    assert (np.diff(sessions.times[:, 0]) >= 0).all()


def test_an_item_belongs_to_several_interests(model: SimpleNamespace, world: Any) -> None:
    generator = model.generator
    np.testing.assert_allclose(world.browse.sum(axis=2), 1)
    np.testing.assert_allclose(world.interest.sum(axis=1), 1)
    assert ((world.browse[0] > 0).sum(axis=1) == generator.MEMBERS).all()
    assert ((world.browse[0] > 0).sum(axis=0) == generator.INTERESTS * generator.MEMBERS // generator.ITEMS).all()


def test_the_last_two_kinds_say_how_a_series_goes_on(model: SimpleNamespace, world: Any, sessions: Any) -> None:
    goes_on, _ = in_series(model, world, sessions)
    assert goes_on.mean() > 0.45
    there = sessions.items[:, 1:] > 0
    last, kind = world.kind[sessions.items[:, :-1][there] - 1], world.kind[sessions.items[:, 1:][there] - 1]
    step = (kind - last) % model.generator.KINDS
    forward, backward = (step == 1).mean(), (step == model.generator.KINDS - 1).mean()
    assert forward == pytest.approx(backward, abs=0.05), "the last one alone does not say which way"
    assert forward + backward > 0.5


def test_gaps_tell_who_goes_on_with_a_series(model: SimpleNamespace, world: Any, sessions: Any) -> None:
    goes_on, gaps = in_series(model, world, sessions)
    skims, reads = gaps <= 8, (gaps >= 90) & (gaps <= 600)
    assert goes_on[reads].mean() > 0.7
    assert goes_on[skims].mean() < 0.35


def test_pauses_change_the_interest(model: SimpleNamespace, world: Any, sessions: Any) -> None:
    """Two neighbours share an interest mostly, but not those with hours between them."""
    there = sessions.items[:, 1:] > 0
    member = world.browse[0] > 0
    before, after = sessions.items[:, :-1][there] - 1, sessions.items[:, 1:][there] - 1
    shared = (member[:, before] & member[:, after]).any(axis=0)
    gaps = np.diff(sessions.times, axis=1)[there]
    assert shared[gaps < 1800].mean() > 0.85
    assert shared[gaps > 3 * 3600].mean() < 0.6


def test_drift_is_slow_and_can_be_left_out(model: SimpleNamespace, world: Any) -> None:
    still = model.generator.build_world(seed=1, days=3, drift=0)
    for rules in (still.browse, still.interest):
        np.testing.assert_array_equal(rules[0], rules[-1])
    in_a_day, in_all = (np.abs(world.browse[day] - world.browse[0]).sum(axis=1).mean() for day in (1, -1))
    assert 0 < in_a_day < in_all / 3
    stopped = world.stopped(4)
    np.testing.assert_array_equal(stopped.browse[-1], world.browse[4])
    np.testing.assert_array_equal(stopped.interest[0], world.interest[4])


def test_the_oracle_is_as_good_as_it_says(model: SimpleNamespace, world: Any, sessions: Any) -> None:
    """A filter that is right expects the recall that it gets: its probabilities are those of the generator."""
    cuts = model.dataset.random_cuts(sessions, seed=4)
    shares = model.oracle.next_item(world, sessions, cuts)
    truth = model.dataset.rows(sessions, cuts).truth
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    expected = np.sort(shares, axis=1)[:, -10:].sum(axis=1).mean()
    reached = model.baselines.recall_at_10(model.baselines.ranking(shares), truth)
    assert reached == pytest.approx(expected, abs=0.03)  # 2,800 rows: three times the standard error
    blind = model.oracle.next_item(model.generator.build_world(seed=9), sessions, cuts)
    assert model.baselines.recall_at_10(model.baselines.ranking(blind), truth) < reached / 2


def test_training_is_before_what_is_held_out(model: SimpleNamespace, data: Any) -> None:
    assert data.train.ends.max() < data.held_out.times[:, 0].min()
    recent = model.dataset.recent(data.train)
    assert 0.2 < len(recent.lengths) / len(data.train.lengths) < 0.3


def test_a_row_is_what_came_before_its_truth(model: SimpleNamespace, data: Any) -> None:
    shown = model.dataset.rows(data.held_out, data.cuts)
    long = int(np.argmax(data.cuts))
    assert data.cuts[long] > model.dataset.LONGEST
    for row in (0, 1, 2, long):
        cut = data.cuts[row]
        first = max(0, cut - model.dataset.LONGEST)
        events = data.held_out.items[row, first:cut]
        np.testing.assert_array_equal(shown.items[row, : len(events)], events)
        np.testing.assert_array_equal(shown.timestamps[row, : len(events)], data.held_out.times[row, first:cut])
        assert not shown.items[row, len(events) :].any()
        assert shown.truth[row] == data.held_out.items[row, cut]
        assert model.dataset.last_two(shown)[row].tolist() == [0, 0, *events][-2:]


def test_baselines_count(model: SimpleNamespace) -> None:
    items = np.array([[1, 2, 3, 0], [2, 3, 1, 0], [1, 2, 4, 4], [5, 2, 3, 4]])
    lengths = (items > 0).sum(axis=1)
    counts = model.baselines.Counts(model.generator.Sessions(items, items, lengths, lengths), items=5)
    ranked = {
        name: model.baselines.ranking(getattr(counts, name)(np.array([[1, 2], [5, 2], [0, 4], [4, 5]])))
        for name in model.baselines.NAMES
    }
    assert ranked["popularity"][:, 0].tolist() == [2] * 4
    assert ranked["first_order"][:, 0].tolist() == [3, 3, 4, 2]
    assert ranked["second_order"][:, :2].tolist() == [[3, 4], [3, 4], [4, 2], [2, 1]]
    assert model.baselines.recall_at_10(np.arange(1, 12)[None].repeat(2, 0), np.array([10, 11])) == 0.5
