"""The bars: what counts as held, and that each is made of the right figures."""

from __future__ import annotations

import pytest

from loadtests.bench.bars import Load, core_bars, peers, profile_of, usage_of
from loadtests.bench.core import Bar
from loadtests.bench.results import find, ratio
from tests.unit.loadtests.figures import document


@pytest.mark.parametrize(
    ("value", "kind", "held"),
    [
        (1.0, "at least", True),
        (0.99, "at least", False),
        (1.0, "at most", True),
        (1.01, "at most", False),
        (None, "at least", None),
        (float("nan"), "at least", False),
    ],
)
def test_held(value: float | None, kind: str, held: bool | None) -> None:
    assert Bar("a bar", value, 1.0, kind).held is held  # type: ignore[arg-type]


def test_the_bars_of_a_run() -> None:
    values = {bar.name: bar.value for bar in core_bars(document())}
    # neighbours of one round are compared: 0.8 and 0.7, not the medians of all
    assert values.pop("MLP over HTTP JSON beside bare uvicorn hello, requests/s") == pytest.approx(0.75)
    assert values.pop("MLP over gRPC beside bare grpc.aio echo, requests/s") == pytest.approx(0.75)
    assert values.pop("encoder beside its session in process with 2 threads, rows/s") == pytest.approx(50 / 52)
    assert values.pop("encoder in INT8 beside FP32, rows/s") == pytest.approx(3.0)
    assert values.pop("encoder in INT8: least cosine with FP32, about the mean") == pytest.approx(0.995)
    assert values.pop("MLP over HTTP JSON beside peer, requests/s") == pytest.approx(1.5)
    assert values.pop("modelyard, all measurements: errors") == 0
    assert values.pop("modelyard, all measurements: wrong") == 0
    assert not values


def test_what_was_not_measured_is_not_held_and_not_broken() -> None:
    results = document()
    results["cells"], results["sessions"], results["parity"] = [], [], None
    assert {bar.held for bar in core_bars(results)} == {None}


def test_an_error_or_a_wrong_answer_of_ours_breaks_a_bar() -> None:
    broken = [bar.name for bar in core_bars(document(errors=1)) if bar.held is False and "all measurements" in bar.name]
    assert broken == ["modelyard, all measurements: errors"]


def test_only_rounds_in_which_both_were_measured_are_compared() -> None:
    first = {"rounds": [0, 2], "rates": [10.0, 30.0], "rate": 20.0}
    second = {"rounds": [1, 2], "rates": [1.0, 10.0], "rate": 5.5}
    assert ratio(first, second) == pytest.approx(3.0)
    assert ratio(first, {**second, "rounds": [3, 4]}) is None
    assert ratio(None, second) is None


def test_a_cell_is_found_over_either_json() -> None:
    results = document()
    assert find(results, "peer", "mlp", "json", 32) is not None
    assert find(results, "modelyard", "mlp", "json", 32) is not None
    assert find(results, "peer", "mlp", "oip-json", 32) is None
    assert peers(results) == ["peer"]


def test_a_bar_that_falls_short_is_profiled_under_its_own_load() -> None:
    assert profile_of(Bar("MLP over gRPC beside bare grpc.aio echo", 0.1, 1.0)) == Load("mlp", "oip-grpc", 32)
    assert profile_of(Bar("encoder in INT8 beside FP32", 0.1, 1.0)) == Load("encoder_int8", "oip-json", 8)
    assert profile_of(Bar("something else", 0.1, 1.0)) is None


def test_the_encoder_says_whether_cores_were_idle() -> None:
    results = document()
    for one in results["sessions"]:
        one["threads"] = 1
    assert "1.00 of 2 cores used" in usage_of(results, Load("encoder", "oip-json", 8))
    assert usage_of(results, Load("mlp", "oip-json", 32)) == ""
