"""What an engine in the store is called, and what is written beside its plan.

EngineKey -> its digest -> <digest>.json, a Manifest that names the plan's file and its sha256
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict, Field

FORMAT = 1


@dataclass(frozen=True, slots=True)
class EngineKey:
    """All that decides whether a plan fits: another value, another plan."""

    onnx_sha256: str
    """The digest of the version's manifest: of the ONNX file, and of its weights where they stand beside it."""
    tensorrt: str
    gpu: str
    compute_capability: str
    precision: str
    profiles: str
    """Canonical JSON: what the plan is built for, not how model.yaml says it."""
    flags: str = ""

    @property
    def digest(self) -> str:
        return digest_of(asdict(self))


@dataclass(frozen=True, slots=True)
class About:
    """Whose engine it is and what it cost: for people, not for the look-up."""

    model: str
    version: str
    seconds: float
    """Of the build."""


@dataclass(frozen=True, slots=True)
class Entry:
    key: EngineKey
    about: About
    bytes: int
    created: str
    last_used: float
    """Seconds since the epoch."""
    refused: str = ""
    """Why the plan would not be loaded; empty: nothing that shows without reading all of it."""


class Manifest(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    format: int = Field(ge=FORMAT, le=FORMAT)
    key: EngineKey
    plan: str = Field(pattern=r"^[0-9a-f]{64}\.[0-9a-f]+\.plan$")
    """Name of the file beside the manifest."""
    bytes: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    about: About
    created: str


def digest_of(fields: dict[str, str]) -> str:
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
