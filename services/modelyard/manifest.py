"""A version folder and its manifest: the sha256 of every file, written last and read first.

    models/<model>/versions/<version>/manifest.json, model.onnx, golden.json, evaluation.npz, ...

`publish` makes a version appear whole or not at all; `read_manifest` refuses a folder that is not what was published.
"""

import hashlib
import json
import re
import shutil
import stat
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from modelyard.aliases import CANDIDATE, STABLE
from modelyard.drafts import draft_folder, flush
from modelyard.drift.make import Rows, reference_of
from modelyard.drift.reference import write_reference
from modelyard.errors import ConfigurationError
from modelyard.evaluation import Evaluation, write_evaluation
from modelyard.golden import write_golden
from modelyard.spec import MODEL_YAML, Precision, TensorSpec, read_spec
from modelyard.tensors import Tensor

MANIFEST = "manifest.json"
GOLDEN = "golden.json"
EVALUATION = "evaluation.npz"
REFERENCE = "reference.json"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
"""What a model, a version and a file of a version may be called: no separators, nothing hidden."""


class FileEntry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(ge=0)


class Interface(BaseModel):
    """What callers rely on: the version's inputs and outputs, as model.yaml said when it was published."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


class Manifest(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    format: int = Field(ge=1, le=1)
    model: str
    version: str
    artifact: str
    files: dict[str, FileEntry]
    created: str
    metrics: dict[str, float] = {}
    libraries: dict[str, str] = {}
    golden: str | None = None
    evaluation: str | None = None
    reference: str | None = None
    """What drift is measured against, see drift/; None for a version without rows, and for old ones."""
    interface: Interface | None = None
    precision: Precision = "fp32"
    parent: str | None = None
    """The version that this one was made from; its figures beside the parent's are in `comparison`."""
    comparison: dict[str, float] = {}

    @property
    def digest(self) -> str:
        """The identity of the model in cache keys and metrics, in hex.

        The sha256 of the artifact, or of the list of all files when it has others beside it: their weights count too.
        What the version is only judged by does not.
        """
        judged_by = {self.golden, self.evaluation, self.reference}
        parts = {name: entry.sha256 for name, entry in self.files.items() if name not in judged_by}
        if list(parts) == [self.artifact]:
            return parts[self.artifact]
        return hashlib.sha256(json.dumps(sorted(parts.items())).encode()).hexdigest()


def version_order(version: str) -> tuple[int, int, str]:
    """Sort key: numbers by value, above everything that is no number."""
    return (1, int(version), "") if version.isdecimal() else (0, 0, version)


def list_versions(model_dir: Path) -> list[str]:
    """Names of the version folders, oldest first; folders that are still being written are left out."""
    folder = model_dir / "versions"
    if not folder.is_dir():
        return []
    return sorted((p.name for p in folder.iterdir() if p.is_dir() and NAME.fullmatch(p.name)), key=version_order)


def next_version(model_dir: Path) -> str:
    numbers = [int(name) for name in list_versions(model_dir) if name.isdecimal()]
    return str(max(numbers, default=0) + 1)


def publish(
    model_dir: Path,
    version: str,
    artifact: Path,
    *,
    golden_inputs: Sequence[Tensor] = (),
    golden_outputs: Sequence[Tensor] = (),
    metrics: Mapping[str, float] | None = None,
    libraries: Mapping[str, str] | None = None,
    extra_files: Sequence[Path] = (),
    evaluation: Evaluation | None = None,
    interface: Interface | None = None,
    precision: Precision = "fp32",
    parent: str | None = None,
    comparison: Mapping[str, float] | None = None,
    rows: Rows | None = None,
) -> Path:
    """Make `versions/<version>` out of the artifact; return the folder.

    The folder is filled under a temporary name, flushed to disk and renamed. `interface` is that of model.yaml unless
    it is given. What drift is measured against is made of the evaluation, or of `rows` where these are not what callers
    send (an ensemble). Raises ConfigurationError when the version stands already or its name is not allowed.
    """
    _check_names(model_dir, version, [source.name for source in (artifact, *extra_files)])
    judged = interface is None or evaluation is not None or rows is not None
    spec = read_spec(model_dir) if judged and (model_dir / MODEL_YAML).exists() else None
    if interface is None and spec is not None:
        interface = Interface(inputs=spec.inputs, outputs=spec.outputs)
    target = model_dir / "versions" / version
    try:
        with draft_folder(target.parent, version) as draft:
            for source in (artifact, *extra_files):
                shutil.copyfile(source, draft / source.name)
            if golden_inputs:
                write_golden(draft / GOLDEN, golden_inputs, golden_outputs)
            if evaluation:
                write_evaluation(draft / EVALUATION, evaluation)
            reference = reference_of(spec, draft / artifact.name, evaluation, rows) if spec else None
            if reference:
                write_reference(draft / REFERENCE, reference)
            manifest = Manifest(
                format=1,
                model=model_dir.name,
                version=version,
                artifact=artifact.name,
                files={path.name: _entry(path) for path in sorted(draft.iterdir())},
                created=datetime.now(UTC).isoformat(timespec="seconds"),
                metrics=dict(metrics or {}),
                libraries=dict(libraries or {}),
                golden=GOLDEN if golden_inputs else None,
                evaluation=EVALUATION if evaluation else None,
                reference=REFERENCE if reference else None,
                interface=interface,
                precision=precision,
                parent=parent,
                comparison=dict(comparison or {}),
            )
            (draft / MANIFEST).write_text(manifest.model_dump_json(indent=1) + "\n", encoding="utf-8")
            _flush(draft)
            draft.rename(target)
        flush(target.parent)
    except OSError as error:
        raise ConfigurationError(f"version {version} of '{model_dir.name}' could not be written: {error}") from error
    return target


