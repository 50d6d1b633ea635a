"""Options become a plan, or are refused in one line that names the option."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

import configargparse  # type: ignore[import-untyped]  # it has no types
import pytest

from loadtests.load.options import Plan, WrongUsage, add_options, p99_of, plan_of


def options(**changes: Any) -> Namespace:
    parser = configargparse.ArgumentParser()  # what locust's is made of
    add_options(parser)
    parser.set_defaults(host="http://127.0.0.1:3000", num_users=None, run_time=None)
    found: Namespace = parser.parse_args([], Namespace(**changes), env_vars={})
    return found


def plan(**changes: Any) -> Plan:
    return plan_of(options(**changes))


def test_defaults_make_a_plan() -> None:
    found = plan()
    assert found.names == ["digits json", "digits binary", "digits grpc", "digits typed"]
    assert (found.grpc, found.tls, found.users, found.seconds) == ("127.0.0.1:3001", False, 20, 30.0)
    assert (found.limits.p99_ms, found.limits.achieved, found.limits.wrong) == (500.0, 0.98, 0.0)


def test_https_means_tls_for_grpc() -> None:
    found = plan(host="https://models.example.com", grpc="models.example.com:443")
    assert (found.tls, found.grpc) == (True, "models.example.com:443")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("250", (250.0, {})), ("250, digits grpc=50", (250.0, {"digits grpc": 50.0})), ("a=1", (500.0, {"a": 1.0}))],
)
def test_p99_of_all_and_by_name(text: str, wanted: tuple[float, dict[str, float]]) -> None:
    assert p99_of(text) == wanted


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"protocols": "json,smoke"}, "--protocols: 'smoke'"),
        ({"protocols": " , "}, "--protocols"),
        ({"zipf_share": 1.5}, "--zipf-share: 1.5 is no ratio"),
        ({"zipf_exponent": -1.0}, "--zipf-exponent"),
        ({"errors": -0.1}, "--errors"),
        ({"achieved": float("nan")}, "--achieved"),
        ({"rate": 0.0}, "--rate"),
        ({"timeout": -1.0}, "--timeout"),
        ({"p99": "soon"}, "--p99: 'soon'"),
        ({"p99": "digits json=-3"}, "--p99"),
        ({"p99": "inf"}, "--p99: 'inf'"),
        ({"p99": "5000,digits_ensemble jsn=0.001"}, "--p99: no requests are called 'digits_ensemble jsn'; known are d"),
        ({"p99": "digits jsn=1"}, "--p99: no requests are called 'digits jsn'; known are digits json, digits binary"),
        ({"errors": float("nan")}, "--errors: nan is no ratio"),
        ({"accuracy": float("nan")}, "--accuracy: nan is no ratio"),
        ({"accuracy": 5.0}, "--accuracy: 5 is no ratio"),
        ({"num_users": 0}, "--users: 0 is too little"),
        ({"num_users": -3}, "--users: -3 is too little"),
        ({"run_time": 0}, "--run-time: 0 seconds"),
        ({"metrics_port": 99999}, "--metrics-port: 99999 is no port"),
        ({"metrics_port": -1}, "--metrics-port: -1"),
        ({"model": "../x"}, "--model: '../x' cannot name a model"),
        ({"model": ""}, "--model: ''"),
        ({"host": None}, "--host"),
        ({"host": "127.0.0.1:3000"}, "--host"),
    ],
)
def test_what_makes_no_run_is_refused_by_name(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(WrongUsage, match=text):
        plan(**changes)


def test_a_limit_may_stand_for_a_kind_that_is_not_asked() -> None:
    assert plan(p99="500,digits grpc=50", protocols="json").limits.p99_of == {"digits grpc": 50.0}


def test_an_option_can_be_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOADTEST_ZIPF_SHARE", "0.25")
    parser = configargparse.ArgumentParser()
    add_options(parser)
    assert parser.parse_args([]).zipf_share == 0.25
