"""The rule files, as Prometheus reads them."""

from __future__ import annotations

from typing import Any

from monitoring import alerts, recording, slo
from monitoring.alert import Alert, Rule

LONG_INTERVAL = "2m"
"""Of the rules over days: what they say hardly changes in 30 seconds, and working it out costs most."""
LONG_WINDOWS = ("6h", "3d", "30d")


def rule_files() -> dict[str, dict[str, Any]]:
    """File name to document."""
    quick = [rule for rule in slo.recording() if not _long(rule)]
    slow = [rule for rule in slo.recording() if _long(rule)]
    groups = [_group("modelyard-slo", quick), _group("modelyard-slo-long", slow, interval=LONG_INTERVAL)]
    return {
        "recording.yaml": {"groups": [_group(name, rules) for name, rules in recording.recording().items()]},
        "slo.yaml": {"groups": [*groups, _group("modelyard-slo-alerts", slo.alerts())]},
        "alerts.yaml": {"groups": [_group(name, each) for name, each in alerts.alerts().items()]},
    }


def all_alerts() -> list[Alert]:
    """Every alert that there is."""
    return [*slo.alerts(), *[alert for group in alerts.alerts().values() for alert in group]]


def _long(rule: Rule) -> bool:
    return rule.record.endswith(LONG_WINDOWS)


def _group(name: str, rules: list[Rule] | list[Alert], **more: str) -> dict[str, Any]:
    return {"name": name, **more, "rules": [rule.document() for rule in rules]}
