"""What is killed, and what must hold afterwards: promote, rollback, publish, import.

A scenario makes a repository, acts in it (and dies somewhere on the way) and then looks at what is left with the eyes
of the next command. It runs in the processes of crash_driver.py, which are no test processes: they import the library.
"""

from __future__ import annotations

import runpy
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import onnx
import yaml

from modelyard import cli
from modelyard.aliases import DRAFT, read_aliases
from modelyard.errors import ConfigurationError
from modelyard.evaluation import Evaluation
from modelyard.importing.bounded import ask_child
from modelyard.lifecycle import compare
from modelyard.manifest import list_versions, publish
from modelyard.repository import load_model
from modelyard.tensors import Tensor
from tests.integration import onnx_models

NAME = "scaled"
X = np.arange(8, dtype=np.float32).reshape(4, 2)
SPEC: dict[str, Any] = {
    "name": NAME,
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
    "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}],
    "backends": [{"name": "onnxruntime-cpu"}],
}
EXPORT = """
from pathlib import Path

import numpy as np
import onnx

from modelyard.manifest import next_version, publish
from modelyard.tensors import Tensor
from tests.integration import onnx_models

FOLDER = Path(__file__).parent
BUILD = FOLDER / "build"
BUILD.mkdir(exist_ok=True)
version = next_version(FOLDER)
onnx.save(onnx_models.affine(np.eye(2, dtype=np.float32) * int(version), np.zeros(2, np.float32)), BUILD / "model.onnx")
x = np.ones((2, 2), np.float32)
golden = {"golden_inputs": [Tensor.from_array("x", x)], "golden_outputs": [Tensor.from_array("y", x * int(version))]}
publish(FOLDER, version, BUILD / "model.onnx", **golden)
"""


@dataclass(frozen=True)
class Scenario:
    prepare: Callable[[Path], None]
    act: Callable[[Path], None]
    look: Callable[[Path], str]
    """Raises AssertionError, or says what is there: `old` or `new`."""
    step: int = 1
    """Every so many points is tried."""


def command(*arguments: str | Path) -> None:
    """`modelyard ARGUMENTS` in this process."""
    compare.MOST_RUNS = compare.LEAST_RUNS  # the figures are of no interest here
    sys.argv = ["modelyard", *map(str, arguments)]
    try:
        cli.main()
    except SystemExit as end:
        if end.code:
            raise AssertionError(f"{arguments} ended with {end.code}") from end


def add(repository: Path, version: str) -> None:
    """y = version * x."""
    source = repository / f"{version}.onnx"
    factor = np.eye(2, dtype=np.float32) * float(version)
    onnx.save(onnx_models.affine(factor, np.zeros(2, np.float32)), source)
    publish(
        repository / NAME,
        version,
        source,
        golden_inputs=[Tensor.from_array("x", X)],
        golden_outputs=[Tensor.from_array("y", X * np.float32(version))],
        metrics={"accuracy": 1.0},
        evaluation=Evaluation({"x": X}),
    )


def three_versions(repository: Path) -> None:
    (repository / NAME).mkdir()
    (repository / NAME / "model.yaml").write_text(yaml.safe_dump(SPEC))
    for version in ("1", "2", "3"):
        add(repository, version)


def after_two_promotes(repository: Path) -> None:
    three_versions(repository)
    for version in ("1", "2"):
        promote(repository, version)


def promote(repository: Path, version: str) -> None:
    command("promote", NAME, version, "--repository", repository)


def rollback(repository: Path) -> None:
    command("rollback", NAME, "--repository", repository)


def served(repository: Path) -> str:
    """The version that a server would answer from; it does answer."""
    model = load_model(repository, NAME)
    assert not model.refused, model.refused
    loaded = model.versions[model.default]
    (answer,) = loaded.chain.infer([X], ["y"])
    assert np.array_equal(answer, X * np.float32(model.default))
    return model.default


