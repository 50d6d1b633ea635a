"""Every query of the generated files, as Prometheus gets it: of panels, annotations, variables, rules and alerts.

grafana/dashboards/*.json  -> panels(), annotation_queries()    variables filled in, as Grafana would
prometheus/rules/*.yaml    -> rules(), alert_operands()  what is compared, without the comparison
any expression             -> selectors()                the series that it starts from
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import promql_parser
import yaml

FOLDER = Path(__file__).resolve().parent
DASHBOARDS = FOLDER / "grafana" / "dashboards"
RULES = FOLDER / "prometheus" / "rules"
SPLITS = ("==", "!=", ">", ">=", "<", "<=", "and", "or", "unless")
"""Operators whose two sides are questions of their own."""


@dataclass(frozen=True)
class Query:
    """One expression and where it stands."""

    place: str
    expr: str
    legend: str = ""
    instant: bool = False
    panel: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True)
class Window:
    """What Grafana puts in for its own variables: both as PromQL durations."""

    rate_interval: str
    range: str

    def fill(self, expr: str) -> str:
        """Every choice is `all`."""
        expr = expr.replace("$__rate_interval", self.rate_interval).replace("$__range", self.range)
        return re.sub(r"\$(namespace|service|model|version)\b", ".*", expr)


def boards() -> list[dict[str, Any]]:
    """The dashboards, as they are checked in."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(DASHBOARDS.glob("*.json"))]


def panels_of(board: dict[str, Any]) -> list[dict[str, Any]]:
    """Its panels in order, rows left out."""
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def panels(board: dict[str, Any], window: Window) -> Iterator[Query]:
    """The queries of its panels."""
    for panel in panels_of(board):
        for target in panel["targets"]:
            place = f"{board['uid']} / {panel['title']} / {target['refId']}"
            instant = bool(target.get("instant"))
            yield Query(place, window.fill(target["expr"]), target.get("legendFormat", ""), instant, panel)


def annotation_queries(board: dict[str, Any], window: Window) -> Iterator[Query]:
    """The queries of its annotations."""
    for annotation in board["annotations"]["list"]:
        yield Query(f"{board['uid']} / annotation {annotation['name']}", window.fill(annotation["expr"]))


def rule_documents() -> list[dict[str, Any]]:
    """The recording rules and alerts of every file."""
    documents = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(RULES.glob("*.yaml"))]
    return [rule for document in documents for group in document["groups"] for rule in group["rules"]]


def rules() -> Iterator[Query]:
    """The expressions of recording rules, and of what they record."""
    for rule in rule_documents():
        if "record" in rule:
            labels = ", ".join(f'{name}="{value}"' for name, value in rule.get("labels", {}).items())
            yield Query(f"rule {rule['record']}", rule["expr"], instant=True)
            yield Query(f"recorded {rule['record']}", f"{rule['record']}{{{labels}}}", instant=True)


def alert_operands() -> Iterator[Query]:
    """Both sides of everything that an alert compares or joins: they have data whether it fires or not."""
    for rule in rule_documents():
        if "alert" in rule:
            for operand in operands(rule["expr"]):
                yield Query(f"alert {rule['alert']}", operand, instant=True)


def operands(expr: str) -> list[str]:
    """The expression taken apart at its comparisons and at and, or, unless."""
    return list(_sides(promql_parser.parse(expr)))


def _sides(node: Any) -> Iterator[str]:
    while isinstance(node, promql_parser.ParenExpr):
        node = node.expr
    if isinstance(node, promql_parser.BinaryExpr) and str(node.op) in SPLITS:
        yield from _sides(node.lhs)
        yield from _sides(node.rhs)
    elif not isinstance(node, promql_parser.NumberLiteral):
        yield str(node)


def selectors(expr: str) -> list[str]:
    """The plain series of an expression, each with its matchers and without a range."""
    found: list[str] = []

    def visit(node: Any) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            node.offset = None
            found.append(str(node))

    promql_parser.walk(promql_parser.parse(expr), visit)
    return [re.sub(r"\s+offset\s+\S+$", "", text) for text in dict.fromkeys(found)]
