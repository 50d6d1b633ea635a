"""What the maker asks of its child, as JSON on the child's stdin; the answers are JSON lines on its stdout.

{"do": "probe"} -> device | failed
{"do": "try", ...} -> tried | failed
{"do": "build", ...} -> progress ... -> built | failed

{"event": "progress", "phase": "...", "step": 3, "steps": 10}     the phases "waiting" and "building" are ours, the
                                                                  others come from TensorRT
{"event": "device", "gpu": "...", ...}                            the fields of Device
{"event": "built", "path": "..."}                                 the plan is in the store
{"event": "failed", "kind": "operator" | "memory" | "other", "reason": "one line"}
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from modelyard.backends.engine.entry import EngineKey
from modelyard.spec import BackendSpec, ModelSpec

WAITING = "waiting"
"""Another process builds this engine."""
BUILDING = "building"


class ProbeRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    do: Literal["probe"] = "probe"
    parent: int
    """Process id of the maker: the child ends with it."""


class BuildRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    do: Literal["build"] = "build"
    parent: int
    folder: Path
    max_bytes: int
    key: EngineKey
    version: str
    artifact: Path
    spec: ModelSpec
    backend: BackendSpec
    workspace_bytes: int
    again: bool = False
    """True: build it though the store has it."""


class TryRequest(BaseModel):
    """Run every bucket of an engine that the store has."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    do: Literal["try"] = "try"
    parent: int
    folder: Path
    max_bytes: int
    key: EngineKey
    spec: ModelSpec
    backend: BackendSpec


@dataclass(frozen=True, slots=True)
class Device:
    """The GPU that answers, and the libraries that it answers through."""

    gpu: str
    compute_capability: str
    driver: str
    cuda: str
    tensorrt: str
    memory_bytes: int
