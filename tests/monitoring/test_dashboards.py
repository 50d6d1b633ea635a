"""The dashboards as they are checked in: fresh, complete, and tied to no installation."""

from __future__ import annotations

import json
import re
from typing import Any

import promql_parser
import pytest

from monitoring import generate
from monitoring.grafana import BOARDS
from monitoring.queries import (
    FOLDER,
    Window,
    alert_operands,
    annotation_queries,
    boards,
    panels,
    panels_of,
    rule_documents,
    rules,
)

Board = dict[str, Any]
WINDOW = Window("1m", "1h")
NAMES = ("overview", "model", "cache", "gpu", "rollout", "slo")
VARIABLES = ["datasource", "namespace", "service", "model", "version"]
UNITS = {"s", "short", "percentunit", "reqps", "rowsps", "ops", "bytes"}
SOURCES = ({"type": "prometheus", "uid": "${datasource}"}, None)
LEAST_DESCRIPTION = 15


def faults(board: Board) -> list[str]:
    """A linter: a line for everything that a dashboard of ours must not have or lack."""
    found = [f"{key} is {board.get(key)}" for key, good in _expected(board).items() if board.get(key) != good]
    if [variable["name"] for variable in board["templating"]["list"]] != VARIABLES:
        found.append("other variables than all have")
    if len(board.get("description", "")) < LEAST_DESCRIPTION:
        found.append("no description")
    if [item["name"] for item in board["annotations"]["list"]] != ["Deploys", "Alerts"]:
        found.append("annotations of deploys and alerts are wanted")
    text = json.dumps(board)
    found += [f"holds {word}" for word in ("__inputs", "__requires", "DS_PROMETHEUS") if word in text]
    for place, source in _sources(board, "board"):
        if source not in SOURCES:
            found.append(f"{place}: the data source {source} is that of one installation")
    numbers = [panel["id"] for panel in board["panels"]]
    if len(set(numbers)) != len(numbers):
        found.append("two panels have one id")
    return found + [f"{panel['title']}: {line}" for panel in panels_of(board) for line in _panel_faults(panel)]


def _expected(board: Board) -> dict[str, Any]:
    uid = str(board.get("uid", ""))
    return {
        "schemaVersion": 42,
        "editable": False,
        "uid": uid if re.fullmatch("modelyard-[a-z]+", uid) else "modelyard-<name>",
        "id": None,
        "tags": ["modelyard"],
    }


def _panel_faults(panel: Board) -> list[str]:
    found = []
    if not panel.get("title"):
        found.append("no title")
    if len(panel.get("description", "")) < LEAST_DESCRIPTION or not panel["description"].endswith("."):
        found.append("no description, or no sentence")
    if panel["fieldConfig"]["defaults"].get("unit") not in UNITS:
        found.append(f"unit {panel['fieldConfig']['defaults'].get('unit')}")
    if not panel.get("targets"):
        found.append("no query")
    for target in panel.get("targets", []):
        if 'namespace=~"$namespace"' not in target["expr"]:
            found.append(f"{target['refId']} does not follow $namespace")
        if re.search(r"\[\d+s\]", target["expr"]):
            found.append(f"{target['refId']} has an interval of seconds: $__rate_interval is wanted")
        if panel["type"] == "timeseries" and not target.get("legendFormat"):
            found.append(f"{target['refId']} has no legend")
    if panel["gridPos"]["x"] + panel["gridPos"]["w"] > 24:
        found.append("wider than the grid")
    return found


def _sources(part: Any, place: str) -> list[tuple[str, Any]]:
    """Every data source that is named, at any depth."""
    if isinstance(part, list):
        return [pair for index, item in enumerate(part) for pair in _sources(item, f"{place}[{index}]")]
    if not isinstance(part, dict):
        return []
    own = [(place, part["datasource"])] if "datasource" in part else []
    return own + [
        pair for key, item in part.items() if key != "datasource" for pair in _sources(item, f"{place}.{key}")
    ]


def test_what_is_checked_in_is_what_is_generated() -> None:
    assert generate.main(check=True) == 0, "run `make dashboards`"


def test_all_six_are_there() -> None:
    assert tuple(board.name for board in BOARDS) == NAMES
    assert {board["uid"] for board in boards()} == {f"modelyard-{name}" for name in NAMES}


@pytest.mark.parametrize("board", boards(), ids=lambda board: str(board["uid"]))
def test_a_dashboard_is_as_all_are(board: Board) -> None:
    assert faults(board) == []


def test_the_linter_sees_what_it_looks_for() -> None:
    good = json.dumps(boards()[0])
    panel = boards()[0]["panels"][1]
    for old, new in {
        '"editable": false': '"editable": true',
        '"schemaVersion": 42': '"schemaVersion": 39',
        '"uid": "${datasource}"': '"uid": "PBFA97CFB590B2093"',
        json.dumps(panel["description"]): '""',
        json.dumps(panel["title"]): '""',
        '"unit": "percentunit"': '"unit": ""',
        'namespace=~\\"$namespace\\"': 'namespace=\\"shop\\"',
        '"name": "Deploys"': '"name": "Other"',
        '"name": "version"': '"name": "edition"',
    }.items():
        assert old in good, old
        assert faults(json.loads(good.replace(old, new))) != [], old


def test_every_expression_is_promql() -> None:
    asked = [*rules(), *alert_operands()]
    for board in boards():
        asked += [*panels(board, WINDOW), *annotation_queries(board, WINDOW)]
    for query in asked:
        promql_parser.parse(query.expr)
    assert len(asked) > 200


def test_every_alert_tells_what_to_do() -> None:
    """Summary, description, a link to a dashboard that exists and a section of the runbook that exists."""
    page = (FOLDER / "runbook.md").read_text(encoding="utf-8")
    sections = {part.split("\n", 1)[0]: part for part in page.split("\n## ")[1:]}
    alerts = {rule["alert"]: rule for rule in rule_documents() if "alert" in rule}
    uids = {board["uid"] for board in boards()}
    assert set(sections) == set(alerts)
    for name, rule in alerts.items():
        texts = rule["annotations"]
        assert set(texts) == {"summary", "description", "runbook_url", "dashboard_url"}, name
        assert texts["runbook_url"].endswith(f"runbook.md#{name.lower()}")
        assert texts["dashboard_url"].split("/d/")[1].split("?")[0] in uids, name
        for part in ("**Meaning.**", "**First look.**", "**Likely causes.**", "**What to do.**"):
            assert part in sections[name], f"{name} lacks {part}"
