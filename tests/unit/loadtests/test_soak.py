"""What is said of a soak: a bar that is not held tells which way the lost requests had taken, and when."""

from __future__ import annotations

from typing import Any

from loadtests.bench import soak
from loadtests.bench.ledger import OUTCOMES, Ledger


def result(lost: int = 0) -> dict[str, Any]:
    """Three stretches; in the second, `lost` gRPC requests expire."""
    ledger = Ledger(soak.PERIOD)
    for second in (1.0, 11.0, 21.0):
        for face in soak.MIX:
            ledger.add(face, "ok", second, 0.002, 0.0)
    for _ in range(lost):
        ledger.add("oip-grpc", "expired", 12.0, 5.0, 0.0)
    ledger.close()
    grown = {"first": 10.0, "last": 10.0, "growth": 0.0}
    trend = {"warm_up": 1.0, "memory_percent_an_hour": 0.1, "fds": grown, "threads": grown, "series": grown}
    front = {"seconds": 60.0, **{name: ledger.summary()[name] for name in ("counts", "lanes", "lane_latency")}}
    summary = ledger.summary()
    figures = {"seconds": 600.0, "rate": 70.0, "peak": 100.0, "cache_rows": {"miss": 9.0}, "held": []}
    return {**summary, **figures, "trend": trend, "front": front}


def unanswered(of: dict[str, Any]) -> Any:
    return next(bar for bar in soak.bars(of) if bar.name == "soak: requests without an answer")


def test_a_run_without_a_loss_needs_no_explanation() -> None:
    assert set(result()["counts"]) == set(OUTCOMES)
    bar = unanswered(result())
    assert bar.held
    assert bar.why == ""


def test_lost_requests_are_told_by_way_and_by_time() -> None:
    bar = unanswered(result(lost=1500))
    assert bar.held is False
    assert bar.why.startswith(
        "1,500 by oip-grpc; in 1 of 3 stretches of 10 s. grpc.aio takes calls one after the other"
    )


def test_both_ways_of_grpc_are_shown_face_by_face() -> None:
    text = soak.markdown(result(lost=2))
    assert "| grpc.aio | 600 | oip-grpc | 3 | 2 | 2.0 ms | 2.0 ms |" in text
    assert "| HTTP/2 front | 60 | oip-json | 3 | 0 |" in text


def test_an_earlier_run_that_knows_no_other_front_is_shown_without() -> None:
    old = result(lost=2)
    del old["front"], old["lane_latency"]
    assert "HTTP/2 front" not in soak.markdown(old)
    assert unanswered(old).why == "2 by oip-grpc; in 1 of 3 stretches of 10 s."
