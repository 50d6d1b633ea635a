"""Models on disk: the good versions serve, the broken and the hostile are refused by name."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from modelyard import repository
from modelyard.errors import ConfigurationError
from modelyard.manifest import publish
from modelyard.repository import LoadedModel, list_models, load_model, refresh
from modelyard.spec import parse_spec
from modelyard.tensors import Array, Tensor
from tests.integration import onnx_models
from tests.unit.clock import Clock
from tests.unit.strategies import metric

YAML = """\
name: doubled
inputs: [{name: x, datatype: FP32, shape: [-1, 2]}]
outputs: [{name: y, datatype: FP32, shape: [-1, 2]}]
backends: [{name: onnxruntime-cpu}]
"""
X = Tensor("x", "FP32", np.array([[1, 2], [3, 4]], np.float32))
Y = Tensor("y", "FP32", X.array * 2)
WRONG = Tensor("y", "FP32", X.array * 3)


def add_version(model: Path, version: str, golden: Tensor = Y, artifact: bytes | None = None) -> Path:
    model.mkdir(exist_ok=True)
    (model / "model.yaml").write_text(YAML.replace("doubled", model.name))
    source = model.parent / "model.onnx"
    double = onnx_models.affine(np.eye(2, dtype=np.float32) * 2, np.zeros(2, np.float32))
    source.write_bytes(double.SerializeToString() if artifact is None else artifact)
    return publish(model, version, source, golden_inputs=[X], golden_outputs=[golden])


@pytest.fixture(name="model")
def _model(tmp_path: Path) -> Path:
    add_version(tmp_path / "doubled", "1")
    return tmp_path / "doubled"


def load(model: Path) -> LoadedModel:
    return load_model(model.parent, model.name)


def test_a_good_version_is_loaded_proved_and_runs(model: Path) -> None:
    loaded = load(model)
    version = loaded.versions["1"]
    assert (loaded.default, loaded.refused, version.chain.active.name) == ("1", {}, "onnxruntime-cpu")
    assert version.batch_seconds > 0
    np.testing.assert_array_equal(version.chain.infer([X.array], ["y"])[0], Y.array)


def spoil_artifact(folder: Path) -> None:
    path = folder / "model.onnx"
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)


def edit(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        document = json.loads((folder / "manifest.json").read_text())
        change(document)
        (folder / "manifest.json").write_text(json.dumps(document))

    return spoil


def replace_by_link(folder: Path) -> None:
    path = folder / "model.onnx"
    path.symlink_to(path.rename(folder.parent / ".elsewhere"))


def replace_by_fifo(folder: Path) -> None:
    (folder / "model.onnx").unlink()
    os.mkfifo(folder / "model.onnx")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (spoil_artifact, "sha256"),
        (lambda folder: (folder / "model.onnx").unlink(), "missing"),
        (lambda folder: (folder / "manifest.json").unlink(), "half written"),
        (replace_by_link, "no regular file"),
        (replace_by_fifo, "no regular file"),
        (edit(lambda d: d.update(model="other")), "not of 'doubled'"),
        (edit(lambda d: d["files"].update({"../../model.yaml": d["files"]["golden.json"]})), "not allowed"),
        (lambda folder: (folder / "manifest.json").write_text("[" * 100_000), "manifest"),
    ],
)
def test_a_broken_version_is_refused_by_name_and_the_others_serve(
    model: Path, spoil: Callable[[Path], object], reason: str
) -> None:
    spoil(add_version(model, "2"))
    failures = metric("model_load_failures_total", model="doubled")
    loaded = load(model)
    assert (list(loaded.versions), list(loaded.refused), loaded.default) == (["1"], ["2"], "1")
    assert reason in loaded.refused["2"]
    assert metric("model_load_failures_total", model="doubled") == failures + 1


@pytest.mark.parametrize(
    ("golden", "artifact", "reason"),
    [
        (WRONG, None, "differs from the golden one"),
        (Tensor("y", "FP32", Y.array[:1]), None, "differs from the golden one"),
        (Y, b"not a model", "no backend can run it"),
        (Y, onnx_models.identity("INT32", (-1, 2)).SerializeToString(), "is FP32"),
    ],
)
def test_an_artifact_that_is_not_what_was_exported_is_refused(
    model: Path, golden: Tensor, artifact: bytes | None, reason: str
) -> None:
    add_version(model, "2", golden, artifact)
    loaded = load(model)
    assert list(loaded.versions) == ["1"]
    assert reason in loaded.refused["2"]


def test_golden_inputs_that_the_model_cannot_take_refuse_the_version(tmp_path: Path) -> None:
    model = tmp_path / "doubled"
    add_version(model, "1")
    source = tmp_path / "model.onnx"
    for version, wrong in (("2", Tensor("z", "FP32", X.array)), ("3", Tensor("x", "FP32", X.array[:, :1]))):
        publish(model, version, source, golden_inputs=[wrong], golden_outputs=[Y])
    refused = load(model).refused
    assert "lack 'x'" in refused["2"]
    assert "golden inputs fail" in refused["3"]


def test_a_model_without_a_good_version_says_why(model: Path) -> None:
    spoil_artifact(model / "versions" / "1")
    with pytest.raises(ConfigurationError, match="sha256"):
        load(model)


def test_a_model_without_versions_says_what_to_do(model: Path) -> None:
    (model / "versions").rename(model / "elsewhere")
    with pytest.raises(ConfigurationError, match="train and export"):
        load(model)


def test_refresh_finds_new_versions_keeps_the_loaded_and_forgets_mended_refusals(model: Path) -> None:
    bad = add_version(model, "10")
    manifest = (bad / "manifest.json").read_text()
    (bad / "manifest.json").unlink()
    loaded = load(model)
    kept = loaded.versions["1"]
    (bad / "manifest.json").write_text(manifest)
    add_version(model, "9")
    refresh(model.parent, loaded)
    assert set(loaded.versions) == {"1", "9", "10"}
    assert (loaded.refused, loaded.default) == ({}, "10")
    assert loaded.versions["1"] is kept


def test_a_draft_is_not_a_version(model: Path) -> None:
    (model / "versions" / "1").rename(model / "versions" / ".draft-2-0a1b")
    with pytest.raises(ConfigurationError, match="no versions yet"):
        load(model)


def test_models_are_the_folders_with_a_spec(model: Path) -> None:
    (model.parent / "empty").mkdir()
    assert list_models(model.parent) == ["doubled"]
    with pytest.raises(ConfigurationError, match="no repository folder"):
        list_models(model.parent / "absent")


# --- warm-up ----------------------------------------------------------------------------------------------------------


class Model:
    """A chain that takes `seconds` a row, and `disturbed` more in some runs."""

    on_device = False

    def __init__(self, clock: Clock, seconds: float, disturbed: tuple[float, ...] = (0.0,)) -> None:
        self.clock, self.seconds, self.disturbed = clock, seconds, disturbed
        self.runs: list[int] = []

    def infer(self, inputs: list[Array], outputs: list[str]) -> list[Array]:
        (x,) = inputs
        assert outputs == ["y"]
        assert (x == X.array[0]).all(), "every row is the golden one"
        self.clock.now += self.seconds * len(x) + self.disturbed[len(self.runs) % len(self.disturbed)]
        self.runs.append(len(x))
        return [x * 2]


@pytest.fixture(name="clock")
def _clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(repository, "time", clock)
    return clock


def warm_up(model: Model, batching: str) -> dict[int, float]:
    spec = parse_spec(YAML + f"batching: {{{batching}}}\n")
    return repository._warm_up(cast(Any, model), spec, [X.array[:1]], ["y"])


@pytest.mark.parametrize(
    ("batching", "sizes"),
    [
        ("max_batch_size: 32", [2, 4, 8, 16, 32]),
        ("max_batch_size: 33", [2, 4, 8, 16, 32]),
        ("max_batch_size: 1", []),
        ("max_batch_size: 32, merge_rows: 8", [2, 4, 8]),
        ("max_batch_size: 32, buckets: [24, 6]", [6, 24]),
    ],
)
def test_the_sizes_that_requests_are_merged_into_are_run_beforehand(
    clock: Clock, batching: str, sizes: list[int]
) -> None:
    model = Model(clock, 1e-6)
    assert warm_up(model, batching) == {rows: pytest.approx(rows * 1e-6) for rows in sizes}
    assert model.runs == [rows for rows in sizes for _ in range(repository.WARM_UP_RUNS)]


def test_a_model_without_a_batch_dimension_has_no_sizes(tmp_path: Path) -> None:
    add_version(tmp_path / "doubled", "1")
    (tmp_path / "doubled" / "model.yaml").write_text(YAML.replace("-1, 2", "2, 2") + "batching: {max_batch_size: 0}\n")
    version = load(tmp_path / "doubled").versions["1"]
    assert version.warmed == {}
    assert version.batch_seconds > 0


def test_a_slow_model_is_not_run_at_every_size(clock: Clock) -> None:
    began = clock.now
    warmed = warm_up(Model(clock, 0.05), "max_batch_size: 1024")
    assert list(warmed) == [2]
    assert clock.now - began < 3 * repository.WARM_UP_SECONDS


def test_a_very_slow_model_is_run_once(clock: Clock) -> None:
    model = Model(clock, 10.0)
    assert repository._measure(cast(Any, model), [X.array[:1]], ["y"]) == 10.0
    assert model.runs == [1]


def test_what_disturbs_a_run_does_not_count(clock: Clock) -> None:
    model = Model(clock, 0.25 / 1024, disturbed=(0.25, 0.125, 0.0, 0.5))
    assert repository._measure(cast(Any, model), [X.array[:1]], ["y"]) == 0.25 / 1024


def test_a_loaded_version_knows_what_its_runs_cost(model: Path) -> None:
    version = load(model).versions["1"]
    assert list(version.warmed) == [2, 4, 8, 16, 32]
    assert all(0 < seconds < 5 for seconds in (version.batch_seconds, *version.warmed.values()))
