"""A model's own scripts, run as a user would: `python models/NAME/train.py`, then `export.py`.

Their output passes through; what they need is theirs, so that the library never imports a model.
"""

import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from modelyard.errors import ConfigurationError
from modelyard.lifecycle.versions import model_folder
from modelyard.manifest import list_versions
from modelyard.spec import read_spec

TRAIN, EXPORT, BUILD = "train.py", "export.py", "build"


def export(repository: Path, name: str, version: str | None, *, train: bool, say: Callable[[str], None]) -> list[str]:
    """Train when that is needed or asked for, export. Returns the versions that are new; `say` is told each step.

    Raises ConfigurationError without an export.py, and when a script fails.
    """
    folder = model_folder(repository, name)
    read_spec(folder)
    if not (folder / EXPORT).is_file():
        raise ConfigurationError(
            f"'{name}' has no {EXPORT}: {folder / EXPORT} does not exist "
            f"(an ONNX file is brought by `modelyard import FILE --name {name}`)"
        )
    before = set(list_versions(folder))
    if version in before:
        raise ConfigurationError(f"version {version} of '{name}' stands already: {folder / 'versions' / version}")
    if (folder / TRAIN).is_file() and (train or not _built(folder)):
        _run(folder / TRAIN, (), say)
    elif train:
        raise ConfigurationError(f"'{name}' has no {TRAIN}: it is exported without training")
    _run(folder / EXPORT, (f"--version={version}",) if version else (), say)
    return [found for found in list_versions(folder) if found not in before]


def _built(folder: Path) -> bool:
    """Has training left anything? What it is worth is export.py's to say."""
    build = folder / BUILD
    return build.is_dir() and any(build.iterdir())


def _run(script: Path, arguments: Sequence[str], say: Callable[[str], None]) -> None:
    """To its end, with our own stdin, stdout and stderr. Ctrl-C reaches it too, as it is in our process group."""
    say(" ".join(["python", str(script), *arguments]))
    process = subprocess.Popen([sys.executable, str(script), *arguments])
    try:
        code = process.wait()
    except KeyboardInterrupt:
        process.wait()
        raise
    if code < 0:
        raise ConfigurationError(f"{script} was ended by {signal.Signals(-code).name}")
    if code:
        raise ConfigurationError(f"{script} ended with exit code {code}")
