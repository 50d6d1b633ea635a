"""Remembered answers: found by their id and tenant, once, by every process, and never too many."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard.errors import InvalidInput, NotFound
from modelyard.observing import predictions
from modelyard.observing.predictions import MOST_ANSWERS, MOST_ID, Predictions


@pytest.fixture(params=["memory", "file"])
def kept(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Predictions]:
    monkeypatch.setattr(predictions, "PAUSE_SECONDS", 0.01)
    made = Predictions(10, tmp_path / "answers.sqlite" if request.param == "file" else None)
    yield made
    made.close()


async def test_an_answer_is_judged_once(kept: Predictions) -> None:
    kept.remember("ann", "r1", "m", "2", [3, 5])
    first = await kept.judge("ann", "r1", [3, 4])
    assert (first.model, first.version, first.answers, first.correct, first.repeated) == ("m", "2", [3, 5], 1, False)
    again = await kept.judge("ann", "r1", [3, 5])
    assert (again.truth, again.correct, again.repeated) == ([3, 4], 1, True)


async def test_the_last_request_with_an_id_is_meant(kept: Predictions) -> None:
    kept.remember("ann", "r1", "m", "1", [3])
    kept.settle()
    kept.remember("ann", "r1", "m", "2", [5])
    assert (await kept.judge("ann", "r1", [5])).version == "2"


async def test_a_request_that_is_sent_again_is_counted_once(kept: Predictions) -> None:
    for turn in range(3):
        kept.remember("ann", "r1", "m", "1", [3, 4])
        judged = await kept.judge("ann", "r1", [3, 3])
        assert (judged.truth, judged.correct, judged.repeated) == ([3, 3], 1, turn > 0)


@pytest.mark.parametrize(("version", "answers"), [("2", [3]), ("1", [5])])
async def test_another_answer_under_the_same_id_is_judged_anew(
    kept: Predictions, version: str, answers: list[int]
) -> None:
    kept.remember("ann", "r1", "m", "1", [3])
    await kept.judge("ann", "r1", [3])
    kept.remember("ann", "r1", "m", version, answers)
    judged = await kept.judge("ann", "r1", [5])
    assert (judged.version, judged.truth, judged.repeated) == (version, [5], False)


async def test_one_that_is_sent_again_is_among_the_newest(kept: Predictions) -> None:
    for number in range(30):
        kept.remember("", "again", "m", "1", [1])
        kept.remember("", f"r{number}", "m", "1", [1])
        kept.settle()
    assert not (await kept.judge("", "again", [1])).repeated


async def test_an_id_belongs_to_its_tenant(kept: Predictions) -> None:
    kept.remember("ann", "r1", "m", "1", [3])
    with pytest.raises(NotFound):
        await kept.judge("bob", "r1", [3])
    assert (await kept.judge("ann", "r1", [3])).correct == 1


async def test_the_oldest_are_forgotten(kept: Predictions) -> None:
    for number in range(30):
        kept.remember("", f"r{number}", "m", "1", [1])
        kept.settle()
    assert (await kept.judge("", "r29", [1])).correct == 1
    assert (await kept.judge("", "r20", [1])).correct == 1
    with pytest.raises(NotFound):
        await kept.judge("", "r10", [1])


async def test_a_number_of_values_that_does_not_fit_changes_nothing(kept: Predictions) -> None:
    kept.remember("", "r", "m", "1", [1, 2])
    with pytest.raises(InvalidInput, match="2 rows, 3 values"):
        await kept.judge("", "r", [1, 2, 3])
    assert not (await kept.judge("", "r", [1, 2])).repeated


async def test_what_is_too_long_is_not_remembered(kept: Predictions) -> None:
    kept.remember("", "a" * (MOST_ID + 1), "m", "1", [1])
    kept.remember("", "r", "m", "1", [1] * (MOST_ANSWERS + 1))
    for request_id in ("a" * (MOST_ID + 1), "r"):
        with pytest.raises(NotFound):
            await kept.judge("", request_id, [1])


async def test_two_processes_share_a_file(tmp_path: Path) -> None:
    one, other = (Predictions(10, tmp_path / "answers.sqlite") for _ in range(2))
    one.remember("", "r", "m", "1", [4])
    one.settle()
    assert (await other.judge("", "r", [4])).correct == 1
    assert (await one.judge("", "r", [4])).repeated
    one.close()
    other.close()
    other.settle()
