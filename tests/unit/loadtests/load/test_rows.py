"""What is sent and what is known of it: golden rows with their answers, held-out rows with their truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loadtests.load.rows import known
from modelyard.errors import ConfigurationError
from tests.unit.loadtests.load.made import GOLDEN, ROWS, answers, labels, make, rows


def test_golden_rows_carry_answer_and_truth_and_come_once(tmp_path: Path) -> None:
    make(tmp_path)
    found = known(tmp_path, "pair")
    assert len(found.rows) == ROWS
    assert [row.truth for row in found.rows] == labels().tolist()
    for index, row in enumerate(found.rows):
        np.testing.assert_array_equal(row.inputs["x"], rows()[index : index + 1])
        assert bool(row.golden) == (index < GOLDEN)
        if row.golden:
            np.testing.assert_array_equal(row.golden["y"], answers(rows())[index : index + 1])
    assert (found.version, found.quality, found.with_truth) == ("1", 1.0, ROWS)


def test_the_version_is_the_one_that_a_server_would_serve_or_the_one_that_is_named(tmp_path: Path) -> None:
    for version in ("1", "2"):
        make(tmp_path, version=version)
    assert known(tmp_path, "pair").version == "2"
    assert known(tmp_path, "pair", "1").version == "1"


def test_golden_rows_alone_are_enough(tmp_path: Path) -> None:
    make(tmp_path, evaluation=False)
    found = known(tmp_path, "pair")
    assert (len(found.rows), found.with_truth, found.quality) == (GOLDEN, 0, None)


@pytest.mark.parametrize(
    ("more", "version", "text"),
    [({"evaluation": False, "golden": False}, "", "neither golden"), ({}, "7", "no version 7 here; it has 1")],
)
def test_what_cannot_be_sent_is_refused(tmp_path: Path, more: dict[str, Any], version: str, text: str) -> None:
    make(tmp_path, **more)
    with pytest.raises(ConfigurationError, match=text):
        known(tmp_path, "pair", version)


def test_a_model_without_a_version_is_refused(tmp_path: Path) -> None:
    make(tmp_path).joinpath("versions", "1").rename(tmp_path / "away")
    with pytest.raises(ConfigurationError, match="has no version"):
        known(tmp_path, "pair")


def test_an_ensemble_sends_the_rows_of_a_member_and_none_of_its_votes(tmp_path: Path) -> None:
    make(tmp_path, "member")
    folder = make(tmp_path, "both")
    (folder / "model.yaml").write_text(
        "name: both\ninputs: [{name: a, datatype: FP32, shape: [-1, 3]}]\n"
        "outputs: [{name: y, datatype: FP32, shape: [-1, 2]}]\nbatching: {max_batch_size: 8}\n"
        "quality: {output: y, measure: top1}\n"
        "ensemble: [{model: member, inputs: {x: a}, outputs: {y: one}}]\n"
    )
    found = known(tmp_path, "both")
    assert [list(row.inputs) for row in found.rows] == [["a"]] * ROWS
    assert not any(row.golden for row in found.rows)
    assert found.with_truth == ROWS
