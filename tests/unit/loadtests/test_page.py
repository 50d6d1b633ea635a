"""The page: it is made of results.json alone, and the one that is committed is the one that is made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from loadtests.bench import plots, scenarios
from loadtests.bench.bars import core_bars
from loadtests.bench.core import DOCS, Bar
from loadtests.bench.page import HOUR, page
from loadtests.bench.results import load, save
from loadtests.gpu.section import read
from tests.unit.loadtests.figures import document

PAGE = DOCS / "benchmarks.md"
RESULTS = DOCS / "benchmarks" / "results.json"


@pytest.mark.skipif(not (PAGE.exists() and RESULTS.exists()), reason="no run was committed yet")
def test_the_committed_page_is_made_of_the_committed_results() -> None:
    results = load(RESULTS)
    hour = RESULTS.parent / f"{HOUR}.json"
    found = load(hour) if hour.exists() else None
    assert PAGE.read_text() == page(results, read(RESULTS.parent / "gpu.json"), found)
    pictures = [name for name, _ in plots.names(results)] + ([f"{HOUR}.png"] if found else [])
    pictures += [scenarios.picture(name) for name, result in results["scenarios"].items() if "failed" not in result]
    assert sorted(pictures) == sorted(path.name for path in RESULTS.parent.glob("*.png"))


def test_a_document_survives_its_file_and_gives_the_same_page(tmp_path: Path) -> None:
    results = document(bars=(Bar("one", 1.0, 2.0, why="here"),))
    save(results, tmp_path / "new" / "results.json")
    assert page(load(tmp_path / "new" / "results.json")) == page(results)
    assert json.loads((tmp_path / "new" / "results.json").read_text()) == results


def test_a_bar_that_is_not_held_is_shown_with_its_reason_and_one_not_measured_as_such() -> None:
    held, short, absent = Bar("one", 2.0, 1.0), Bar("two", 0.5, 1.0, why="in f()"), Bar("three", None, 1.0)
    made = page(document(bars=(held, short, absent)))
    assert "## Bars: 1 of 2 held" in made
    assert "| two | 0.5x | at least 1x | NOT HELD |" in made
    assert "- two\n  - in f()" in made
    assert "| three | - | at least 1x | not measured |" in made


def test_machine_versions_errors_and_failures_are_on_the_page() -> None:
    made = page(document(errors=3))
    for text in ("a processor, 2 cores, 8 GiB", "Debian 12", "Peers: peer 9.8", "2026-01-02", "abc1234"):
        assert text in made
    assert "### Errors" in made
    assert "not installed: no \\| wheel" in made  # a bar in a cell would be a column
    assert "Not taken: RuntimeError: gone" in made


def test_the_fastest_server_stands_first_and_what_was_not_measured_is_a_dash() -> None:
    made = page(document())
    table = made.split("### MLP over HTTP JSON\n")[1].split("###")[0]
    order = [line.split("|")[1].strip() for line in table.splitlines() if line.startswith("| ")]
    assert order == ["server", "bare uvicorn hello", "modelyard 0.1.0", "peer 9.8"]
    assert "| peer 9.8 | - |" in table


def test_the_pictures_that_the_page_names_are_drawn(tmp_path: Path) -> None:
    results = document()
    drawn = plots.draw(results, tmp_path)
    assert {path.name for path in drawn} == {name for name, _ in plots.names(results)}
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in drawn)
    made = page(results)
    assert all(f"(benchmarks/{path.name})" in made for path in drawn)


def test_every_bar_of_a_run_has_a_line() -> None:
    bars = tuple(core_bars(document()))
    made = page(document(bars=bars))
    assert all(f"| {bar.name} |" in made for bar in bars)
