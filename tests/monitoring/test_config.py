"""What Prometheus and Alertmanager are given is read by their own tools; alerts arrive where they should."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from monitoring.queries import FOLDER, RULES, rule_documents
from tests.tools.prometheus import tool

ALERTMANAGER = FOLDER / "prometheus" / "alertmanager.yaml"
RECEIVERS = {"page": "pages", "ticket": "tickets", "none": "watchdog"}


def run(*command: str | Path) -> str:
    """What a tool prints; a failure of it fails the test."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def test_promtool_takes_the_rules() -> None:
    run(tool("promtool"), "check", "rules", "--lint=all", "--lint-fatal", *sorted(RULES.glob("*.yaml")))


def test_promtool_takes_the_configuration() -> None:
    run(tool("promtool"), "check", "config", FOLDER / "prometheus" / "prometheus.yaml")


def test_no_series_is_recorded_twice() -> None:
    recorded = [rule["record"] for rule in rule_documents() if "record" in rule]
    named = {
        f"{rule['record']}{sorted(rule.get('labels', {}).items())}" for rule in rule_documents() if "record" in rule
    }
    assert len(named) == len(recorded), "two rules record the same series"


def test_amtool_takes_the_configuration() -> None:
    assert "SUCCESS" in run(tool("amtool"), "check-config", ALERTMANAGER)


@pytest.mark.parametrize("rule", [r for r in rule_documents() if "alert" in r], ids=lambda rule: str(rule["alert"]))
def test_an_alert_arrives(rule: dict[str, dict[str, str]]) -> None:
    labels = [
        f"alertname={rule['alert']}",
        f"severity={rule['labels']['severity']}",
        "namespace=shop",
        "service=digits",
    ]
    reached = run(tool("amtool"), "config", "routes", "test", f"--config.file={ALERTMANAGER}", *labels)
    assert reached == RECEIVERS[rule["labels"]["severity"]]


def test_grafana_and_prometheus_agree_on_the_interval() -> None:
    """The rate interval of the dashboards is made of the data source's."""
    source = yaml.safe_load((FOLDER / "grafana" / "provisioning" / "datasources" / "prometheus.yaml").read_text())
    scraped = yaml.safe_load((FOLDER / "prometheus" / "prometheus.yaml").read_text())["global"]["scrape_interval"]
    assert source["datasources"][0]["jsonData"]["timeInterval"] == scraped
