"""An ensemble's request: members side by side, then the vote, one answer; whatever ends the whole ends its parts."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from modelyard import metrics
from modelyard.ensemble import cache_word
from modelyard.errors import BackendError, Cancelled, DeadlineExceeded, InvalidInput, ModelNotReady, Overloaded
from modelyard.tensors import InferRequest, InferResponse, Tensor
from tests.unit.ensemble_parts import ROWS, Both, Part, spec_of, tensor
from tests.unit.strategies import metric


@pytest.fixture
async def both() -> Both:
    return Both()


async def test_the_vote_is_asked_when_all_members_have_answered(both: Both) -> None:
    call = both.submit(id="me")
    assert [len(part.asked) for part in (both.a, both.b, both.vote)] == [1, 1, 0], "side by side, then the vote"
    assert both.b.asked[0].inputs[0].name == "in"
    both.b.calls[0].end(both.b.answer(ROWS * 10))
    assert not both.vote.asked
    both.a.calls[0].end(both.a.answer())
    (asked,) = both.vote.asked
    assert [(given.name, given.array.tolist()) for given in asked.inputs] == [
        ("from_a", ROWS.tolist()),
        ("from_b", (ROWS * 10).tolist()),
    ]
    assert asked.id == "me"
    assert not both.outcomes
    both.vote.calls[0].end(both.vote.answer(ROWS * 11))
    assert not call.open
    assert (both.outcome.model_name, both.outcome.model_version) == ("both", "7")
    assert both.outcome.parameters == {"cache": "partial", "backend": "gpu,cpu", "members": "a:3,b:1"}
    assert (both.a.ledger.outcomes, both.b.ledger.outcomes) == (["ok"], ["ok"])
    assert both.vote.ledger.outcomes == [], "the whole is counted by whoever submitted it"


async def test_members_and_vote_that_answer_at_once(both: Both) -> None:
    for part in (both.a, both.b, both.vote):
        part.at_once = part.answer()
    call = both.submit()
    assert not call.open
    assert isinstance(both.outcome, InferResponse)


async def test_what_the_caller_wants_is_passed_on(both: Both) -> None:
    both.submit(priority=2, cached=False, parameters={"temperature": 2}, outputs=("sum",), timeout=5.0)
    vote = both.vote_is_asked()
    for request in (*both.a.asked, *both.b.asked, vote):
        assert (request.priority, request.cached, request.parameters) == (2, False, {"temperature": 2})
        assert request.timeout is not None
        assert 0 < request.timeout <= 5.0
    assert vote.outputs == ("sum",)
    assert both.a.asked[0].outputs == (), "all that it has: the same key as anybody's request"
    assert both.b.asked[0].outputs == ("z",)


async def test_without_a_timeout_the_ensembles_own_deadline_holds(both: Both) -> None:
    both.submit()
    timeout = both.a.asked[0].timeout
    assert timeout is not None
    assert 19 < timeout <= 20.0


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("first", [True, False])
async def test_the_first_failure_ends_the_whole_and_cancels_the_rest(both: Both, first: bool, at_once: bool) -> None:
    fails, other = (both.a, both.b) if first else (both.b, both.a)
    error = Overloaded("full", 3.0)
    if at_once:
        fails.at_once = error
    call = both.submit()
    if not at_once:
        fails.calls[0].end(error)
    assert not call.open
    assert isinstance(both.outcome, Overloaded)
    assert (both.outcome.retry_after, both.outcome.http_status) == (3.0, 503)
    assert str(both.outcome) == f"member '{fails.spec.name}': full"
    assert not any(call.open for call in other.calls)
    assert fails.ledger.outcomes == ["shed"]
    assert other.ledger.outcomes == ([] if at_once and first else ["cancelled"])
    assert not both.vote.asked


async def test_a_member_that_refuses_the_request(both: Both) -> None:
    both.b.refuses = InvalidInput("a value is above 5", "value")
    both.submit()
    assert isinstance(both.outcome, InvalidInput)
    assert (str(both.outcome), both.outcome.reason) == ("member 'b': a value is above 5", "value")
    assert not both.a.calls[0].open


async def test_the_cause_of_an_unknown_failure_stays_inside(both: Both) -> None:
    both.submit()
    both.a.calls[0].end(ValueError("secret"))
    assert isinstance(both.outcome, BackendError)
    assert "secret" not in str(both.outcome)
    assert both.a.ledger.outcomes == ["error"]


async def test_a_vote_that_fails(both: Both) -> None:
    both.submit()
    both.vote_is_asked()
    both.vote.calls[0].end(BackendError("both"))
    assert isinstance(both.outcome, BackendError)


@pytest.mark.parametrize("raises", [True, False])
async def test_a_vote_that_does_not_take_what_members_give_is_not_the_callers_fault(both: Both, raises: bool) -> None:
    both.submit()
    wrong = InvalidInput("input 'from_a' has shape [-1, 2], [2, 3] was given", "shape")
    both.vote.refuses = wrong if raises else None
    both.vote.at_once = wrong
    both.a.calls[0].end(both.a.answer())
    both.b.calls[0].end(both.b.answer())
    assert isinstance(both.outcome, BackendError)


@pytest.mark.parametrize("voting", [False, True])
async def test_cancelling_the_whole_cancels_its_parts(both: Both, voting: bool) -> None:
    call = both.submit()
    if voting:
        both.vote_is_asked()
    call.cancel()
    assert isinstance(both.outcome, Cancelled)
    assert not any(part.open for part in (*both.a.calls, *both.b.calls, *both.vote.calls))


@pytest.mark.parametrize("voting", [False, True])
async def test_the_deadline_of_the_whole_reaches_its_parts(both: Both, voting: bool) -> None:
    both.submit(timeout=0.05)
    if voting:
        both.vote_is_asked()
    await asyncio.wait_for(both.answered.wait(), 10)
    assert isinstance(both.outcome, DeadlineExceeded)
    assert not any(part.open for part in (*both.a.calls, *both.b.calls, *both.vote.calls))


async def test_wrong_requests_are_refused_before_a_member_is_asked(both: Both) -> None:
    for inputs, outputs in (([], ()), ([Tensor("x", "FP32", ROWS.ravel())], ()), ([Tensor("x", "FP32", ROWS)], ("z",))):
        with pytest.raises(InvalidInput):
            both.ensemble.submit(InferRequest("both", inputs, outputs=outputs), both.outcomes.append)
    assert not both.a.asked
    assert not both.outcomes


async def test_a_members_swap_is_followed(both: Both) -> None:
    both.submit()
    newer = both.served["a"] = Part(both.a.spec, "4", "miss")
    both.vote_is_asked()
    both.vote.calls[0].end(both.vote.answer())
    assert both.outcome.parameters["members"] == "a:3,b:1", "a request ends with what it began with"
    both.submit()
    assert len(newer.asked) == 1


async def test_it_is_ready_when_all_of_it_is(both: Both) -> None:
    def ready() -> bool:
        return both.ensemble.ready

    assert ready()
    for part in (both.vote, both.a, both.b):
        part.ready = False
        assert not ready()
        part.ready = True
    del both.served["b"]
    assert not ready()
    both.submit()
    assert isinstance(both.outcome, ModelNotReady)
    assert "'both' is not ready" in str(both.outcome)
    assert not both.a.asked, "nothing is begun that cannot be ended"


async def test_a_member_that_fits_no_more_makes_it_not_ready(both: Both) -> None:
    other = both.b.spec.model_copy(update={"outputs": (tensor("z").model_copy(update={"datatype": "FP64"}),)})
    for spec, word in ((other, "FP64"), (spec_of("b", ("in",), ("w",)), "no output 'z'")):
        both.served["b"] = Part(spec, "2")
        assert not both.ensemble.ready
        both.submit()
        failure = both.outcomes.pop()
        assert isinstance(failure, ModelNotReady)
        assert all(part in str(failure) for part in ("version 2 of 'b'", word))
    both.served["b"] = both.b
    assert both.ensemble.ready


async def test_it_is_refused_unseen_when_a_part_would_refuse(both: Both) -> None:
    both.ensemble.admit_unseen(100)
    both.ensemble.admit_unseen(200, urgent=False)
    assert both.a.unseen == both.b.unseen == both.vote.unseen == [(100, True), (200, False)]
    both.b.refuses = Overloaded("full")
    with pytest.raises(Overloaded):
        both.ensemble.admit_unseen(100)


async def test_what_is_open_is_ended_when_nothing_can_run(both: Both) -> None:
    both.submit()
    both.ensemble.abandon()
    assert isinstance(both.outcome, ModelNotReady)
    assert both.vote.abandoned
    assert not both.a.calls[0].open


async def test_it_closes_when_the_last_request_is_answered(both: Both) -> None:
    both.submit()
    closing = asyncio.create_task(both.ensemble.close())
    await asyncio.sleep(0)
    assert both.closed() == []
    both.vote_is_asked()
    both.vote.calls[0].end(both.vote.answer())
    await closing
    assert both.closed() == [both.vote], "a member is somebody else's"


async def test_the_metrics_are_those_of_the_whole(both: Both) -> None:
    metrics.of_model("both", "7")
    both.submit()
    both.ensemble.settle()
    assert metric("in_flight_requests", model="both") == 1
    assert metric("model_ready", model="both", version="7") == 1
    both.a.ready = False
    both.ensemble.settle()
    assert metric("model_ready", model="both", version="7") == 0


@pytest.mark.parametrize("how", ["answered", "failed", "cancelled", "at once"])
async def test_a_request_leaves_nothing_for_the_collector(both: Both, how: str) -> None:
    gc.collect()
    gc.disable()
    try:
        array = ROWS.copy()
        watched = weakref.ref(array)
        if how == "at once":
            for part in (both.a, both.b, both.vote):
                part.at_once = part.answer()
        call = both.ensemble.submit(InferRequest("both", [Tensor("x", "FP32", array)]), both.outcomes.append)
        if how == "answered":
            both.vote_is_asked()
            both.vote.calls[0].end(both.vote.answer())
        elif how == "failed":
            both.a.calls[0].end(Overloaded("full"))
        elif how == "cancelled":
            call.cancel()
        for part in (both.a, both.b, both.vote):
            part.calls.clear()
            part.asked.clear()
        both.outcomes.clear()
        del array, call, part
        assert watched() is None
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("words", "word"),
    [
        (["hit", "hit"], "hit"),
        (["bypass", "bypass"], "bypass"),
        (["hit", "join"], "join"),
        (["miss", "bypass"], "miss"),
        (["hit", "bypass"], "partial"),
        (["partial", "hit"], "partial"),
        (["join", "miss"], "partial"),
        (["miss"], "miss"),
    ],
)
def test_one_word_for_what_the_members_caches_said(words: list[str], word: str) -> None:
    assert cache_word(words) == cache_word(reversed(words)) == word
