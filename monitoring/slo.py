"""Service levels: one table of windows, one of objectives; the recording rules and burn-rate alerts come from them.

What a model promises stands in its model.yaml and reaches the rules as gauges (slo_objective_ratio,
slo_latency_threshold_seconds), so a model that is added or changed needs no change here. A burn rate of 1 uses up the
budget in exactly 30 days; pages and tickets follow the multi-window table of Google's SRE workbook, chapter 5.
"""

from __future__ import annotations

from dataclasses import dataclass

from monitoring.alert import Alert, Rule

MODEL = "namespace, service, model"
BUDGET_WINDOW = "30d"
LEAST_REQUESTS = 300
"""In the longer window, below which no share is trusted: with fewer, two failures would be a page."""
BAD = 'outcome=~"error|timeout|shed"'
"""A refusal under load is a failure for the one who is refused."""
COUNTED = 'outcome!~"client_error|cancelled"'
"""What the caller did wrong or called off says nothing about the service."""


@dataclass(frozen=True)
class Burn:
    """An alert when both windows burn faster than `factor`; the short one ends it soon after the trouble."""

    name: str
    long: str
    short: str
    factor: float
    hold: str
    severity: str
    share: str
    """Of the budget of 30 days, used up when it fires."""


@dataclass(frozen=True)
class Objective:
    """A promise: its name in `objectives` of model.yaml, and what breaking it means."""

    name: str
    alert: str
    meaning: str


BURNS = (
    Burn("BurnFast", "1h", "5m", 14.4, "2m", "page", "2 %"),
    Burn("BurnSlow", "6h", "30m", 6, "15m", "page", "5 %"),
    Burn("BurnLong", "3d", "6h", 1, "1h", "ticket", "10 %"),
)
OBJECTIVES = (
    Objective("availability", "Availability", "requests fail, time out or are refused under load"),
    Objective("latency", "Latency", "answers take longer than objectives.latency_seconds of model.yaml"),
)
WINDOWS = (*dict.fromkeys(window for burn in BURNS for window in (burn.short, burn.long)), BUDGET_WINDOW)

THRESHOLD_EDGE = (
    'label_replace(count_values by (namespace, service, model) ("le", '
    f"max by ({MODEL}) (modelyard_slo_latency_threshold_seconds)), "
    '"le", "$1.0", "le", "([0-9]+)")'
)
"""1 for each model, with its threshold as the label `le` in the client library's writing (1 is 1.0)."""


def _bad_share(objective: str, window: str) -> str:
    if objective == "availability":
        bad = f"sum by ({MODEL}) (rate(modelyard_requests_total{{{BAD}}}[{window}]))"
        return f"{bad} / (sum by ({MODEL}) (rate(modelyard_requests_total{{{COUNTED}}}[{window}])) > 0)"
    buckets = f"sum by ({MODEL}, le) (rate(modelyard_request_duration_seconds_bucket[{window}]))"
    in_time = f"sum by ({MODEL}) ({buckets} * on ({MODEL}, le) {THRESHOLD_EDGE})"
    return f"1 - {in_time} / (sum by ({MODEL}) (rate(modelyard_request_duration_seconds_count[{window}])) > 0)"


def recording() -> list[Rule]:
    """For every window: requests that count, and per objective the share of bad ones and how fast the budget burns."""
    rules = []
    for window in WINDOWS:
        counted = f"sum by ({MODEL}) (increase(modelyard_requests_total{{{COUNTED}}}[{window}]))"
        rules.append(Rule(f"modelyard:slo_requests:increase{window}", counted))
        for objective in OBJECTIVES:
            labels = {"objective": objective.name}
            ratio = f"modelyard:slo_errors:ratio_rate{window}"
            promise = f"max by ({MODEL}, objective) (modelyard_slo_objective_ratio)"
            rules.append(Rule(ratio, _bad_share(objective.name, window), labels))
            burn = f'{ratio}{{objective="{objective.name}"}} / on ({MODEL}, objective) (1 - {promise})'
            rules.append(Rule(f"modelyard:slo_burn:rate{window}", burn, labels))
    return rules


def alerts() -> list[Alert]:
    """The burn-rate alerts of every objective."""
    return [_alert(objective, burn) for objective in OBJECTIVES for burn in BURNS]


def _alert(objective: Objective, burn: Burn) -> Alert:
    chosen = f'{{objective="{objective.name}"}}'
    return Alert(
        name=objective.alert + burn.name,
        expr=f"modelyard:slo_burn:rate{burn.long}{chosen} > {burn.factor:g}"
        f" and modelyard:slo_burn:rate{burn.short}{chosen} > {burn.factor:g}"
        f" and on ({MODEL}) modelyard:slo_requests:increase{burn.long} >= {LEAST_REQUESTS}",
        hold=burn.hold,
        severity=burn.severity,
        summary=f"{{{{ $labels.model }}}}: the {objective.name} budget burns {burn.factor:g} times too fast",
        description=f"Over {burn.long} and over {burn.short}, {objective.meaning}, at {{{{ $value | humanize }}}} "
        f"times the rate that {{{{ $labels.model }}}} on {{{{ $labels.service }}}} can afford. After {burn.long} "
        f"of this, {burn.share} of the budget of 30 days is gone.",
        dashboard="modelyard-slo",
    )
