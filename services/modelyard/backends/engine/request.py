"""What the maker asks of its child, as JSON on the child's stdin; the answers are JSON lines on its stdout.

{"do": "probe"} -> device | failed
{"do": "try", ...} -> tried | failed
{"do": "build", ...} -> progress ... -> built | failed

{"event": "progress", "phase": "...", "step": 3, "steps": 10}     the phases "waiting" and "building" are ours, the
                                                                  others come from TensorRT
{"event": "device", "gpu": "...", ...}                            the fields of Device
{"event": "built", "path": "..."}                                 the plan is in the store
{"event": "failed", "kind": KIND, "reason": "one line"}           operator (no engine of this model can serve), plan (it
                                                                  does not load, or kills the context), memory, other
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


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    parent: int
    """Process id of the maker: the child ends with it."""


class ProbeRequest(_Request):
    do: Literal["probe"] = "probe"


class _EngineRequest(_Request):
    folder: Path
    max_bytes: int
    key: EngineKey
    spec: ModelSpec
    backend: BackendSpec


class TryRequest(_EngineRequest):
    """Run every bucket of an engine that the store has."""

    do: Literal["try"] = "try"


class BuildRequest(_EngineRequest):
    """Build an engine, run it, and publish it in the store."""

    do: Literal["build"] = "build"
    version: str
    artifact: Path
    workspace_bytes: int
    again: bool = False
    """True: build it though the store has it."""


@dataclass(frozen=True, slots=True)
class Device:
    """The GPU that answers, and the libraries that it answers through."""

    gpu: str
    compute_capability: str
    driver: str
    cuda: str
    tensorrt: str
    memory_bytes: int