def _check_names(model_dir: Path, version: str, files: Sequence[str]) -> None:
    """Raises ConfigurationError for a version that stands, or a name that is not allowed."""
    check_version_name(version)
    for name in files:
        if not NAME.fullmatch(name) or name in (MANIFEST, GOLDEN, EVALUATION, REFERENCE) or files.count(name) > 1:
            raise ConfigurationError(f"'{name}' cannot name a file of a version, or is given twice")
    if (target := model_dir / "versions" / version).exists():
        raise ConfigurationError(f"version {version} of '{model_dir.name}' stands already: {target}")


def check_version_name(version: str) -> None:
    """Raises ConfigurationError for a name that no version may have."""
    if not NAME.fullmatch(version):
        raise ConfigurationError(f"'{version}' cannot name a version: letters, digits, '.', '_' and '-' only")
    if version in (STABLE, CANDIDATE):
        raise ConfigurationError(f"'{version}' cannot name a version: it is an alias (`modelyard promote`)")


def read_manifest(folder: Path) -> Manifest:
    """Read a version folder's manifest and check every file against it.

    Raises ConfigurationError, naming the version and the file, when the folder is half written or was changed.
    """
    if folder.is_symlink():
        raise ConfigurationError(f"{folder} is a link, no version folder")
    manifest = _parse(folder)
    for name, entry in manifest.files.items():
        path = folder / name
        _check_regular_file(path, name)
        if path.stat().st_size != entry.bytes:
            raise ConfigurationError(f"{path} has {path.stat().st_size} bytes, its manifest says {entry.bytes}")
        if _sha256(path) != entry.sha256:
            raise ConfigurationError(f"{path} differs from its manifest (sha256)")
    unlisted = sorted({path.name for path in folder.iterdir()} - {*manifest.files, MANIFEST})
    if unlisted:
        raise ConfigurationError(f"{folder} holds '{unlisted[0]}', which its manifest does not list")
    return manifest


def _parse(folder: Path) -> Manifest:
    path = folder / MANIFEST
    if path.is_symlink():
        raise ConfigurationError(f"{path} is no regular file")
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise ConfigurationError(f"{folder} has no {MANIFEST}: half written, or no version") from None
    except OSError as error:
        raise ConfigurationError(f"{path}: {error}") from error
    manifest = parse_manifest(content, str(path))
    if manifest.version != folder.name:
        raise ConfigurationError(f"{path} is of version {manifest.version}, its folder says {folder.name}")
    return manifest


def parse_manifest(content: bytes, source: str) -> Manifest:
    """The manifest that these bytes are; `source` is how complaints name it. Raises ConfigurationError."""
    try:
        document: Any = json.loads(content.decode("utf-8"))
        manifest = Manifest.model_validate(document)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False)
        text = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in faults)
        raise ConfigurationError(f"{source}: {text}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{source}: {error}") from error
    for name in (manifest.artifact, manifest.golden, manifest.evaluation, manifest.reference):
        if name is not None and name not in manifest.files:
            raise ConfigurationError(f"{source} names '{name}', which its files do not list")
    return manifest


def _check_regular_file(path: Path, name: str) -> None:
    """A manifest may be hostile: a name that leaves the folder, or a link, is refused before it is followed."""
    if not NAME.fullmatch(name):
        raise ConfigurationError(f"{path.parent}/{MANIFEST} names the file '{name}', which is not allowed")
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        raise ConfigurationError(f"{path} is missing") from None
    if not stat.S_ISREG(mode):
        raise ConfigurationError(f"{path} is no regular file")


def _entry(path: Path) -> FileEntry:
    return FileEntry(sha256=_sha256(path), bytes=path.stat().st_size)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(folder: Path) -> None:
    """Everything inside is on disk before the rename makes it visible."""
    for path in (*folder.iterdir(), folder):
        flush(path)
