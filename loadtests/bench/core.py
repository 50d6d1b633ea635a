"""The words of the benchmark: what a running server is, how one is started, what one measurement gives.

A `Recipe` starts a `Server`; a load generator asks one of its `Endpoint`s and returns a `Sample`; samples of several
rounds and the results of the scenarios become `Bar`s and tables. Nothing here does any work.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / "build" / "bench"  # models, environments of the peers, logs: nothing of it is kept in git
MODELS = WORK / "models"
LOGS = WORK / "logs"
DOCS = ROOT / "docs"  # benchmarks.md, and benchmarks/ with its pictures and results.json
HOST = "127.0.0.1"

# json: {"x": [[...]]} -> {"y": [[...]]}, each peer's own simplest way; oip-*: Open Inference Protocol v2
Face = Literal["json", "oip-json", "oip-binary", "oip-grpc"]


@dataclass(frozen=True)
class Endpoint:
    """Where one face of a server is asked. `path` is the HTTP path of an infer, `model` the name on the wire."""

    face: Face
    host: str
    port: int
    path: str = ""
    model: str = ""


@dataclass
class Server:
    """A running server. `pid` is the top of its process tree; `answers` is False for a floor, which runs no model."""

    name: str
    model: str
    pid: int
    endpoints: dict[Face, Endpoint]
    answers: bool = True
    version: str = ""


class Recipe(Protocol):
    """How one server is started with a model. The server is ready when the block begins, and gone when it ends."""

    @property
    def name(self) -> str:
        """The server's name in every table."""
        ...

    @property
    def faces(self) -> tuple[Face, ...]:
        """The faces that it offers."""
        ...

    def start(self, model: str, onnx: Path, log: Path) -> AbstractContextManager[Server]:
        """Start it with the model `model` of the file `onnx`; what it prints goes to `log`."""
        ...


@dataclass
class Sample:
    """One measurement of one endpoint. Times in seconds unless the name says otherwise; requests are those answered."""

    seconds: float
    requests: int
    errors: int
    wrong: int
    p50: float
    p99: float
    cpu_us: float = 0.0  # of the server's process tree, a request
    client_cpu_us: float = 0.0  # of the load generator, a request
    client_share: float = 0.0  # of one core, that the load generator used
    checked: int = 0  # answers whose values were compared
    rows: int = 1  # in each request
    rss_bytes: int = 0  # of the process tree, at the end
    fds: int = 0
    first_error: str = ""
    histogram: dict[str, int] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds if self.seconds else 0.0


@dataclass
class Bar:
    """One promise: `value` is to be at least, or at most, `bar`. `why` is where the time goes when it is not held."""

    name: str
    value: float | None  # None: not measured in this run
    bar: float
    kind: Literal["at least", "at most"] = "at least"
    unit: str = "x"
    note: str = ""
    why: str = ""

    @property
    def held(self) -> bool | None:
        """Whether it is held; None when it was not measured."""
        if self.value is None:
            return None
        return self.value >= self.bar if self.kind == "at least" else self.value <= self.bar


def cores() -> list[int]:
    """The cores this process may run on."""
    return sorted(os.sched_getaffinity(0))
