"""The kinds of panel: what each shows, in which unit, by which queries. `built` makes them what the SDK writes."""

from __future__ import annotations

from dataclasses import dataclass
from string import ascii_uppercase

from grafana_foundation_sdk.builders import common as build_common
from grafana_foundation_sdk.builders import dashboard as build_dashboard
from grafana_foundation_sdk.builders import heatmap, prometheus, stat, timeseries
from grafana_foundation_sdk.models import common, dashboard
from grafana_foundation_sdk.models import heatmap as heatmap_parts
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

SOURCE = common.DataSourceRef(type_val="prometheus", uid="${datasource}")
HEIGHTS = {"stat": 4, "heatmap": 8, "timeseries": 8}
WIDTHS = {"stat": 4, "heatmap": 12, "timeseries": 12}
COLORS = {"good": "green", "bad": "red", "neutral": "blue"}

Builder = timeseries.Panel | stat.Panel | heatmap.Panel


@dataclass(frozen=True)
class Panel:
    """One panel. `queries` are (PromQL, legend); units are Grafana's (s, percentunit, reqps, bytes, short)."""

    title: str
    description: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    kind: str = "timeseries"
    stacked: bool = False
    low: float | None = 0.0
    high: float | None = None
    width: int = 0
    warn_below: float | None = None
    """Red below, green from there on; of a stat."""
    warn_above: float | None = None


def stat_of(title: str, description: str, unit: str, query: str, legend: str = "", **more: float) -> Panel:
    """One number for each series."""
    return Panel(title, description, unit, ((query, legend),), kind="stat", low=None, **more)  # type: ignore[arg-type]  # width is whole


def built(panel: Panel) -> Builder:
    """The SDK's builder."""
    make = {"stat": _stat, "heatmap": _heatmap, "timeseries": _timeseries}[panel.kind]
    builder = make(panel).title(panel.title).description(panel.description).unit(panel.unit).datasource(SOURCE)
    for letter, (expr, legend) in zip(ascii_uppercase, panel.queries, strict=False):
        builder = builder.with_target(_query(panel, letter, expr, legend))
    if panel.low is not None:
        builder = builder.min(panel.low)
    if panel.high is not None:
        builder = builder.max(panel.high)
    return builder.height(HEIGHTS[panel.kind]).span(panel.width or WIDTHS[panel.kind])


def _query(panel: Panel, letter: str, expr: str, legend: str) -> prometheus.Dataquery:
    query = prometheus.Dataquery().ref_id(letter).expr(expr).legend_format(legend).datasource(SOURCE)
    if panel.kind == "heatmap":
        return query.range().format(PromQueryFormat.HEATMAP)
    return query.instant() if panel.kind == "stat" else query.range()


def _timeseries(panel: Panel) -> Builder:
    legend = build_common.VizLegendOptions().show_legend(True).placement(common.LegendPlacement.BOTTOM)
    tooltip = build_common.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING)
    builder = timeseries.Panel().legend(legend.display_mode(common.LegendDisplayMode.LIST)).tooltip(tooltip)
    builder = builder.show_points(common.VisibilityMode.NEVER).line_width(1)
    if panel.stacked:
        normal = build_common.StackingConfig().mode(common.StackingMode.NORMAL).group("A")
        return builder.stacking(normal).fill_opacity(40)
    return builder.fill_opacity(8)


def _stat(panel: Panel) -> Builder:
    reduced = build_common.ReduceDataOptions().calcs(["lastNotNull"])
    builder = stat.Panel().reduce_options(reduced).graph_mode(common.BigValueGraphMode.NONE)
    builder = builder.text_mode(common.BigValueTextMode.AUTO).color_mode(common.BigValueColorMode.VALUE)
    return builder.thresholds(_thresholds(panel))


def _thresholds(panel: Panel) -> build_dashboard.ThresholdsConfig:
    steps = [dashboard.Threshold(color=COLORS["neutral"])]
    if panel.warn_below is not None:
        steps = [dashboard.Threshold(color=COLORS["bad"]), dashboard.Threshold(panel.warn_below, COLORS["good"])]
    if panel.warn_above is not None:
        steps = [dashboard.Threshold(color=COLORS["good"]), dashboard.Threshold(panel.warn_above, COLORS["bad"])]
    return build_dashboard.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(steps)


def _heatmap(panel: Panel) -> Builder:
    color = heatmap.HeatmapColorOptions().mode(heatmap_parts.HeatmapColorMode.SCHEME).scheme("Oranges").steps(64)
    axis = heatmap.YAxisConfig().unit(panel.unit)
    return heatmap.Panel().calculate(False).color(color).y_axis(axis).show_legend()
