"""Service overview: is it up, does it answer, how fast, how full."""

from __future__ import annotations

from monitoring.grafana.board import Board
from monitoring.grafana.panels import Panel, stat_of
from monitoring.grafana.selectors import INTERVAL, MODEL, SERVICE, VERSION, level, most, quantile, rate, share
from monitoring.slo import BAD, COUNTED

AVAILABLE = (
    f"1 - sum(increase(modelyard_requests_total{{{VERSION}, {BAD}}}[$__range]))"
    f" / (sum(increase(modelyard_requests_total{{{VERSION}, {COUNTED}}}[$__range])) > 0)"
)
ALERTS = f'count(ALERTS{{alertstate="firing", severity=~"page|ticket", {SERVICE}}}) or vector(0)'

BOARD = Board(
    "overview",
    "Service overview",
    "Availability, load, latency and saturation of every service and model.",
    {
        "Now": (
            stat_of(
                "Availability",
                "Share of the requests in the chosen time that were answered; refusals under load count "
                "against it, mistakes of callers do not.",
                "percentunit",
                AVAILABLE,
                warn_below=0.999,
            ),
            stat_of(
                "Requests",
                "Requests a second, of all outcomes.",
                "reqps",
                f"sum({rate('requests_total', 'job', VERSION)})",
            ),
            stat_of(
                "99th percentile",
                "Of 100 requests 99 are answered within this.",
                "s",
                quantile(0.99, "request_duration_seconds", "job", VERSION),
            ),
            stat_of(
                "Servers",
                "Processes that answer Prometheus.",
                "short",
                f'sum(up{{job="modelyard", {SERVICE}}})',
                warn_below=1,
            ),
            stat_of(
                "Budget left",
                "Of the 30 days' error budget, the least over objectives and models.",
                "percentunit",
                f"min(1 - modelyard:slo_burn:rate30d{{{MODEL}}})",
                warn_below=0.1,
            ),
            stat_of("Alerts", "Pages and tickets that fire now.", "short", ALERTS, warn_above=1),
        ),
        "Traffic": (
            Panel(
                "Requests by outcome",
                "What became of requests. client_error is the caller's, shed a refusal under load, "
                "timeout a deadline that passed.",
                "reqps",
                ((rate("requests_total", "outcome", VERSION), "{{outcome}}"),),
                stacked=True,
            ),
            Panel(
                "Availability",
                "Share of requests answered, beside what model.yaml promises.",
                "percentunit",
                (
                    (
                        "1 - "
                        f"{share('requests_total', 'service, model', f'{VERSION}, {BAD}', f'{VERSION}, {COUNTED}')}",
                        "{{model}}",
                    ),
                    (
                        most("slo_objective_ratio", "model", f'{MODEL}, objective="availability"'),
                        "{{model}} promised",
                    ),
                ),
                high=1.0,
            ),
            Panel(
                "Requests by protocol",
                "Over which way requests came: http and grpc are the inference protocol, api the typed "
                "API, ensemble another model.",
                "reqps",
                ((rate("requests_total", "protocol", VERSION), "{{protocol}}"),),
                stacked=True,
            ),
            Panel(
                "Requests by model",
                "Which model is asked on which service.",
                "reqps",
                ((rate("requests_total", "service, model", VERSION), "{{service}} {{model}}"),),
            ),
        ),
        "Latency": (
            Panel(
                "Latency",
                "From decoded to answered: the median, the slowest in 20 and in 100, and what is promised.",
                "s",
                (
                    *[
                        (quantile(q, "request_duration_seconds", "model", VERSION), f"{{{{model}}}} p{q * 100:.0f}")
                        for q in (0.5, 0.95, 0.99)
                    ],
                    (most("slo_latency_threshold_seconds", "model"), "{{model}} promised"),
                ),
            ),
            Panel(
                "Latency, how it is spread",
                "Requests in each bucket of the histogram: a second band shows a second kind of request.",
                "s",
                (
                    (
                        f"sum by (le) (increase(modelyard_request_duration_seconds_bucket{{{VERSION}}}[{INTERVAL}]))",
                        "{{le}}",
                    ),
                ),
                kind="heatmap",
                low=None,
            ),
        ),
        "Saturation": (
            Panel(
                "In flight",
                "Requests that are being answered at the moment, over all workers.",
                "short",
                ((level("in_flight_requests", "model"), "{{model}}"),),
            ),
            Panel(
                "Queue",
                "Rows that wait for the model at the moment, over all workers.",
                "short",
                ((level("queue_rows", "model"), "{{model}}"),),
            ),
            Panel(
                "Refused",
                "Requests refused to protect the others: the queue was full, the wait would have passed the "
                "deadline, or a caller had used up its quota.",
                "reqps",
                ((rate("shed_total", "model, reason"), "{{model}} {{reason}}"),),
                stacked=True,
            ),
            Panel(
                "Not ready",
                "Servers of which the default version cannot run, by version.",
                "short",
                (
                    (
                        f"count by (model, version) (modelyard_model_ready{{{VERSION}}})"
                        f" - sum by (model, version) (modelyard_model_ready{{{VERSION}}})",
                        "{{model}} {{version}}",
                    ),
                ),
            ),
        ),
    },
)
