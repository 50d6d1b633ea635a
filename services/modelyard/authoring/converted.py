"""What a conversion in a child process hands back: an ONNX file, rows to try it on, and what it has to say.

The child may have run a stranger's code: its answer is read as a stranger's, and the files are those of fixed names.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from modelyard.errors import ConfigurationError
from modelyard.importing.bounded import Answer, Limits, ask_child, one_line

ARTIFACT = "converted.onnx"
ROWS = "rows.npz"
_SLOWER = 5
"""A conversion imports torch or scikit-learn and translates: it may take so much longer than a trial."""


@dataclass(frozen=True, slots=True)
class Converted:
    artifact: Path
    rows: Path | None = None
    notes: list[str] = field(default_factory=list)
    """For the reader: what it was, and how close the ONNX file comes to it."""


class _Said(BaseModel):
    model_config = ConfigDict(extra="ignore")
    notes: list[str] = Field(max_length=20)


def convert(
    module: str, source: Path, scratch: Path, limits: Limits, options: dict[str, Any], environment: dict[str, str]
) -> Converted:
    """Let `module` make scratch/converted.onnx of `source`. Raises ConfigurationError."""
    more = Limits(_SLOWER * limits.seconds, limits.memory_bytes)
    request: Answer = {"source": str(source.absolute()), "scratch": str(scratch), **options}
    said = ask_child(module, request, more, f"the conversion of {source}", environment)
    artifact, rows = scratch / ARTIFACT, scratch / ROWS
    try:
        notes = _Said.model_validate(said).notes
    except ValidationError:
        raise ConfigurationError(f"the conversion of {source} gave no answer") from None
    for path in (artifact, rows):
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise ConfigurationError(f"the conversion of {source} left a link or a folder as {path.name}")
    if not artifact.exists():
        raise ConfigurationError(f"the conversion of {source} left no ONNX file")
    return Converted(artifact, rows if rows.exists() else None, [one_line(note) for note in notes])
