"""The network of next_item: an answer depends on the events of a session and on nothing that fills a row up."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.unit.models.next_item import scripts

ITEMS = 120
Array = NDArray[Any]


@pytest.fixture(scope="module")
def model() -> Iterator[SimpleNamespace]:
    with scripts() as modules:
        yield modules


@pytest.fixture(scope="module")
def network(model: SimpleNamespace) -> Any:
    """Untrained, and far from even: a wrong event shows in every score."""
    torch.manual_seed(3)
    made = model.network.NextItemNetwork(ITEMS).eval()
    with torch.no_grad():
        for weight in made.parameters():
            weight.normal_(std=0.3)
    return made


def session(length: int, seed: int = 0) -> tuple[Array, Array]:
    """Items and times [length]."""
    random = np.random.default_rng(seed)
    return random.integers(1, ITEMS + 1, length), 1_700_000_000 + np.cumsum(random.integers(1, 9_000, length))


def placed(events: tuple[Array, Array], places: Array, length: int) -> tuple[Array, Array]:
    """The events at some places of a row [1, length]; everywhere else item 0 and a time that must not count."""
    items, times = np.zeros((1, length), np.int64), np.full((1, length), -77, np.int64)
    items[0, places], times[0, places] = events
    return items, times


def answers(model: SimpleNamespace, network: Any, rows: tuple[Array, Array]) -> list[Array]:
    found: list[Array] = list(model.network.answers(network, *rows))
    return found


def assert_equal(found: list[Array], expected: list[Array]) -> None:
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("length", [1, 5, 8])
@pytest.mark.parametrize("bucket", [8, 16, 32, 64, 100])
def test_padding_changes_nothing(model: SimpleNamespace, network: Any, length: int, bucket: int) -> None:
    events = session(length)
    alone = answers(model, network, placed(events, np.arange(length), length))
    for places in (
        np.arange(length),
        np.arange(bucket - length, bucket),
        np.sort(np.random.default_rng(1).choice(bucket, length, replace=False)),
    ):
        assert_equal(answers(model, network, placed(events, places, bucket)), alone)


def test_rows_of_a_batch_do_not_know_each_other(model: SimpleNamespace, network: Any) -> None:
    lengths = [1, 3, 8, 20, 64, 2, 33]
    rows = [placed(session(n, seed=n), np.arange(n), 64) for n in lengths]
    together = answers(model, network, (np.concatenate([r[0] for r in rows]), np.concatenate([r[1] for r in rows])))
    for index, n in enumerate(lengths):
        alone = answers(model, network, placed(session(n, seed=n), np.arange(n), n))
        assert_equal([array[index : index + 1] for array in together], alone)


def test_only_the_newest_events_count(model: SimpleNamespace, network: Any) -> None:
    items, times = session(150)
    newest = model.network.LONGEST
    whole = answers(model, network, (items[None], times[None]))
    assert_equal(whole, answers(model, network, (items[None, -newest:], times[None, -newest:])))
    assert not np.array_equal(whole[1], answers(model, network, (items[None, -10:], times[None, -10:]))[1])


def test_gaps_count_and_the_date_does_not(model: SimpleNamespace, network: Any) -> None:
    items, times = session(12)
    now = answers(model, network, (items[None], times[None]))
    assert_equal(answers(model, network, (items[None], times[None] - 10**9)), now)
    slower = answers(model, network, (items[None], times[None] * 3))
    assert np.abs(slower[1] - now[1]).max() > 1e-4


def test_whatever_is_no_item_is_the_unknown_item(model: SimpleNamespace, network: Any) -> None:
    items, times = session(6)
    found = []
    for wrong in (ITEMS + 1, ITEMS + 2, -1, 2**63 - 1, -(2**63)):
        items[2] = wrong
        found.append(answers(model, network, (items[None], times[None])))
    for other in found[1:]:
        assert_equal(other, found[0])
    assert not np.array_equal(found[0][1], answers(model, network, (np.delete(items, 2)[None], times[None, :5]))[1])


def test_times_out_of_order_or_absurd_give_finite_scores(model: SimpleNamespace, network: Any) -> None:
    items, _ = session(4)
    times = np.array([2**63 - 1, -(2**63), 0, 2**62])
    assert all(np.isfinite(array).all() for array in answers(model, network, (items[None], times[None])))


@pytest.mark.parametrize("length", [0, 1, 8])
def test_a_session_without_events_is_answered(model: SimpleNamespace, network: Any, length: int) -> None:
    empty = answers(model, network, (np.zeros((2, length), np.int64), np.zeros((2, length), np.int64)))
    assert_equal(empty, answers(model, network, (np.zeros((2, 3), np.int64), np.ones((2, 3), np.int64))))
    assert (empty[0][0] == empty[2][0]).all(), "nothing was seen, so nothing is left out"


def test_the_second_ranking_leaves_out_what_was_seen(model: SimpleNamespace, network: Any) -> None:
    items, times = session(40)
    items[3] = ITEMS + 9
    best, scores, new, new_scores = (array[0] for array in answers(model, network, (items[None], times[None])))
    assert len(best) == model.network.TOP
    for ids, probabilities in ((best, scores), (new, new_scores)):
        assert len(set(ids.tolist())) == len(ids)
        assert ids.min() >= 1
        assert ids.max() <= ITEMS
        assert (np.diff(probabilities) <= 0).all()
        assert (probabilities > 0).all()
    assert set(best.tolist()) & set(items.tolist())
    assert not set(new.tolist()) & set(items.tolist())
    kept = [item for item in best.tolist() if item not in set(items.tolist())]
    assert new.tolist()[: len(kept)] == kept
