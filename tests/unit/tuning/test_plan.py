"""What is refused before anything is measured."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest

from modelyard.errors import ConfigurationError
from modelyard.spec import parse_spec, read_spec
from modelyard.tuning.grid import Setting
from modelyard.tuning.plan import Options, build_plan, check_editable, make_ready, plot_target

OPTIONS = Options(
    name="m",
    version="",
    concurrency="1,8,32",
    seconds=1.0,
    batch_sizes="",
    executors="",
    delays="",
    rows=1,
    dims=(),
    p99_ms=None,
    write=False,
    json=None,
    plot=None,
)
TEXT = "name: m\ninputs: [{name: x, datatype: FP32, shape: [-1]}]\noutputs: [{name: y, datatype: FP32, shape: [-1]}]\n"


def test_the_defaults_sweep_everything_up_to_what_there_is() -> None:
    plan = build_plan(OPTIONS, parse_spec(TEXT), threads=4)
    assert plan.levels == [1, 8, 32]
    assert plan.current == Setting(0.0, 4, 32)
    assert {setting.rows for setting in plan.grid} == {1, 2, 4, 8, 16, 32}
    assert {setting.executors for setting in plan.grid} == {1, 2, 4}
    assert {setting.delay_ms for setting in plan.grid} == {0.0, 2.0}


def test_lists_of_the_user_are_taken_as_they_are_beside_the_current_setting() -> None:
    options = replace(OPTIONS, batch_sizes="64,3", executors="1", delays="5", concurrency="4")
    plan = build_plan(options, parse_spec(TEXT), threads=2)
    assert plan.grid == [Setting(0.0, 2, 32), Setting(5.0, 1, 3), Setting(5.0, 1, 64)]


def test_threads_that_no_server_would_have_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="MODELYARD_EXECUTORS"):
        build_plan(replace(OPTIONS, executors="1,3"), parse_spec(TEXT), threads=2)


def test_without_matplotlib_curves_are_left_out_unless_they_were_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert plot_target(OPTIONS) == (Path("build/tune/m.png"), "")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    path, why = plot_target(OPTIONS)
    assert path is None
    assert "pip install 'modelyard[bench]'" in why
    with pytest.raises(ConfigurationError, match="pip install"):
        plot_target(replace(OPTIONS, plot=tmp_path / "curves.png"))


def test_a_file_that_cannot_be_written_is_found_out(tmp_path: Path) -> None:
    make_ready(tmp_path / "new" / "file.json")
    assert not (tmp_path / "new" / "file.json").exists()
    with pytest.raises(ConfigurationError, match="cannot be written"):
        make_ready(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        make_ready(tmp_path / "file" / "inside.json")


def test_a_model_yaml_that_cannot_be_edited_is_found_out(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "model.yaml").write_text(TEXT)
    check_editable(folder, read_spec(folder))
    assert (folder / "model.yaml").read_text() == TEXT
    (folder / "model.yaml").write_text(TEXT + "batching: {max_batch_size: &n 16, merge_rows: *n}\n")
    with pytest.raises(ConfigurationError, match="by hand"):
        check_editable(folder, read_spec(folder))
