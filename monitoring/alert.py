"""A recording rule and an alert, and the form in which Prometheus reads them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from monitoring import links

DASHBOARD_VARIABLES = ("namespace", "service", "model", "version")


@dataclass(frozen=True)
class Rule:
    """A series that Prometheus works out ahead of time. Names are `modelyard:what:how`."""

    record: str
    expr: str
    labels: dict[str, str] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """As an entry of a rule file."""
        return {"record": self.record, "expr": self.expr} | ({"labels": self.labels} if self.labels else {})


@dataclass(frozen=True)
class Alert:
    """What wakes somebody up (`page`), waits for the morning (`ticket`), or is always there (`none`)."""

    name: str
    expr: str
    severity: str
    summary: str
    description: str
    dashboard: str
    hold: str = ""
    """For how long the expression must hold."""
    keep: str = ""
    """For how long the alert goes on after that, so that a flapping cause is one alert."""
    carries: tuple[str, ...] = ("namespace", "service", "model")
    """Labels of the dashboard's variables that the expression keeps."""

    def document(self) -> dict[str, Any]:
        """As an entry of a rule file."""
        timing = {"for": self.hold, "keep_firing_for": self.keep}
        return {
            "alert": self.name,
            "expr": self.expr,
            **{key: value for key, value in timing.items() if value},
            "labels": {"severity": self.severity},
            "annotations": {
                "summary": self.summary,
                "description": self.description,
                "runbook_url": f"{links.RUNBOOK}#{self.name.lower()}",
                "dashboard_url": self._dashboard_url(),
            },
        }

    def _dashboard_url(self) -> str:
        chosen = "&".join(f"var-{name}={{{{ $labels.{name} }}}}" for name in self.carries)
        return f"{links.GRAFANA}/d/{self.dashboard}" + (f"?{chosen}" if chosen else "")
