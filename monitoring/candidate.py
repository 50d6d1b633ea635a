"""A candidate beside the others of its model: what is recorded of every version, and the two alerts that compare.

A candidate is what a roll-out tries out: whatever runs on the service of a canary (deploy/k8s/components/canary calls
it `<label>-canary`), and a version that is not the default of its service. The size of its share says nothing:
canary.sh raises it step by step. Two services that serve the same model beside each other have no candidate.
"""

from __future__ import annotations

from monitoring.alert import Alert, Rule
from monitoring.slo import BAD, COUNTED

VERSION = "namespace, service, model, version"
"""A candidate is another version, another service, or both; it is compared with all others of its model."""
DIRECT = 'protocol!="ensemble"'
"""What an ensemble asks of its members has other callers and another load than what comes from outside."""
WINDOW = "10m"
DEFAULTS = f'max by ({VERSION}) (max_over_time(modelyard_model_default{{service!~".*-canary"}}[{WINDOW}])) > 0'
"""Those that are no candidate. Over the window of what is compared: a version that was the default until a moment ago
is not the candidate of the one that has just replaced it."""
SLOWER = 1.5
"""As `--max-p99` of the roll-out's scripts."""
LEAST = 100
"""Requests in the window, of the candidate and of the others."""
LEAST_FOR_P99 = 300
"""Three requests above the percentile: with fewer, one slow answer decides."""
OWN, OTHERS = "modelyard:version", "modelyard:other_versions"


def recording() -> list[Rule]:
    """Requests, failures and latency of each version, and of all others of its model."""
    rules = [
        Rule(
            f"{OWN}_{what}:increase{WINDOW}",
            f"sum by ({VERSION}) (increase(modelyard_requests_total{{{which}, {DIRECT}}}[{WINDOW}]))",
        )
        for what, which in (("requests", COUNTED), ("failures", BAD))
    ]
    for what in ("requests", "failures"):
        own = f"{OWN}_{what}:increase{WINDOW}"
        others = f"sum by (namespace, model) ({own}) - on (namespace, model) group_right () {own}"
        rules.append(Rule(f"{OTHERS}_{what}:increase{WINDOW}", others))
    for which in (OWN, OTHERS):
        failures, requests = (f"{which}_{what}:increase{WINDOW}" for what in ("failures", "requests"))
        rules.append(Rule(f"{which}_errors:ratio_increase{WINDOW}", f"{failures} / ({requests} > 0)"))
    return [*rules, *_latency()]


def _latency() -> list[Rule]:
    own = f"{OWN}_duration_seconds_bucket:rate{WINDOW}"
    others = f"sum by (namespace, model, le) ({own}) - on (namespace, model, le) group_right () {own}"
    buckets = f"rate(modelyard_request_duration_seconds_bucket{{{DIRECT}}}[{WINDOW}])"
    return [
        Rule(own, f"sum by ({VERSION}, le) ({buckets})"),
        Rule(f"{OWN}_duration_seconds:p99_rate{WINDOW}", f"histogram_quantile(0.99, {own})"),
        Rule(f"{OTHERS}_duration_seconds:p99_rate{WINDOW}", f"histogram_quantile(0.99, {others})"),
    ]


def alerts() -> list[Alert]:
    """What is worse than the rest of its model."""
    who = "{{ $labels.model }}: the candidate on {{ $labels.service }}, version {{ $labels.version }}, "
    which = "the candidate, version {{ $labels.version }} on {{ $labels.service }},"
    return [
        Alert(
            name="CanaryWorse",
            expr=f"{OWN}_errors:ratio_increase{WINDOW} > 2 * {OTHERS}_errors:ratio_increase{WINDOW} + 0.01"
            f"{_a_candidate(LEAST)}",
            hold="2m",
            severity="page",
            summary=f"{who}fails more often",
            description=f"{{{{ $value | humanizePercentage }}}} of the requests to {which} fail: more than twice the "
            f"share of the others of {{{{ $labels.model }}}}, and one in a hundred more.",
            dashboard="modelyard-rollout",
            carries=("namespace", "model"),
        ),
        Alert(
            name="CanarySlower",
            expr=f"{OWN}_duration_seconds:p99_rate{WINDOW} > {SLOWER} * {OTHERS}_duration_seconds:p99_rate{WINDOW}"
            f" + 0.005{_a_candidate(LEAST_FOR_P99)}",
            hold="5m",
            severity="ticket",
            summary=f"{who}is slower",
            description=f"One request in a hundred to {which} takes {{{{ $value | humanizeDuration }}}} or more: over "
            f"{SLOWER} times as long as by the others of {{{{ $labels.model }}}}, and 5 ms more.",
            dashboard="modelyard-rollout",
            carries=("namespace", "model"),
        ),
    ]


def _a_candidate(least: int) -> str:
    """Where there are so many requests on both sides, and the version is no default."""
    enough = "".join(f" and on ({VERSION}) {which}_requests:increase{WINDOW} >= {least}" for which in (OWN, OTHERS))
    return f"{enough} unless on ({VERSION}) ({DEFAULTS})"
