"""What the commands tell, as tables and as JSON."""

from __future__ import annotations

import io
import json
from pathlib import Path

import orjson
from rich.console import Console

from modelyard.aliases import promoted, rolled_back, update, with_candidate
from modelyard.evaluation import Evaluation
from modelyard.lifecycle import show
from modelyard.lifecycle.check import check
from modelyard.lifecycle.difference import difference
from modelyard.lifecycle.past import past, versions_text
from modelyard.lifecycle.versions import read_model
from tests.unit.lifecycle.models import NAME, X, add, edit_manifest, spoil


def printed(tell: object, *arguments: object) -> str:
    out = io.StringIO()
    tell(Console(file=out, width=400, markup=False, highlight=False), *arguments)  # type: ignore[operator]
    return out.getvalue()


def row(text: str, start: str) -> list[str]:
    return next(line.split() for line in text.splitlines() if line.split()[:1] == [start])


def as_json(document: object) -> object:
    """What a machine reads."""
    found: object = json.loads(orjson.dumps(document))
    return found


def test_the_report_of_a_check(model: Path) -> None:
    add(model, "1")
    spoil(add(model, "2"))
    report = check(read_model(model.parent, NAME), "2")
    text = printed(show.report, report)
    assert f"{NAME} version 2, beside version 1" in text
    assert row(text, "digest")[1] == "failed"
    document = show.report_document(report)
    assert (document["ok"], document["checks"][0]["state"]) == (False, "failed")
    as_json(document)


def test_a_history_without_a_past(model: Path) -> None:
    text = printed(show.history, past(read_model(model.parent, NAME)), 20)
    assert "no version yet" in text
    assert "nothing was promoted yet" in text


def test_history_shows_versions_changes_and_what_is_gone(model: Path) -> None:
    add(model, "1", metrics={"accuracy": 0.98765})
    add(model, "2", parent="1", precision="int8")
    spoil(add(model, "3"))
    for version in ("1", "2", "9"):
        update(model, lambda state, version=version: promoted(state, version, reason="why\n"))  # type: ignore[misc]
    update(model, lambda state: rolled_back(with_candidate(state, "1")))
    found = past(read_model(model.parent, NAME))
    text = printed(show.history, found, 2)
    assert row(text, "1")[:3] == ["1", "candidate,", "previous"]
    assert row(text, "1")[-2:] == ["accuracy", "0.9877"]
    assert row(text, "2")[1] == "stable"
    assert row(text, "2")[-2:] == ["1", "int8"]
    assert "refused" in row(text, "3")[1]
    assert "3 earlier" in text
    assert text.count("rollback") == 1
    document = show.history_document(found)
    assert (document["stable"], document["candidate"], len(document["changes"])) == ("2", "1", 5)
    as_json(document)


def test_a_version_that_an_alias_names_though_it_is_gone_is_shown(model: Path) -> None:
    add(model, "1")
    update(model, lambda state: promoted(state, "9", instead_of="1"))
    found = past(read_model(model.parent, NAME))
    assert [standing.version for standing in found.versions] == ["9", "1"]
    assert "refused" in " ".join(row(printed(show.history, found, None), "9"))


def test_versions_in_one_line(model: Path) -> None:
    assert versions_text(model) == "none yet"
    add(model, "1")
    add(model, "2")
    assert versions_text(model) == "1, 2"
    update(model, lambda state: promoted(state, "2", instead_of="1"))
    assert versions_text(model) == "1 (previous), 2 (stable)"


def test_two_versions_side_by_side(model: Path) -> None:
    add(model, "1", metrics={"accuracy": 0.9, "old": 1.0}, evaluation=Evaluation({"x": X}))
    place = add(model, "2", 2.5, metrics={"accuracy": 0.95})
    edit_manifest(place, lambda document: document["libraries"].update(torch="2.9"))
    found = difference(read_model(model.parent, NAME), "1", "2")
    text = printed(show.difference, found)
    assert row(text, "torch") == ["torch", "2.9"]
    assert row(text, "accuracy") == ["accuracy", "0.9", "0.95", "+0.05"]
    assert row(text, "old") == ["old", "1"]
    assert "the interface is the same" in text
    assert "held-out rows of 1" in text
    document = show.difference_document(found)
    assert [each["equal"] for each in document["agreement"]] == [False, False]
    assert {"rows", "before", "after", "ratio"} == set(document["latency_ms"][0])
    as_json(document)


def test_a_version_that_does_not_load_is_still_compared_by_what_it_says(model: Path) -> None:
    add(model, "1")
    add(model, "2", golden=9.0)
    found = difference(read_model(model.parent, NAME), "1", "2")
    assert found.agreements == ()
    assert "left out: latency and agreement" in printed(show.difference, found)
