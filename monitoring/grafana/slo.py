"""Service levels: what is promised, what is left of the budget, how fast it burns."""

from __future__ import annotations

from monitoring.grafana.board import Board
from monitoring.grafana.panels import Panel, stat_of
from monitoring.grafana.selectors import MODEL, SERVICE, VERSION, most, rate
from monitoring.slo import BAD, BUDGET_WINDOW, BURNS, OBJECTIVES, WINDOWS

WHO = "{{service}} {{model}}"
FIRING = 'alertstate="firing", severity=~"page|ticket"'
LEFT = f"1 - modelyard:slo_burn:rate{BUDGET_WINDOW}{{{MODEL}}}"


def _burn(objective: str) -> Panel:
    chosen = f'{MODEL}, objective="{objective}"'
    lines = [(f"modelyard:slo_burn:rate{window}{{{chosen}}}", f"{WHO} {window}") for window in WINDOWS[:-1]]
    limits = ", ".join(f"{burn.factor:g} over {burn.long} and {burn.short}" for burn in BURNS)
    return Panel(
        f"Burn of {objective}",
        f"How many times faster than affordable the budget is used, by window. Alerts: {limits}.",
        "short",
        tuple(lines),
    )


BOARD = Board(
    "slo",
    "SLO",
    "Error budgets of 30 days, by objective and model. Objectives come from model.yaml.",
    {
        "Promised": (
            stat_of(
                "Objectives",
                "Share of requests that model.yaml promises: answered, and answered in time.",
                "percentunit",
                most("slo_objective_ratio", "model, objective"),
                "{{model}} {{objective}}",
                width=8,
            ),
            stat_of(
                "In time means",
                "objectives.latency_seconds of model.yaml.",
                "s",
                most("slo_latency_threshold_seconds", "model"),
                "{{model}}",
                width=8,
            ),
            stat_of(
                "Budget left",
                "Of what may go wrong in 30 days; below 0 the promise is broken.",
                "percentunit",
                LEFT,
                "{{model}} {{objective}}",
                width=8,
                warn_below=0.1,
            ),
        ),
        "Budget": (
            Panel(
                "Budget left",
                "Over the last 30 days, or as long as there are data.",
                "percentunit",
                ((LEFT, f"{WHO} {{{{objective}}}}"),),
                low=None,
                high=1.0,
            ),
            Panel(
                "Bad requests",
                "What uses the budget of availability, by outcome.",
                "reqps",
                ((rate("requests_total", "outcome", f"{VERSION}, {BAD}"), "{{outcome}}"),),
                stacked=True,
            ),
        ),
        "Burn": (
            *[_burn(objective.name) for objective in OBJECTIVES],
            Panel(
                "Bad share, one hour",
                "Share of the requests of the last hour that broke an objective.",
                "percentunit",
                ((f"modelyard:slo_errors:ratio_rate1h{{{MODEL}}}", f"{WHO} {{{{objective}}}}"),),
            ),
            Panel(
                "Requests that count",
                "Requests in the last hour; below 300 the fast alert says nothing.",
                "short",
                ((f"modelyard:slo_requests:increase1h{{{MODEL}}}", WHO),),
            ),
            Panel(
                "Alerts",
                "How many pages and tickets fire, by name.",
                "short",
                ((f"count by (alertname) (ALERTS{{{FIRING}, {SERVICE}}})", "{{alertname}}"),),
                stacked=True,
                width=24,
            ),
        ),
    },
)
