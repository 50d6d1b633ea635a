"""Drift on real servers: every row of every protocol is counted in its bin, once, by however many workers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from modelyard.drift.psi import psi
from tests.integration.calls import ask, ask_all, until
from tests.integration.drift_model import NAME, by_hand, make, reference, rows
from tests.integration.harness import Server, serve

FIRST_OF = ("first", "second", "third")


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def server(version: Path) -> Iterator[Server]:
    with serve(version.parents[2], NAME) as running:
        yield running


def observed(server: Server, feature: str) -> dict[str, float]:
    """Rows by bin."""
    labels = [*map(str, range(10)), "missing"]
    metrics = server.metrics()
    name = "modelyard_feature_observations_total"
    return {b: metrics[f'{name}{{bin="{b}",feature="{feature}",model="{NAME}",version="1"}}'] for b in labels}


def classes(server: Server) -> list[float]:
    return [
        server.metric("modelyard_prediction_observations_total", model=NAME, **{"class": c})
        for c in ("0", "1", "2", "other")
    ]


def test_all_series_stand_at_zero_and_the_reference_is_shown(version: Path) -> None:
    with serve(version.parents[2], NAME) as fresh:
        for feature in reference(version).features:
            assert set(observed(fresh, feature.name).values()) == {0.0}
            shares = [
                fresh.metric("modelyard_feature_reference_ratio", feature=feature.name, bin=b)
                for b in [*map(str, range(10)), "missing"]
            ]
            assert shares == pytest.approx(feature.ratios)
        assert fresh.metric("modelyard_drift_reference_rows", version="1") == reference(version).rows
        assert classes(fresh) == [0] * 4
        for result in ("correct", "wrong", "unknown"):
            key = f'modelyard_feedback_total{{model="{NAME}",result="{result}",version="1"}}'
            assert fresh.metrics()[key] == 0
        assert fresh.metric("modelyard_drift_skipped_rows_total") == 0
        ask(fresh, {"x": rows(1, seed=1)})
        assert fresh.metric("modelyard_payload_log_total") == 0, "no payload is kept unless somebody asks for it"
        assert len(fresh.metrics()) < 2000


def test_every_protocol_is_counted_in_the_bins_of_a_hand_count(server: Server, version: Path) -> None:
    before = {name: observed(server, name) for name in FIRST_OF}
    answers_before = classes(server)
    sent = [rows(size, seed=10 + size, shift=0.3) for size in (1, 2, 7, 64)]
    for protocol in ("http", "grpc"):
        ask_all(server, [{"x": each} for each in sent], protocol)
    body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [7, 3], "data": sent[2].tolist()}]}
    assert httpx.post(f"{server.url}/v2/models/{NAME}/infer", json=body).status_code == 200
    every = np.concatenate([*sent, *sent, sent[2]])
    for place, feature in enumerate(reference(version).features):
        moved = {b: count - before[feature.name][b] for b, count in observed(server, feature.name).items()}
        assert list(moved.values()) == by_hand(feature, every[:, place])[0], feature.name
    answers = [now - then for now, then in zip(classes(server), answers_before, strict=True)]
    assert answers == [*np.bincount(every.argmax(axis=1), minlength=3).tolist(), 0]


def test_a_hit_counts_as_much_as_a_miss(server: Server) -> None:
    one = {"x": rows(1, seed=99)}
    ask(server, one)
    before = sum(observed(server, "first").values())
    assert {ask(server, one).cache for _ in range(5)} <= {"hit", "bypass"}
    assert sum(observed(server, "first").values()) - before == 5


def test_what_is_refused_is_in_no_bin(server: Server) -> None:
    before = sum(observed(server, "first").values())
    body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [0.0, 0.0]}]}
    assert httpx.post(f"{server.url}/v2/models/{NAME}/infer", json=body).status_code == 400
    assert sum(observed(server, "first").values()) == before


def test_missing_values_and_values_out_of_range_are_counted(server: Server) -> None:
    before, range_before = observed(server, "first"), server.metric("modelyard_feature_out_of_range_total")
    odd = np.array([[np.nan, 0, 0], [3.5, 0, 0], [-99, 0, 0], [np.inf, 0, 0]], np.float32)
    ask(server, {"x": odd}, "grpc")
    after = observed(server, "first")
    assert after["missing"] - before["missing"] == 1
    assert sum(after.values()) - sum(before.values()) == 4
    assert server.metric("modelyard_feature_out_of_range_total", feature="first") - range_before == 3


def test_more_rows_than_there_is_room_for_are_sampled_and_counted(server: Server, version: Path) -> None:
    before, skipped = observed(server, "first"), server.metric("modelyard_drift_skipped_rows_total")
    sent = rows(4096, seed=5)
    ask(server, {"x": sent})
    until(lambda: server.metric("modelyard_drift_skipped_rows_total") > skipped, "rows are counted as left out")
    looked_at = sum(observed(server, "first").values()) - sum(before.values())
    assert looked_at + server.metric("modelyard_drift_skipped_rows_total") - skipped == 4096
    assert 1000 <= looked_at <= 2048
    moved = [now - then for now, then in zip(observed(server, "first").values(), before.values(), strict=True)]
    found = psi(reference(version).features[0].ratios, moved)
    assert found < 0.05, "a sample of unshifted rows is unshifted"


@pytest.mark.parametrize("named", [{"id": "empty"}, {}])
def test_a_request_of_no_rows_ends_nothing(server: Server, named: dict[str, str]) -> None:
    before = observed(server, "first")
    body = {**named, "inputs": [{"name": "x", "datatype": "FP32", "shape": [0, 3], "data": []}]}
    answer = httpx.post(f"{server.url}/v2/models/{NAME}/infer", json=body, headers={"X-Request-Id": "empty-2"})
    assert answer.status_code == 200
    ask(server, {"x": rows(4, seed=7)})
    until(lambda: sum(observed(server, "first").values()) - sum(before.values()) == 4, "what follows is counted")
    assert "not observed" not in server.log()


def test_two_workers_add_up(version: Path) -> None:
    with serve(version.parents[2], NAME, workers=2) as server:
        for seed in range(20):
            ask(server, {"x": rows(5, seed=seed)})
        until(lambda: sum(observed(server, "third").values()) == 100, "both workers' rows are there")
        share = server.metric("modelyard_feature_reference_ratio", feature="third")
        assert share == pytest.approx(1.0, abs=0.001), "shares of two workers are not added up"


@pytest.mark.parametrize("env", [{"MODELYARD_DRIFT": "false"}, {}])
def test_off_by_a_setting_or_for_an_old_version(version: Path, tmp_path: Path, env: dict[str, str]) -> None:
    repository = version.parents[2]
    if not env:  # as versions were published before there were references
        repository = tmp_path
        make(repository, "")
        folder = repository / NAME / "versions" / "1"
        (folder / "reference.json").unlink()
        manifest = (folder / "manifest.json").read_text()
        document = json.loads(manifest)
        document["files"].pop("reference.json")
        document.pop("reference")
        (folder / "manifest.json").write_text(json.dumps(document))
    with serve(repository, NAME, env=env) as server:
        ask(server, {"x": rows(3, seed=1)})
        assert not [key for key in server.metrics() if "modelyard_feature_" in key or "prediction_obs" in key]
        assert server.metric("modelyard_requests_total", outcome="ok") == 1


def test_without_metrics_it_answers_and_counts_nothing(version: Path) -> None:
    env = {"MODELYARD_METRICS": "false", "MODELYARD_DRIFT": "false", "MODELYARD_FEEDBACK_REQUESTS": "0"}
    with serve(version.parents[2], NAME, env=env) as server:
        np.testing.assert_allclose(ask(server, {"x": rows(3, seed=1)}).only.sum(axis=1), 1, rtol=1e-5)
        assert server.metric("modelyard_requests_total") == 0
