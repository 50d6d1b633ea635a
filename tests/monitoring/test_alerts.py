"""Each alert fires when it should and stays silent when it is close: promtool plays alert_cases.py."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitoring.queries import rule_documents, selectors
from tests.monitoring.alert_cases import PAIRS, Case
from tests.monitoring.alert_series import Series
from tests.tools.prometheus import tool

ALERTS = {rule["alert"]: rule for rule in rule_documents() if "alert" in rule}
WATCHDOG = "Watchdog"


def scenario(series: Series, minute: int, alert: str, expected: list[dict[str, Any]]) -> dict[str, Any]:
    """One test of promtool's."""
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "alert_rule_test": [{"eval_time": f"{minute}m", "alertname": alert, "exp_alerts": expected}],
    }


def expected(alert: str, case: Case) -> dict[str, Any]:
    """The alert with its texts filled in, as Prometheus would."""

    def fill(text: str) -> str:
        text = re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda found: case.labels.get(found[1], ""), text)
        return re.sub(r"\{\{ \$value [^}]*\}\}", case.value, text)

    texts = {name: fill(text) for name, text in ALERTS[alert]["annotations"].items()}
    labels = {**case.labels, **ALERTS[alert]["labels"]}
    if alert.endswith(("BurnFast", "BurnSlow", "BurnLong")):
        labels["objective"] = alert.split("Burn", maxsplit=1)[0].lower()
    return {"exp_labels": labels, "exp_annotations": texts}


def rules_of(alert: str) -> dict[str, Any]:
    """The alert and the recording rules that it stands on, in their order: all of them would take many times longer."""
    wanted, chosen = set(selected(ALERTS[alert]["expr"])), [ALERTS[alert]]
    for rule in reversed(rule_documents()):
        if rule.get("record") in wanted:
            wanted |= selected(rule["expr"])
            chosen.insert(0, rule)
    return {"groups": [{"name": "rules", "rules": chosen}]}


def selected(expr: str) -> set[str]:
    """The names of its series."""
    return {re.split(r"\{", each)[0] for each in selectors(expr)}


def play(tests: list[dict[str, Any]], folder: Path, alert: str) -> str:
    """What promtool says against them; nothing when all is as expected."""
    (folder / "rules.yaml").write_text(yaml.safe_dump(rules_of(alert)))
    path = folder / "tests.yaml"
    path.write_text(yaml.safe_dump({"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": tests}))
    done = subprocess.run(
        [tool("promtool"), "test", "rules", path], capture_output=True, text=True, timeout=110, check=False
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_every_alert_has_its_pair() -> None:
    assert set(PAIRS) == set(ALERTS)


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_fires(alert: str, tmp_path: Path) -> None:
    for what, case in PAIRS[alert].firing().items():
        said = [scenario(case.series, case.minute, alert, [expected(alert, case)])]
        assert play(said, tmp_path, alert) == "", what


@pytest.mark.parametrize("alert", sorted(set(ALERTS) - {WATCHDOG}))
def test_an_alert_stays_silent(alert: str, tmp_path: Path) -> None:
    pair = PAIRS[alert]
    for why, series in pair.staying_silent().items():
        assert play([scenario(series, pair.silent_minute, alert, [])], tmp_path, alert) == "", why


def test_the_watchdog_is_never_silent(tmp_path: Path) -> None:
    """Its second case is the opposite of all others': with no series at all, at any time."""
    said = [scenario({}, minute, WATCHDOG, [expected(WATCHDOG, Case({}))]) for minute in (0, 1, 100)]
    assert play(said, tmp_path, WATCHDOG) == ""


def test_a_case_that_is_wrong_is_told(tmp_path: Path) -> None:
    """The check itself."""
    case = PAIRS["Shedding"].fires
    assert "Shedding" in play([scenario(case.series, case.minute, "Shedding", [])], tmp_path, "Shedding")
    assert "Shedding" in play(
        [scenario({}, case.minute, "Shedding", [expected("Shedding", case)])], tmp_path, "Shedding"
    )


def test_an_alert_goes_on_for_a_while_where_its_cause_flaps(tmp_path: Path) -> None:
    """CacheDown: Redis comes and goes; the alert is there five minutes after, fifteen not."""
    case = PAIRS["CacheDown"].fires
    series = {**case.series, next(iter(case.series)): "1x100 0x40 1x40"}
    still = scenario(series, 146, "CacheDown", [expected("CacheDown", case)])
    assert play([still, scenario(series, 156, "CacheDown", [])], tmp_path, "CacheDown") == ""


def test_a_service_that_is_gone_is_down(tmp_path: Path) -> None:
    """No target is left to be scraped: the series ends."""
    case = PAIRS["ServingDown"].fires
    series = {next(iter(case.series)): "1x150 stale"}
    assert play([scenario(series, 170, "ServingDown", [expected("ServingDown", case)])], tmp_path, "ServingDown") == ""
