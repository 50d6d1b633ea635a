"""Two versions on the same rows: times that are compared, answers that are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from modelyard.evaluation import Evaluation
from modelyard.lifecycle.compare import agreement, largest_difference, latency
from modelyard.lifecycle.versions import opened, read_model
from modelyard.repository import LoadedVersion
from tests.integration import onnx_models
from tests.unit.lifecycle.models import INPUT, NAME, OUTPUT, X, add, write_spec

ROWS = np.array([[1, 2], [3, 1]], np.float32)


@contextmanager
def both(folder: Path) -> Iterator[tuple[LoadedVersion, LoadedVersion]]:
    model = read_model(folder.parent, NAME)
    with opened(model, "1") as one, opened(model, "2") as other:
        yield one, other


def test_latency_of_one_row_and_of_all_golden_rows(model: Path) -> None:
    add(model, "1")
    add(model, "2")
    with both(model) as (one, other):
        figures = latency(one, other)
    assert [figure.rows for figure in figures] == [1, len(X)]
    for figure in figures:
        assert figure.before > 0
        assert figure.after > 0
        assert figure.ratio == figure.after / figure.before


def test_a_model_without_batches_is_timed_on_its_golden_input(tmp_path: Path) -> None:
    folder = write_spec(tmp_path, batching={"max_batch_size": 0})
    add(folder, "1")
    add(folder, "2")
    with both(folder) as (one, other):
        assert [figure.rows for figure in latency(one, other)] == [0]


def test_equal_versions_agree_in_everything(model: Path) -> None:
    add(model, "1")
    add(model, "2")
    with both(model) as (one, other):
        found, left_out = agreement(one, other)
    assert left_out == []
    assert [(each.source, each.rows, each.equal) for each in found] == [("golden inputs of 1 and 2", len(X), True)]
    assert (found[0].largest, found[0].same_class) == (0.0, 1.0)


def test_by_how_much_two_versions_differ(model: Path) -> None:
    evaluation = Evaluation({"x": np.concatenate([ROWS] * 20)})
    add(model, "1", 2.0, evaluation=evaluation)
    add(model, "2", -4.0, rows=3)
    with both(model) as (one, other):
        found, left_out = agreement(one, other)
    assert left_out == []
    by_source = {each.source: each for each in found}
    assert list(by_source) == ["golden inputs of 1", "golden inputs of 2", "held-out rows of 1"]
    held_out = by_source["held-out rows of 1"]
    assert (held_out.rows, held_out.equal, held_out.same_class) == (40, False, 0.0), "more rows than one batch holds"
    assert held_out.largest == pytest.approx(18.0)
    assert held_out.cosine == pytest.approx(-1.0)


def test_the_measure_of_the_model_s_quality_is_the_one_that_is_shown(tmp_path: Path) -> None:
    folder = write_spec(tmp_path, quality={"output": "y", "measure": "cosine"})
    add(folder, "1")
    add(folder, "2")
    with both(folder) as (one, other):
        ((found,), _) = agreement(one, other)
    assert found.same_class is None
    assert found.cosine is not None


def test_integers_are_equal_or_not(tmp_path: Path) -> None:
    kind = {"datatype": "INT64", "shape": [-1, 2]}
    folder = write_spec(tmp_path, inputs=[INPUT | kind], outputs=[OUTPUT | kind])
    rows = Evaluation({"x": np.arange(8).reshape(4, 2)})
    for version in ("1", "2"):
        add(folder, version, model=onnx_models.identity("INT64", (-1, 2)), rows=0, evaluation=rows)
    with both(folder) as (one, other):
        ((found,), _) = agreement(one, other)
    assert (found.equal, found.largest, found.same_class, found.cosine) == (True, None, None, None)


def test_rows_that_do_not_fit_both_are_left_out_with_the_reason(model: Path) -> None:
    add(model, "1", evaluation=Evaluation({"x": np.zeros((3, 5), np.float32)}))
    add(model, "2")
    with both(model) as (one, other):
        found, left_out = agreement(one, other)
    assert [each.source for each in found] == ["golden inputs of 1 and 2"]
    assert len(left_out) == 1
    assert left_out[0].startswith("held-out rows of 1: input 'x' has shape")


def test_nan_at_the_same_place_is_no_difference() -> None:
    nan, inf = np.nan, np.inf
    assert largest_difference(np.array([nan, inf, 1.0]), np.array([nan, inf, 1.5])) == 0.5
    assert np.isnan(largest_difference(np.array([nan]), np.array([1.0])))
    assert largest_difference(np.empty((0, 2)), np.empty((0, 2))) == 0.0
