"""A dashboard around its panels: variables, annotations, links to the others. Classic JSON, schemaVersion 42."""

from __future__ import annotations

from dataclasses import dataclass

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as parts

from monitoring.grafana.panels import SOURCE, Panel, built
from monitoring.grafana.selectors import MODEL, SERVICE, VERSION

ALL = parts.VariableOption(selected=True, text=["All"], value=["$__all"])
VARIABLES = {
    "namespace": "label_values(modelyard_model_info, namespace)",
    "service": 'label_values(modelyard_model_info{namespace=~"$namespace"}, service)',
    "model": f"label_values(modelyard_model_info{{{SERVICE}}}, model)",
    "version": f"label_values(modelyard_model_info{{{MODEL}}}, version)",
}
LOADED = f"max by (service, model, version, digest) (modelyard_model_info{{{VERSION}}})"


@dataclass(frozen=True)
class Board:
    """A dashboard: the name of its file, its stable uid `modelyard-<name>`, and rows of panels by heading."""

    name: str
    title: str
    description: str
    rows: dict[str, tuple[Panel, ...]]

    @property
    def uid(self) -> str:
        """What links and bookmarks name."""
        return f"modelyard-{self.name}"


def encoded(board: Board) -> str:
    """The JSON that is checked in."""
    made = (
        build.Dashboard(f"Modelyard / {board.title}")
        .uid(board.uid)
        .description(board.description)
        .tags(["modelyard"])
        .readonly()
        .refresh("30s")
        .time("now-1h", "now")
        .timezone("browser")
        .tooltip(parts.DashboardCursorSync.CROSSHAIR)
        .link(_others())
        .variables([_source(), *[_variable(name, query) for name, query in VARIABLES.items()]])
        .annotations([_deploys(), _alerts()])
    )
    number = 0
    for heading, panels in board.rows.items():
        made = made.with_row(build.Row(heading).id(1000 + number))
        for panel in panels:
            number += 1
            made = made.with_panel(built(panel).id(number))
    return JSONEncoder(indent=2).encode(made.build()) + "\n"


def _others() -> build.DashboardLink:
    link = build.DashboardLink("Modelyard").type(parts.DashboardLinkType.DASHBOARDS).tags(["modelyard"])
    return link.as_dropdown(True).include_vars(True).keep_time(True)


def _source() -> build.DatasourceVariable:
    return build.DatasourceVariable("datasource").label("Data source").type("prometheus")


def _variable(name: str, query: str) -> build.QueryVariable:
    variable = build.QueryVariable(name).label(name.capitalize()).query(query).datasource(SOURCE)
    variable = variable.refresh(parts.VariableRefresh.ON_TIME_RANGE_CHANGED).sort(parts.VariableSort.NATURAL_ASC)
    return variable.include_all(True).all_value(".*").multi(True).current(ALL)


def _deploys() -> build.AnnotationQuery:
    """Where a version came that was not there five minutes before."""
    new = f"({LOADED} > 0) unless (max_over_time({LOADED}[5m:15s] offset 15s) > 0)"
    return _annotation("Deploys", new, "blue", "{{model}} {{version}}", "loaded on {{service}}, digest {{digest}}")


def _alerts() -> build.AnnotationQuery:
    firing = (
        'ALERTS{alertstate="firing", severity!="none", namespace=~"$namespace", service=~"$service|", model=~"$model|"}'
    )
    return _annotation("Alerts", firing, "red", "{{alertname}}", "{{service}} {{model}} {{severity}}")


def _annotation(name: str, expr: str, color: str, title: str, text: str) -> build.AnnotationQuery:
    annotation = build.AnnotationQuery().name(name).datasource(SOURCE).enable(True).expr(expr).step("15s")
    return annotation.icon_color(color).title_format(title).text_format(text).tag_keys("service,model")
