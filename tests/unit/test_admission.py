"""Refusal by time, by memory and by quota, with clocks of the test's own."""

from __future__ import annotations

import pytest

from modelyard.admission import REPEATED_SECONDS, REPEATED_SHARE, Admission, Quota
from modelyard.errors import Overloaded, QuotaExceeded
from tests.unit.strategies import metric

ADMISSION = Admission("admitted", queue_seconds=2.0, max_queue_bytes=1000)


def shed(reason: str) -> float:
    return metric("shed_total", model="admitted", reason=reason)


def test_what_is_within_every_limit_gets_in() -> None:
    ADMISSION.admit(wait=2.0, timeout=2.0, queued_bytes=900, nbytes=100)


@pytest.mark.parametrize(
    ("wait", "timeout", "queued", "reason", "retry"),
    [
        (2.01, 30.0, 0, "queue_full", 3),
        (0.5, 0.4, 0, "deadline", 1),
        (0.0, 30.0, 901, "queue_full", 1),
        (7.2, 30.0, 0, "queue_full", 8),
    ],
)
def test_what_is_beyond_a_limit_is_refused_counted_and_told_when_to_come_back(
    wait: float, timeout: float, queued: int, reason: str, retry: int
) -> None:
    before = shed(reason)
    with pytest.raises(Overloaded) as caught:
        ADMISSION.admit(wait, timeout, queued, nbytes=100)
    assert caught.value.retry_after == retry
    assert shed(reason) == before + 1


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_refusal_for_the_wait_is_repeated_for_a_moment() -> None:
    clock, before = Clock(), shed("queue_full")
    admission = Admission("admitted", 2.0, 1000, clock)
    admission.repeat()
    with pytest.raises(Overloaded) as first:
        admission.admit(7.2, 30.0, 0, nbytes=100)
    clock.now += REPEATED_SECONDS * 0.9
    with pytest.raises(Overloaded) as second:
        admission.repeat()
    assert (str(second.value), second.value.retry_after) == (str(first.value), 8)
    assert second.value is not first.value, "an error that stays would keep its last request in memory"
    assert shed("queue_full") == before + 2
    clock.now += REPEATED_SECONDS
    admission.repeat()


def test_a_refusal_for_a_short_wait_is_repeated_for_a_part_of_it() -> None:
    clock = Clock()
    admission = Admission("admitted", 0.01, 1000, clock)
    with pytest.raises(Overloaded):
        admission.admit(0.02, 30.0, 0, nbytes=100)
    with pytest.raises(Overloaded):
        admission.repeat()
    clock.now += 0.02 * REPEATED_SHARE * 1.1
    admission.repeat()


@pytest.mark.parametrize(("wait", "timeout", "queued"), [(0.5, 0.4, 0), (0.0, 30.0, 901)])
def test_what_was_refused_for_its_own_sake_says_nothing_of_others(wait: float, timeout: float, queued: int) -> None:
    admission = Admission("admitted", 2.0, 1000, Clock())
    with pytest.raises(Overloaded):
        admission.admit(wait, timeout, queued, nbytes=100)
    admission.repeat()


def test_a_burst_of_one_seconds_worth_then_the_rate() -> None:
    clock = Clock()
    quota = Quota(4.0, clock)
    for _ in range(4):
        quota.take("alice", "m")
    with pytest.raises(QuotaExceeded) as caught:
        quota.take("alice", "m")
    assert caught.value.retry_after == 1
    clock.now += 0.24
    with pytest.raises(QuotaExceeded):
        quota.take("alice", "m")
    clock.now += 0.02
    quota.take("alice", "m")
    with pytest.raises(QuotaExceeded):
        quota.take("alice", "m")


def test_rest_does_not_save_up_more_than_a_burst() -> None:
    clock = Clock()
    quota = Quota(2.0, clock)
    quota.take("alice", "m")
    clock.now += 3600
    for _ in range(2):
        quota.take("alice", "m")
    with pytest.raises(QuotaExceeded):
        quota.take("alice", "m")


def test_one_tenant_does_not_use_up_anothers_share() -> None:
    quota = Quota(1.0, Clock())
    quota.take("alice", "m")
    quota.take("bob", "m")
    with pytest.raises(QuotaExceeded):
        quota.take("alice", "m")


def test_a_slow_rate_says_how_long_to_wait() -> None:
    quota = Quota(0.1, Clock())
    quota.take("alice", "m")
    with pytest.raises(QuotaExceeded) as caught:
        quota.take("alice", "m")
    assert caught.value.retry_after == 10


def test_no_rate_is_no_quota() -> None:
    quota = Quota(0.0, Clock())
    for _ in range(1000):
        quota.take("alice", "m")
