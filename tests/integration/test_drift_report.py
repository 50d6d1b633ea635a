"""`modelyard drift report` on the log of a real server: the figures, the page, and what it says of a bad log."""

from __future__ import annotations

import json
import re
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.integration.calls import ask, until
from tests.integration.drift_model import NAME, by_hand, make, reference, rows
from tests.integration.harness import CommandResult, modelyard, serve

SENT = 40
ROWS = 50
LINE = re.compile(r"^(\S+) +([\d.]+) +([\d,]+) rows  (.*)$", re.MULTILINE)


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def log(version: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shifted rows over both protocols, two true values, one refusal."""
    path = tmp_path_factory.mktemp("log") / "payloads.jsonl"
    env = {"MODELYARD_PAYLOAD_LOG": f"file:{path}", "MODELYARD_PAYLOAD_SAMPLE": "1"}
    with serve(version.parents[2], NAME, env=env) as server:
        for seed in range(SENT):
            ask(server, {"x": rows(ROWS, seed=seed, shift=1.0)}, "grpc" if seed % 2 else "http", request_id=f"r{seed}")
        truth = rows(ROWS, seed=0, shift=1.0).argmax(axis=1)
        truth[:10] = (truth[:10] + 1) % 3
        httpx.post(f"{server.url}/feedback", json={"request_id": "r0", "value": truth.tolist()})
        httpx.post(f"{server.url}/v2/models/{NAME}/infer", json={"inputs": []})
        until(lambda: server.metric("modelyard_payload_log_total", result="written") == 2 * SENT + 2, "all is written")
    return path


def report(version: Path, log: Path, to: Path, *more: str) -> CommandResult:
    return modelyard("drift", "report", NAME, "--repository", version.parents[2], "--log", log, "--to", to, *more)


def test_figures_are_those_of_a_hand_count_and_the_page_stands_alone(version: Path, log: Path, tmp_path: Path) -> None:
    done = report(version, log, tmp_path / "drift.html")
    assert done.code == 0, done.err
    shown = {m[1]: (float(m[2]), m[3], m[4]) for m in LINE.finditer(done.out)}
    every = np.concatenate([rows(ROWS, seed=seed, shift=1.0) for seed in range(SENT)])
    for place, feature in enumerate(reference(version).features):
        index = by_hand(feature, every[:, place])[1]
        assert shown[feature.name][0] == pytest.approx(index, abs=6e-5)
        assert shown[feature.name][1] == "2,000"
    assert shown["first"][2] == "large shift"
    assert shown["second"][2] == "no shift"
    assert "Refused for what they carry: 1 (" in done.out
    assert f"Online accuracy by {ROWS} true values: {40 / 50:.4f}" in done.out
    page = (tmp_path / "drift.html").read_text()
    assert "data:image/png;base64," in page
    assert not re.search(r"(src|href)=\"?(http|//)", page)
    for word in ("first", "large shift", "confidence", "a convention", "Online accuracy"):
        assert word in page


def test_the_picture_alone(version: Path, log: Path, tmp_path: Path) -> None:
    to = tmp_path / "drift.png"
    assert report(version, log, to, "--reference", "1").code == 0
    assert to.read_bytes().startswith(b"\x89PNG")


def test_broken_lines_are_counted_and_the_rest_is_read(version: Path, log: Path, tmp_path: Path) -> None:
    event = json.loads(log.read_text().splitlines()[0])
    wrong = {**event, "data": {"inputs": [{"name": "x", "datatype": "FP32", "shape": [2, 3], "data": [1.0]}]}}
    other = {**event, "inferenceservicename": "another"}
    lines = ["{", "[]", "null", '{"type": 1}', json.dumps(wrong), json.dumps({**event, "data": 7}), json.dumps(other)]
    path = tmp_path / "log.jsonl"
    path.write_bytes("\n".join([*lines, log.read_text()]).encode() + b'{"half a line')
    done = report(version, path, tmp_path / "drift.html")
    assert done.code == 0, done.err
    assert "7 lines that could not be read" in done.out
    assert "1 events of other models" in done.out
    assert f"{SENT} requests" in done.out


def test_what_cannot_be_reported_is_said_in_a_line(version: Path, log: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    to = tmp_path / "drift.html"
    for done, words in (
        (report(version, tmp_path / "none", to), "cannot be read"),
        (report(version, empty, to), "no request to"),
        (report(version, log, tmp_path / "none" / "drift.html"), "cannot be written"),
        (report(version, log, to, "--reference", "7"), "no version '7'"),
        (modelyard("drift", "report", NAME, "--repository", version.parents[2]), "--log FILE"),
    ):
        assert done.code == 1, done
        assert done.err.startswith("error: ")
        assert words in done.err
        assert len(done.err.splitlines()) == 1
    assert report(version, log, tmp_path / "drift.pdf").code == 2
