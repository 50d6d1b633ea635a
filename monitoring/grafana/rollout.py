"""Rollout: a candidate beside what stands. Both are told by service and version."""

from __future__ import annotations

from monitoring.candidate import DIRECT
from monitoring.grafana.board import Board
from monitoring.grafana.panels import Panel, stat_of
from monitoring.grafana.selectors import INTERVAL, MODEL, VERSION, most, quantile, rate, share
from monitoring.slo import BAD, COUNTED

WHO = "service, model, version"
LEGEND = "{{service}} {{model}} {{version}}"
ASKED = f"{VERSION}, {DIRECT}"
TOTAL = f"sum by (model) (rate(modelyard_requests_total{{{MODEL}, {DIRECT}}}[{INTERVAL}]))"

BOARD = Board(
    "rollout",
    "Rollout",
    "Candidate against stable, by service and version: errors, latency, shift, share of the traffic. A candidate is on "
    "the service of a canary, or is not the default. Requests of ensembles to their members do not count here.",
    {
        "Now": (
            stat_of(
                "Loaded",
                "Servers that have a version loaded.",
                "short",
                f"sum by ({WHO}) (modelyard_model_info{{{VERSION}}}) > 0",
                LEGEND,
                width=12,
            ),
            stat_of(
                "Default",
                "1 where a version answers callers who name none.",
                "short",
                most("model_default", WHO, VERSION),
                LEGEND,
                width=12,
            ),
        ),
        "Candidate against stable": (
            Panel(
                "Share of the traffic",
                "Of a model's requests, those that each version got.",
                "percentunit",
                ((f"{rate('requests_total', WHO, ASKED)} / on (model) group_left () ({TOTAL} > 0)", LEGEND),),
                high=1.0,
            ),
            Panel(
                "Failures",
                "Share of the requests of each version that failed, timed out or were refused.",
                "percentunit",
                ((share("requests_total", WHO, f"{ASKED}, {BAD}", f"{ASKED}, {COUNTED}"), LEGEND),),
            ),
            Panel(
                "99th percentile",
                "Of 100 requests to a version 99 are answered within this.",
                "s",
                ((quantile(0.99, "request_duration_seconds", WHO, ASKED), LEGEND),),
            ),
            Panel(
                "Median",
                "Half of the requests to a version are answered within this.",
                "s",
                ((quantile(0.5, "request_duration_seconds", WHO, ASKED), LEGEND),),
            ),
            Panel(
                "What CanaryWorse compares",
                "Failures of a version over ten minutes, and those of all others of its model. It speaks of candidates "
                "alone, and where both have 100 requests.",
                "percentunit",
                (
                    (f"modelyard:version_errors:ratio_increase10m{{{VERSION}}}", f"{LEGEND} own"),
                    (f"modelyard:other_versions_errors:ratio_increase10m{{{VERSION}}}", f"{LEGEND} others"),
                ),
            ),
            Panel(
                "What CanarySlower compares",
                "99th percentile of a version over ten minutes, and that of all others of its model. It speaks of "
                "candidates alone, and where both have 300 requests.",
                "s",
                (
                    (f"modelyard:version_duration_seconds:p99_rate10m{{{VERSION}}}", f"{LEGEND} own"),
                    (f"modelyard:other_versions_duration_seconds:p99_rate10m{{{VERSION}}}", f"{LEGEND} others"),
                ),
            ),
            Panel(
                "Requests",
                "Requests a second to each version.",
                "reqps",
                ((rate("requests_total", WHO, ASKED), LEGEND),),
            ),
        ),
        "Inputs and answers": (
            Panel(
                "Shift of inputs",
                "The largest population stability index over the features of a version.",
                "short",
                ((f"max by ({WHO}) (modelyard:feature_psi:1h{{{VERSION}}})", LEGEND),),
            ),
            Panel(
                "Shift of answers",
                "Population stability index over the classes that a version predicts.",
                "short",
                ((f"modelyard:prediction_psi:1h{{{VERSION}}}", LEGEND),),
            ),
        ),
        "Changes": (
            Panel(
                "Changes of the default",
                "Promotions and rollbacks that running servers followed.",
                "short",
                ((f"sum by (service, model) (modelyard_model_swaps_total{{{MODEL}}})", "{{service}} {{model}}"),),
            ),
            Panel(
                "Versions refused",
                "Versions that were not loaded, since the servers started.",
                "short",
                (
                    (
                        f"sum by (service, model) (modelyard_model_load_failures_total{{{MODEL}}})",
                        "{{service}} {{model}}",
                    ),
                ),
            ),
        ),
    },
)
