"""Repositories of the project's own models, for the tests: versions that were exported already, else trained now.

    models/<name>, versions and all  ->  a fresh repository        where `make models` or an export ran before
    models/*, code alone -> train.py, export.py -> a fresh repository    otherwise; once for all processes of a run

A family is a folder of models/ with an export.py. What it is composed of comes along: the members of an ensemble.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from tests.integration.harness import clean_environment

MODELS = Path(__file__).resolve().parents[2] / "models"
SCRIPTS = ("train.py", "export.py")
TRAINING_SECONDS = 600.0

_STATE = ("build", "__pycache__", ".*", "aliases.json")
"""What a developer's work leaves in a model folder. Without aliases the newest version is served."""


def family(name: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh repository with the model `name`, all of its versions, and the members that it is composed of."""
    return families([name], tmp_path_factory)


def families(names: Sequence[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `family`, with several models side by side."""
    repository = tmp_path_factory.mktemp("models")
    for name in _with_members(names):
        source = _source(name, tmp_path_factory)
        shutil.copytree(source, repository / name, ignore=shutil.ignore_patterns(*_STATE))
    return repository


def _with_members(names: Sequence[str]) -> list[str]:
    """The names and those that their model.yaml composes, each once."""
    found: list[str] = []
    for name in names:
        found += [each for each in (*_with_members(_members(MODELS / name)), name) if each not in found]
    return found


def _members(folder: Path) -> list[str]:
    spec = yaml.safe_load((folder / "model.yaml").read_text(encoding="utf-8"))
    return [member["model"] for member in spec.get("ensemble", ())]


def _needs(folder: Path) -> list[str]:
    """The families whose versions the scripts of this one may read: its members, and those that needs.txt names."""
    needs = folder / "needs.txt"
    return [*_members(folder), *(needs.read_text(encoding="utf-8").split() if needs.exists() else ())]


def _source(name: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the model with at least one version."""
    if _has_version(MODELS / name):
        return MODELS / name
    shared = _shared_folder(tmp_path_factory)
    with _no_time_limit(), _locked(shared / "lock"):
        trained = shared / "models"
        if not trained.exists():
            # All of them: a script may read another family's rows.
            ignored = shutil.ignore_patterns(*_STATE, "versions")
            shutil.copytree(MODELS, shared / "draft", ignore=ignored, dirs_exist_ok=True)
            (shared / "draft").rename(trained)
        _make(name, trained)
    return trained / name


def _make(name: str, trained: Path) -> None:
    """A version of the family below `trained`, unless there is one already; those that it needs come first."""
    if _has_version(trained / name):
        return
    if _has_version(MODELS / name):
        shutil.copytree(MODELS / name / "versions", trained / name / "versions")
        return
    for needed in _needs(trained / name):
        _make(needed, trained)
    for script in SCRIPTS:
        if (path := trained / name / script).exists():
            _run(path)


def _run(script: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        timeout=TRAINING_SECONDS,
        env=clean_environment(),
        check=False,
    )
    place = f"{script.parent.name}/{script.name}"
    assert done.returncode == 0, f"{place} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"


def _has_version(folder: Path) -> bool:
    return any(folder.glob("versions/*/manifest.json"))


def _shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all processes of a run: with xdist each has a base folder of its own below a common one."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "trained"
    shared.mkdir(exist_ok=True)
    return shared


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # let go when the file is closed, also when this process dies
        yield


@contextmanager
def _no_time_limit() -> Iterator[None]:
    """The limit of the test that happens to need the model first stands still: training has one of its own."""
    left, every = signal.setitimer(signal.ITIMER_REAL, 0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, left, every)
