"""Recording rules beside those of the service levels (slo.py) and of versions (candidate.py): latency, cache, drift.

All are summed over workers and pods. `increase` and `rate` come before `sum`, so that a restart is not seen as a drop.
"""

from __future__ import annotations

from monitoring import candidate
from monitoring.alert import Rule
from monitoring.slo import MODEL

FEATURE = "namespace, service, model, version, feature"
PREDICTION = "namespace, service, model, version"
LEAST_SHARE = 1e-4
"""An empty bin counts as this share, or the index would be infinite."""
HIT = 'result=~"hit_memory|hit_redis|join"'
LOOKED_UP = 'result!="bypass"'


def recording() -> dict[str, list[Rule]]:
    """Group to rules."""
    return {
        "modelyard-requests": [*_latency(), *_shares()],
        "modelyard-cache": _cache(),
        "modelyard-versions": candidate.recording(),
        "modelyard-drift": [*_psi("feature", FEATURE, "bin"), *_psi("prediction", PREDICTION, "class")],
    }


def _latency() -> list[Rule]:
    request = f"sum by ({MODEL}, le) (rate(modelyard_request_duration_seconds_bucket[5m]))"
    queue = f'sum by ({MODEL}, le) (rate(modelyard_stage_duration_seconds_bucket{{stage="queue"}}[5m]))'
    return [
        Rule("modelyard:request_duration_seconds:p99_rate5m", f"histogram_quantile(0.99, {request})"),
        Rule("modelyard:queue_duration_seconds:p95_rate5m", f"histogram_quantile(0.95, {queue})"),
    ]


def _shares() -> list[Rule]:
    shed = f'sum by ({MODEL}) (rate(modelyard_shed_total{{reason=~"queue_full|deadline"}}[5m]))'
    invalid = f"sum by ({MODEL}) (rate(modelyard_input_invalid_total[15m]))"
    return [
        Rule("modelyard:requests:increase5m", f"sum by ({MODEL}) (increase(modelyard_requests_total[5m]))"),
        Rule("modelyard:requests:increase15m", f"sum by ({MODEL}) (increase(modelyard_requests_total[15m]))"),
        Rule("modelyard:shed:ratio_rate5m", f"{shed} / ({_requests('5m')} > 0)"),
        Rule("modelyard:input_invalid:ratio_rate15m", f"{invalid} / ({_requests('15m')} > 0)"),
    ]


def _requests(window: str) -> str:
    return f"sum by ({MODEL}) (rate(modelyard_requests_total[{window}]))"


def _cache() -> list[Rule]:
    looked_up = f"sum by ({MODEL}) (increase(modelyard_cache_rows_total{{{LOOKED_UP}}}[15m]))"
    return [
        Rule("modelyard:cache_lookups:increase15m", looked_up),
        *[Rule(f"modelyard:cache_hits:ratio_rate{window}", hit_ratio(MODEL, window)) for window in ("15m", "1d")],
    ]


def hit_ratio(by: str, window: str, chosen: str = "") -> str:
    """Rows that cost no run of the model, of those that were looked up."""
    more = f", {chosen}" if chosen else ""
    hits = f"sum by ({by}) (rate(modelyard_cache_rows_total{{{HIT}{more}}}[{window}]))"
    return f"{hits} / (sum by ({by}) (rate(modelyard_cache_rows_total{{{LOOKED_UP}{more}}}[{window}])) > 0)"


def _psi(what: str, by: str, part: str) -> list[Rule]:
    """The population stability index of the last hour against the reference: sum of (p - q) ln(p / q)."""
    counted = f"increase(modelyard_{what}_observations_total[1h])"
    share, reference = f"modelyard:{what}_share:1h", f"modelyard:{what}_reference:max"
    total = f"modelyard:{what}_observations:1h"
    now, then = (f"clamp_min({series}, {LEAST_SHARE})" for series in (share, reference))
    match = f"on ({by}, {part})"
    return [
        Rule(total, f"sum by ({by}) ({counted})"),
        Rule(share, f"sum by ({by}, {part}) ({counted}) / on ({by}) group_left () ({total} > 0)"),
        Rule(reference, f"max by ({by}, {part}) (modelyard_{what}_reference_ratio)"),
        Rule(
            f"modelyard:{what}_psi:1h", f"sum by ({by}) (({now} - {match} {then}) * {match} ln({now} / {match} {then}))"
        ),
    ]
