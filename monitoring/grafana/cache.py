"""Cache: what it saves, what it costs, whether Redis is there."""

from __future__ import annotations

from monitoring.grafana.board import Board
from monitoring.grafana.panels import Panel, stat_of
from monitoring.grafana.selectors import INTERVAL, MODEL, SERVICE, level, mean, most, quantile, rate, share
from monitoring.recording import HIT, LOOKED_UP

RATIO = share("cache_rows_total", "service, model", f"{MODEL}, {HIT}", f"{MODEL}, {LOOKED_UP}")
HITS = rate("cache_rows_total", "service, model", f"{MODEL}, {HIT}")

BOARD = Board(
    "cache",
    "Cache",
    "Hit ratio, joins, cost of operations, errors, and the work that was saved.",
    {
        "Now": (
            stat_of(
                "Hit ratio",
                "Of the rows that were looked up in the chosen time, those that cost no run of the model.",
                "percentunit",
                f"sum(increase(modelyard_cache_rows_total{{{MODEL}, {HIT}}}[$__range]))"
                f" / (sum(increase(modelyard_cache_rows_total{{{MODEL}, {LOOKED_UP}}}[$__range])) > 0)",
                width=6,
            ),
            stat_of(
                "Redis in use",
                "Workers of all: 1 where every one of a service uses Redis. 0 as well where none is set.",
                "short",
                f"min by (service) (modelyard_cache_up{{{SERVICE}}})",
                "{{service}}",
                width=6,
            ),
            stat_of(
                "Rows saved",
                "Rows in the chosen time that the model did not have to compute.",
                "short",
                f"sum(increase(modelyard_cache_rows_total{{{MODEL}, {HIT}}}[$__range]))",
                width=6,
            ),
            stat_of(
                "Memory tier",
                "Size of the entries in the processes.",
                "bytes",
                f"sum(modelyard_cache_bytes{{{SERVICE}}})",
                width=6,
            ),
        ),
        "What it saves": (
            Panel(
                "Hit ratio",
                "Share of the rows looked up that were known, or were being computed already.",
                "percentunit",
                ((RATIO, "{{service}} {{model}}"),),
                high=1.0,
            ),
            Panel(
                "Rows by result",
                "What the cache said of each row. bypass: not asked, because that would not pay or the caller "
                "wished so.",
                "rowsps",
                ((rate("cache_rows_total", "result"), "{{result}}"),),
                stacked=True,
            ),
            Panel(
                "Rows saved",
                "Rows a second that cost no run of the model, by where they were found.",
                "rowsps",
                ((rate("cache_rows_total", "result", f"{MODEL}, {HIT}"), "{{result}}"),),
                stacked=True,
            ),
            Panel(
                "Joins",
                "Rows a second that waited for an identical row in flight.",
                "rowsps",
                ((rate("cache_rows_total", "model", f'{MODEL}, result="join"'), "{{model}}"),),
            ),
            Panel(
                "Computing time saved",
                "Seconds of the model a second that hits made unnecessary: rows saved times what a row costs.",
                "s",
                (
                    (
                        f"{HITS} * on (service, model) {most('cache_row_cost_seconds', 'service, model')}",
                        "{{service}} {{model}}",
                    ),
                ),
            ),
            Panel(
                "Tiers in use",
                "1 while a tier is asked, 0 while it is left out because look-ups cost more than they save.",
                "short",
                ((f"min by (model, tier) (modelyard_cache_admitted{{{MODEL}}})", "{{model}} {{tier}}"),),
                high=1.0,
            ),
        ),
        "What it costs": (
            Panel(
                "Operations, mean",
                "Time of one operation on Redis.",
                "s",
                ((mean("cache_operation_duration_seconds", "tier, op", SERVICE), "{{tier}} {{op}}"),),
            ),
            Panel(
                "Operations, the slowest in 100",
                "99th percentile of the time of one operation.",
                "s",
                ((quantile(0.99, "cache_operation_duration_seconds", "tier, op", SERVICE), "{{tier}} {{op}}"),),
            ),
            Panel(
                "A look-up beside a row",
                "What looking up and filling a row costs, and what computing it costs, as measured.",
                "s",
                (
                    (most("cache_lookup_cost_seconds", "model, tier"), "{{model}} look-up {{tier}}"),
                    (most("cache_row_cost_seconds", "model"), "{{model}} row"),
                ),
            ),
            Panel(
                "Memory tier",
                "Size of the entries held by each service.",
                "bytes",
                ((level("cache_bytes", "service", SERVICE), "{{service}}"),),
            ),
        ),
        "What goes wrong": (
            Panel(
                "Errors",
                "Operations on the cache that failed. None of them fails a request.",
                "ops",
                ((rate("cache_errors_total", "tier, op, reason", SERVICE), "{{tier}} {{op}} {{reason}}"),),
            ),
            Panel(
                "Redis in use",
                "1 while every worker of a service uses Redis.",
                "short",
                ((f"min by (service) (modelyard_cache_up{{{SERVICE}}})", "{{service}}"),),
                high=1.0,
            ),
            Panel(
                "Spoilt entries",
                "Rows found whose content did not match their key: they are computed anew.",
                "rowsps",
                ((rate("cache_rows_total", "model", f'{MODEL}, result="corrupt"'), "{{model}}"),),
            ),
            Panel(
                "Pushed out",
                "Entries a second that the memory tier dropped for want of room.",
                "ops",
                (
                    (
                        f"sum by (service) (rate(modelyard_cache_evictions_total{{{SERVICE}}}[{INTERVAL}]))",
                        "{{service}}",
                    ),
                ),
            ),
        ),
    },
)
