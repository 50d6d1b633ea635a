"""Drift in a real Prometheus: its index is that of a hand count, and the alert tells a shift from chance.

The first test drives a real server; the second lets promtool work the rules out over hours, on counts of seeded rows.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from modelyard.drift.reference import BinnedFeature, Reference
from monitoring.observe.prometheus import Prometheus, Target, prometheus
from monitoring.queries import RULES
from tests.integration.calls import ask, until
from tests.integration.drift_model import NAME, by_hand, make, reference, rows
from tests.integration.harness import Server, serve
from tests.tools.prometheus import tool

SEEDS = 20
STEP_MINUTES = 5
ROWS_A_STEP = 100
"""So that an hour has 1,200: little more than the alert asks for."""


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("models"))


@pytest.fixture
def server(version: Path) -> Iterator[Server]:
    with serve(version.parents[2], NAME) as running:
        yield running


def values(running: Prometheus, expr: str, label: str = "feature") -> dict[str, float]:
    found = running.ask("query", query=expr)["result"]
    return {series["metric"][label]: float(series["value"][1]) for series in found}


def test_the_index_of_prometheus_is_that_of_a_hand_count(server: Server, version: Path, tmp_path: Path) -> None:
    parts = [rows(500, seed=seed, shift=0.7) for seed in range(4)]
    parts[0][:25, 2] = np.nan
    every = np.concatenate(parts)
    with prometheus(tmp_path / "prometheus", [Target(server.http, "shifting", "one")]) as running:
        running.wait("modelyard_feature_observations_total")
        for number, part in enumerate(parts):
            ask(server, {"x": part}, "grpc" if number % 2 else "http")
            until(lambda n=number: seen(running) == 500 * (n + 1), "the rows are scraped", 30)  # type: ignore[misc]  # bound now
        expected = {f.name: by_hand(f, every[:, i])[1] for i, f in enumerate(reference(version).features)}
        until(lambda: close(values(running, "modelyard:feature_psi:1h"), expected), f"the index is {expected}", 30)
        assert expected["first"] > 0.2 > expected["second"]
        firing = 'ALERTS{alertname="FeatureDrift",alertstate="firing"}'
        running.wait(firing)
        assert values(running, firing).keys() == {name for name, index in expected.items() if index > 0.2}


def seen(running: Prometheus) -> float:
    """Rows that Prometheus knows of."""
    return values(running, "sum by (feature) (modelyard_feature_observations_total)").get("first", 0.0)


def close(found: dict[str, float], expected: dict[str, float]) -> bool:
    return found.keys() == expected.keys() and all(abs(found[name] - expected[name]) < 1e-6 for name in expected)


def test_a_shift_fires_within_its_window_and_chance_does_not(version: Path, tmp_path: Path) -> None:
    """Twenty versions of a model see two hours of unshifted rows each, one more is shifted after an hour."""
    known, hours = reference(version), 2 * 60 // STEP_MINUTES
    series = _reference_series(known, [*(f"seed{seed}" for seed in range(SEEDS)), "shifted"])
    for seed in range(SEEDS):
        series += _series(known, f"seed{seed}", [rows(ROWS_A_STEP, 1000 * seed + 77 + step) for step in range(hours)])
    late = [rows(ROWS_A_STEP, 9 + step, shift=0.7 if step >= hours // 2 else 0.0) for step in range(hours + 3)]
    series += _series(known, "shifted", late)
    firing = 'count by (version, feature) (ALERTS{alertname="FeatureDrift", alertstate="firing"})'
    only = [{"labels": '{version="shifted", feature="first"}', "value": 1}]
    asked: list[dict[str, Any]] = [
        {"expr": firing, "eval_time": "60m", "exp_samples": []},
        {"expr": firing, "eval_time": "120m", "exp_samples": only},
        {"expr": firing, "eval_time": "130m", "exp_samples": only},
        {"expr": "count(modelyard:feature_observations:1h >= 1000)", "eval_time": "120m", "exp_samples": [
            {"labels": "{}", "value": 3 * (SEEDS + 1)}
        ]},
    ]  # fmt: skip
    document = {
        "rule_files": [str(RULES / "recording.yaml"), str(RULES / "alerts.yaml")],
        "evaluation_interval": "1m",
        "tests": [{"interval": f"{STEP_MINUTES}m", "input_series": series, "promql_expr_test": asked}],
    }
    (tmp_path / "drift.yaml").write_text(yaml.safe_dump(document))
    command = [str(tool("promtool")), "test", "rules", str(tmp_path / "drift.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _reference_series(known: Reference, versions: list[str]) -> list[dict[str, str]]:
    shares = [
        {"series": _name("modelyard_feature_reference_ratio", version, f, place), "values": f"{share!r}x30"}
        for version in versions
        for f in known.features
        for place, share in enumerate(f.ratios)
    ]
    rows = "modelyard_drift_reference_rows"
    return shares + [
        {"series": f'{rows}{{model="{NAME}", version="{version}"}}', "values": f"{known.rows}x30"}
        for version in versions
    ]


def _series(known: Reference, version: str, steps: list[Any]) -> list[dict[str, str]]:
    """Counters that stand at zero first, and then have one more part of the rows at each step."""
    made = []
    for index, feature in enumerate(known.features):
        counts = np.cumsum([by_hand(feature, part[:, index])[0] for part in steps], axis=0)
        for place in range(len(feature.ratios)):
            listed = " ".join(map(str, [0, *counts[:, place].tolist()]))
            name = _name("modelyard_feature_observations_total", version, feature, place)
            made.append({"series": name, "values": listed})
    return made


def _name(metric: str, version: str, feature: BinnedFeature, place: int) -> str:
    label = "missing" if place == len(feature.ratios) - 1 else str(place)
    return f'{metric}{{model="{NAME}", version="{version}", feature="{feature.name}", bin="{label}"}}'
