"""`make models`: models/make.py on families whose scripts take no time."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.integration.families import MODELS
from tests.integration.harness import clean_environment

TRAIN = 'import pathlib, sys; print("training {name}"); pathlib.Path(sys.path[0], "weights").write_text("{name}")'
EXPORT = """
import pathlib
from modelyard.manifest import Interface, list_versions, next_version, publish
folder = pathlib.Path(__file__).parent
for needed in {needs}:
    assert list_versions(folder.parent / needed), needed
publish(
    folder, next_version(folder), folder / "{file}", metrics={{"accuracy": 0.987, "loss": 2.5}},
    interface=Interface(inputs=(), outputs=()),
)
"""


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """The script in a folder of its own."""
    shutil.copy(MODELS / "make.py", tmp_path)
    return tmp_path


def plant(
    models: Path, name: str, needs: Sequence[str] = (), ensemble: Sequence[str] = (), trained: bool = True
) -> Path:
    """A family whose export finds what it needs, or fails."""
    folder = models / name
    folder.mkdir()
    members = "".join(f"  - {{model: {member}}}\n" for member in ensemble)
    (folder / "model.yaml").write_text(f"name: {name}\n" + (f"ensemble:\n{members}" if members else ""))
    if needs:
        (folder / "needs.txt").write_text("\n".join(needs) + "\n")
    if trained:
        (folder / "train.py").write_text(TRAIN.format(name=name))
    file = "weights" if trained else "model.yaml"
    (folder / "export.py").write_text(EXPORT.format(file=file, needs=[*needs, *ensemble]))
    return folder


def make(models: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the script to its end."""
    return subprocess.run(
        [sys.executable, str(models / "make.py"), *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        env=clean_environment(),
        check=False,
    )


def versions(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("versions/*"))


def test_families_come_after_those_that_they_need(models: Path) -> None:
    first = plant(models, "alpha", needs=["omega"])
    plant(models, "both", ensemble=["omega", "alpha"], trained=False)
    plant(models, "omega")
    (models / "no family").mkdir()
    (first / "README.md").write_text("| `accuracy` | **0.99** |\n|`loss`| about 2,5 on rows |\n")
    done = make(models)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    for title in ("[1/3] omega", "[2/3] alpha", "[3/3] both"):
        assert any(line.startswith(f"{title}: version 1, accuracy 0.987, loss 2.5") for line in lines), done.stdout
    rows = [line.split() for line in lines]
    assert ["alpha", "1", "accuracy", "0.987", "0.99"] in rows, done.stdout
    assert ["loss", "2.5", "2,5"] in rows
    assert ["omega", "1", "accuracy", "0.987"] in rows
    assert "3 of 3 made" in done.stdout
    assert "training alpha" in (first / "build" / "make.log").read_text()


def test_what_has_a_version_is_left_as_it_is_unless_again(models: Path) -> None:
    one, two = plant(models, "one"), plant(models, "two", needs=["one"])
    assert make(models, "--only", "one").returncode == 0
    assert (versions(one), versions(two)) == (["1"], [])
    done = make(models)
    assert "one: has version 1" in done.stdout
    assert (versions(one), versions(two)) == (["1"], ["1"])
    assert make(models, "--only", "two", "--again").returncode == 0
    assert (versions(one), versions(two)) == (["1"], ["1", "2"])
    assert make(models, "--again").returncode == 0
    assert (versions(one), versions(two)) == (["1", "2"], ["1", "2", "3"])


def test_one_that_fails_is_named_and_the_others_are_made(models: Path) -> None:
    bad, good = plant(models, "bad"), plant(models, "good")
    plant(models, "late", needs=["bad"])
    (bad / "train.py").write_text('import sys; print("accuracy 0.2"); sys.exit("error: below 0.98")')
    done = make(models)
    assert done.returncode == 1
    assert versions(good) == ["1"]
    assert "error: bad: train.py ended with 1" in done.stderr
    assert "error: late: was left out: it needs bad" in done.stderr
    assert "Traceback" not in done.stderr
    assert "error: below 0.98" in done.stdout
    assert "1 of 3 made" in done.stdout


def test_impossible_wishes_are_one_line(models: Path) -> None:
    plant(models, "a", needs=["b"])
    done = make(models, "--only", "c")
    assert (done.returncode, done.stderr) == (1, "error: there is no model family 'c'; there are a\n")
    assert "no model family 'b'" in make(models).stderr
    plant(models, "b", needs=["a"])
    done = make(models)
    assert done.returncode == 1
    assert "in a circle" in done.stderr
    assert len(done.stderr.splitlines()) == 1
