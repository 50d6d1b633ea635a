"""Refusal by time, by memory and by quota, with clocks of the test's own."""

from __future__ import annotations

import pytest

from modelyard.admission import Admission, Quota
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