def look_at_aliases(old: str, new: str) -> Callable[[Path], str]:
    """stable is the old or the new version; the change is in the history with it; the next commands work."""

    def look(repository: Path) -> str:
        folder = repository / NAME
        before = read_aliases(folder)
        assert before.stable in {old, new}, before
        moves = [change.version for change in before.history if change.action in {"promote", "rollback"}]
        assert moves[-1] == before.stable, "alias and history are one"
        assert served(repository) == before.stable
        other = "1" if before.stable == "3" else "3"
        promote(repository, other)
        after = read_aliases(folder)
        assert (after.stable, after.previous) == (other, before.stable)
        assert after.history[:-1] == before.history
        assert not (folder / DRAFT).exists()
        rollback(repository)
        assert read_aliases(folder).stable == before.stable == served(repository)
        return "old" if before.stable == old else "new"

    return look


def look_at_versions(new: str) -> Callable[[Path], str]:
    """The new version is whole or not there; what serves is good; the next export works and cleans up."""

    def look(repository: Path) -> str:
        folder = repository / NAME
        there = list_versions(folder)
        assert set(there) - {new} == {"1", "2", "3"}
        assert served(repository) == there[-1], "every version that is there is whole"
        add(repository, "9")
        hidden = [path.name for path in (folder / "versions").iterdir() if path.name.startswith(".")]
        assert hidden == [], "drafts of the dead are removed"
        assert served(repository) == "9"
        return "new" if new in there else "old"

    return look


def export_prepared(repository: Path) -> None:
    three_versions(repository)
    (repository / NAME / "export.py").write_text(EXPORT)


def export(repository: Path) -> None:
    """As `python export.py`, but in this process."""
    sys.argv = ["export.py"]
    runpy.run_path(str(repository / NAME / "export.py"), run_name="__main__")


def import_prepared(repository: Path) -> None:
    onnx.save(onnx_models.affine(np.eye(2, dtype=np.float32), np.zeros(2, np.float32)), repository / "given.onnx")


def import_given(repository: Path) -> None:
    command("import", repository / "given.onnx", "--name", NAME, "--repository", repository)


def look_at_import(repository: Path) -> str:
    """The model is there and serves, or it is not listed; in both cases the next import works."""
    folder = repository / NAME
    try:
        before = load_model(repository, NAME).default
    except ConfigurationError:
        before = ""
        assert not (folder / "model.yaml").exists() or not list_versions(folder)
    import_given(repository)
    assert load_model(repository, NAME).default == list_versions(folder)[-1]
    hidden = [path.name for path in (folder / "versions").iterdir() if path.name.startswith(".")]
    assert hidden == []
    return "new" if before else "old"


def remember_trials(folder: Path) -> None:
    """The child that tries an imported file is asked once: it writes nothing to the repository."""
    answers: list[dict[str, Any]] = []

    def ask(child: str, request: dict[str, Any], *rest: Any) -> dict[str, Any]:
        scratch = Path(request["scratch"])
        if answers:
            shutil.copytree(folder, scratch, dirs_exist_ok=True)
        else:
            answers.append(ask_child(child, request, *rest))
            shutil.copytree(scratch, folder)
        return answers[0]

    patch("modelyard.importer.ask_child", ask).start()


def look_at_candidate(repository: Path) -> str:
    state = read_aliases(repository / NAME)
    assert state.candidate in {None, "3"}
    assert look_at_aliases("2", "2")(repository) == "old"
    return "new" if state.candidate else "old"


SCENARIOS = {
    "promote": Scenario(after_two_promotes, lambda repository: promote(repository, "3"), look_at_aliases("2", "3")),
    "rollback": Scenario(after_two_promotes, rollback, look_at_aliases("2", "1")),
    "candidate": Scenario(
        after_two_promotes,
        lambda repository: command("promote", NAME, "3", "--candidate", "--repository", repository),
        look_at_candidate,
    ),
    "publish": Scenario(three_versions, lambda repository: add(repository, "4"), look_at_versions("4")),
    "export": Scenario(export_prepared, export, look_at_versions("4"), step=3),
    "import": Scenario(import_prepared, import_given, look_at_import),
}
