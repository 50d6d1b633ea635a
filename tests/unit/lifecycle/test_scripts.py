"""`modelyard export`: which of a model's scripts are run, and what becomes of their end."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelyard.errors import ConfigurationError
from modelyard.lifecycle.scripts import export
from tests.unit.lifecycle.models import NAME

TRAIN = """
from pathlib import Path
build = Path(__file__).parent / "build"
build.mkdir(exist_ok=True)
(build / "weights").write_text("w")
with (build.parent / "calls").open("a") as file: file.write("train ")
"""
EXPORT = """
import sys
from pathlib import Path
folder = Path(__file__).parent
version = sys.argv[1].removeprefix("--version=") if len(sys.argv) > 1 else "1"
(folder / "versions" / version).mkdir(parents=True)
with (folder / "calls").open("a") as file: file.write("export ")
"""


def write(model: Path, train: str | None = None, export: str | None = None) -> None:
    for name, text in (("train.py", train), ("export.py", export)):
        if text is not None:
            (model / name).write_text(text)


def run(model: Path, version: str | None = None, *, train: bool = False) -> list[str]:
    said: list[str] = []
    new = export(model.parent, NAME, version, train=train, say=said.append)
    assert said[-1].startswith("python "), "each step is told"
    return new


def calls(model: Path) -> str:
    return (model / "calls").read_text().strip()


def test_training_runs_when_nothing_was_trained_or_when_it_is_asked_for(model: Path) -> None:
    write(model, TRAIN, EXPORT)
    assert run(model) == ["1"]
    assert calls(model) == "train export"
    assert run(model, "2") == ["2"]
    assert calls(model) == "train export export"
    assert run(model, "3", train=True) == ["3"]
    assert calls(model) == "train export export train export"


def test_an_empty_build_is_no_training(model: Path) -> None:
    write(model, TRAIN, EXPORT)
    (model / "build").mkdir()
    run(model)
    assert calls(model) == "train export"


def test_a_model_may_have_nothing_to_train(model: Path) -> None:
    write(model, None, EXPORT)
    assert run(model) == ["1"]
    with pytest.raises(ConfigurationError, match=r"has no train\.py"):
        run(model, "2", train=True)


def test_without_an_export(model: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"has no export\.py.*modelyard import"):
        run(model)


def test_an_unknown_model(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="there is no model"):
        export(tmp_path, "absent", None, train=False, say=print)


def test_a_version_that_stands_costs_no_training(model: Path) -> None:
    write(model, TRAIN, EXPORT)
    (model / "versions" / "1").mkdir(parents=True)
    with pytest.raises(ConfigurationError, match="stands already"):
        run(model, "1")
    assert not (model / "calls").exists()


@pytest.mark.parametrize(
    ("end", "why"),
    [
        ("raise SystemExit(3)", "ended with exit code 3"),
        ("import os; os.kill(os.getpid(), 9)", "was ended by SIGKILL"),
    ],
)
def test_a_script_that_fails_ends_it(model: Path, end: str, why: str) -> None:
    write(model, end, EXPORT)
    with pytest.raises(ConfigurationError, match=rf"train\.py {why}"):
        run(model)
    assert not (model / "calls").exists(), "export.py is not run on what training did not finish"
    write(model, TRAIN, end)
    with pytest.raises(ConfigurationError, match=rf"export\.py {why}"):
        run(model)
