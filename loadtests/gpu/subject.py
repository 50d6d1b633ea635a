"""The port of what is measured: whether it can run here, load, run a batch, close.

    why_not() -> "" -> load(given) -> run(batch) -> array, again and again -> close()
             -> "no driver": it is not measured, and that is said

A batch goes in and comes out in the host's memory: the way to the device and back is part of what a caller waits for.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from loadtests.bench.core import WORK
from loadtests.bench.models import INFO, ModelInfo
from loadtests.bench.payloads import Array
from modelyard.spec import Precision

FOLDER = WORK / "gpu"  # engines, repositories' inputs, converted models, logs: nothing of it is kept in git


@dataclass(frozen=True)
class Given:
    """What a subject is given to load. `repository`: of Modelyard, with this model and no edits."""

    model: str
    onnx: Path
    repository: Path
    batches: tuple[int, ...]

    @property
    def info(self) -> ModelInfo:
        """The model's input and output."""
        return INFO[self.model]


@dataclass
class Loaded:
    """What loading gave: seconds of a build by its kind (cold, cached), versions of the libraries that answer.

    `building`: seconds that all builds took with their processes, which are no part of being ready.
    """

    build: dict[str, float] = field(default_factory=dict)
    building: float = 0.0
    versions: dict[str, str] = field(default_factory=dict)


class Subject(Protocol):
    """One thing that is measured. It lives in a process of its own: what crashes there, crashes nothing else."""

    @property
    def precision(self) -> Precision:
        """What it computes in."""
        ...

    def why_not(self) -> str:
        """Why it cannot run here, in a line; empty when it may be tried."""
        ...

    def load(self, given: Given) -> Loaded:
        """Be ready to run."""
        ...

    def run(self, batch: Array) -> Array:
        """The model's output for a batch."""
        ...

    def close(self) -> None:
        """Free what it holds."""
        ...


def reason(error: BaseException) -> str:
    """An error as one line of a table."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:300] if text else type(error).__name__
