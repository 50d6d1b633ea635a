"""`modelyard import`: an ONNX file becomes a model folder that can be served.

    is it a file, is it ONNX? -> a child reads it, describes it and runs it (importing/) -> model.yaml, version

The file may be hostile: everything that parses or runs it happens in a child process with an end in time and memory.
Nothing is written to the repository before the child has answered.
"""

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from modelyard.errors import ConfigurationError
from modelyard.golden import Golden, read_golden
from modelyard.importing.bounded import Limits, ask_child
from modelyard.importing.kinds import require_onnx
from modelyard.interface import difference
from modelyard.manifest import NAME, Interface, next_version, publish
from modelyard.spec import MODEL_YAML, ModelSpec, parse_spec, read_spec

_CHILD = "modelyard.importing.child"


@dataclass(frozen=True, slots=True)
class Imported:
    """What was found and written."""

    spec: ModelSpec
    version: str
    folder: Path
    findings: list[str]
    golden: Golden | None = None
    about: dict[str, Any] = field(default_factory=dict)
    """producer, opset, parameters, nodes."""


def import_onnx(
    source: Path,
    name: str,
    repository: Path,
    version: str | None = None,
    *,
    rows: Path | None = None,
    limits: Limits | None = None,
    called: Path | None = None,
) -> Imported:
    """Write models/<name>. `rows`: an .npz file with real input, for a model that made-up numbers are wrong for.
    `called`: the file that `source` was converted from, as complaints name it.

    Raises ConfigurationError when the file cannot be served or is no new version.
    """
    check_name(name)
    require_onnx(source)
    folder = repository / name
    version = version or next_version(folder)
    with tempfile.TemporaryDirectory(prefix="modelyard-import-") as scratch:
        artifact = Path(scratch) / "model.onnx"
        request = {
            "source": str(source.absolute()),
            "called": str(called or source),
            "rows": str(rows.absolute()) if rows else None,
            "name": name,
            "scratch": scratch,
        }
        found = ask_child(_CHILD, request, limits or Limits(), f"the trial of {called or source}")
        spec = parse_spec(yaml.safe_dump(found["spec"]), str(called or source))
        golden_file = Path(scratch) / "golden.json"
        golden = read_golden(golden_file) if golden_file.exists() else None
        existing = (folder / MODEL_YAML).exists()
        if existing:
            before, after = read_spec(folder), spec
            if fault := difference(before, after):
                raise ConfigurationError(f"{fault}; import it under another name")
            spec = before
        target = publish(
            folder,
            version,
            artifact,
            golden_inputs=golden.inputs if golden else [],
            golden_outputs=golden.outputs if golden else [],
            libraries={"onnx": found["onnx"], "producer": found["about"]["producer"]},
            interface=Interface(inputs=spec.inputs, outputs=spec.outputs),
        )
    if not existing:
        write_spec(folder / MODEL_YAML, spec)
    return Imported(spec, version, target, found["findings"], golden, found["about"])


def check_name(name: str) -> None:
    """Raises ConfigurationError for what no folder of a repository may be called."""
    if not NAME.fullmatch(name):
        raise ConfigurationError(
            f"'{name[:80]}' cannot name a model: a letter or digit, then letters, digits, '.', '_' and '-' only"
        )


def write_spec(path: Path, spec: ModelSpec) -> None:
    """model.yaml with what differs from the defaults, and the batch size in any case."""
    document = spec.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    document["batching"] = {"max_batch_size": spec.batching.max_batch_size}
    draft = path.with_suffix(".draft")
    draft.write_text(yaml.safe_dump(document, sort_keys=False, default_flow_style=None), encoding="utf-8")
    draft.replace(path)
