"""A version that comes from elsewhere (a file, a store) becomes one of the repository, whole or not at all.

    files, the manifest first -> a hidden draft, each file held to its size and sha256 -> model.yaml, ONNX file, rows
    checked -> one rename

What comes may be hostile: nothing of it is run, and nothing is visible before the last check. A kill at any moment
leaves a draft that nobody sees and that the next receipt removes.
"""

import hashlib
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from modelyard.drafts import draft_folder, flush
from modelyard.errors import ConfigurationError
from modelyard.importing.bounded import Limits, ask_child, one_line
from modelyard.interface import difference
from modelyard.manifest import MANIFEST, NAME, FileEntry, Manifest, check_version_name, parse_manifest, read_manifest
from modelyard.spec import MODEL_YAML, ModelSpec, parse_spec, read_spec

README = "README.md"
MOST_FILES = 1000
MOST_TEXT = 4 * 2**20
"""Bytes of a manifest, a model.yaml, a README."""
CHUNK = 2**20
_CHILD = "modelyard.importing.whole"


class Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


File = tuple[str, int, Readable]
"""Path below the model's folder, bytes, and where they are read from: `versions/3/model.onnx`."""


@dataclass(frozen=True, slots=True)
class Received:
    folder: Path
    """Of the version."""
    manifest: Manifest
    spec: ModelSpec
    """What model.yaml of the repository says now."""
    there: bool
    """It was there before, file by file the same: nothing was changed."""
    new_model: bool
    kept: bool
    """The repository's model.yaml is not the one that came, and stays."""


def order(manifest: Manifest, *, readme: bool) -> list[str]:
    """The paths in which a version is sent: its manifest says what may follow."""
    folder = f"versions/{manifest.version}"
    return [
        f"{folder}/{MANIFEST}",
        MODEL_YAML,
        *([README] if readme else []),
        *(f"{folder}/{name}" for name in sorted(manifest.files)),
    ]


def receive(
    repository: Path,
    name: str,
    version: str,
    files: Iterable[File],
    *,
    source: str,
    limits: Limits | None = None,
) -> Received:
    """Take in `files` (see `order`; README.md may lack) as a version of a model, new or known; `source` names them.

    A file is read to its end before the next is asked for. Raises ConfigurationError with the first fault, in one line;
    the repository is as it was then.
    """
    try:
        return _receive(repository, name, version, files, source, limits or Limits())
    except OSError as error:
        fault = f"version {version} of '{name}' could not be written to {repository}: {error}"
    except ConfigurationError as error:
        fault = str(error)
    raise ConfigurationError(one_line(fault, 1000))


def check_standing(repository: Path, manifest: Manifest) -> bool:
    """Is this version there, with the same files? Raises ConfigurationError when it is there with others."""
    folder = repository / manifest.model / "versions" / manifest.version
    if not (folder.exists() or folder.is_symlink()):
        return False
    what = f"version {manifest.version} of '{manifest.model}' stands already"
    try:
        standing = read_manifest(folder)
    except ConfigurationError as error:
        raise ConfigurationError(f"{what}, and is broken: {error}") from None
    if standing.files != manifest.files:
        raise ConfigurationError(f"{what}, with other files: sha256 {standing.digest[:16]}, not {manifest.digest[:16]}")
    return True


def _receive(repository: Path, name: str, version: str, files: Iterable[File], source: str, limits: Limits) -> Received:
    if not NAME.fullmatch(name):
        raise ConfigurationError(f"{source}: '{name}' cannot name a model")
    check_version_name(version)
    made = [path for path in (repository, *repository.parents) if not path.exists()]
    try:
        with draft_folder(repository, name) as draft:
            manifest = _fill(draft, repository, name, version, iter(files), source)
            spec = _spec(draft, manifest, source)
            _ask(draft / "versions" / version, manifest, source, limits)
            return _publish(draft, repository, manifest, spec)
    finally:
        _remove_empty(made)


def _fill(draft: Path, repository: Path, name: str, version: str, files: Iterator[File], source: str) -> Manifest:
    """All files, on disk."""
    folder = draft / "versions" / version
    folder.mkdir(parents=True)
    manifest = _manifest(draft, name, version, files, source)
    check_standing(repository, manifest)
    wanted = order(manifest, readme=True)
    missing = set(wanted[1:])
    for path, size, content in files:
        if path not in missing:
            what = "comes twice" if path in wanted else f"is no part of version {version} of '{name}'"
            raise ConfigurationError(f"{source}: '{path}' {what}")
        missing.remove(path)
        entry = manifest.files.get(path.rpartition("/")[2]) if "/" in path else None
        _write(draft / path, path, size, content, entry, source)
    if missing - {README}:
        raise ConfigurationError(f"{source}: {min(missing - {README})} is missing")
    for each in (folder, folder.parent, draft):
        flush(each)
    return manifest


def _manifest(draft: Path, name: str, version: str, files: Iterator[File], source: str) -> Manifest:
    """The first file. Raises ConfigurationError when it is not the manifest of that version."""
    wanted = f"versions/{version}/{MANIFEST}"
    path, size, content = next(files, ("", 0, None))
    if path != wanted or content is None:
        raise ConfigurationError(f"{source}: {wanted} has to come first" + (f", not '{path}'" if path else ""))
    _write(draft / wanted, path, size, content, None, source)
    manifest = parse_manifest((draft / wanted).read_bytes(), f"{source}: {wanted}")
    if (manifest.model, manifest.version) != (name, version):
        raise ConfigurationError(
            f"{source}: its manifest is of '{manifest.model}' version {manifest.version}, not of '{name}' {version}"
        )
    _check_listed(manifest, source)
    needed, free = sum(entry.bytes for entry in manifest.files.values()), shutil.disk_usage(draft).free
    if needed > free:
        raise ConfigurationError(f"{source}: its files take {needed:,} bytes, {free:,} are free on the disk")
    return manifest


def _check_listed(manifest: Manifest, source: str) -> None:
    """Names that are files' names everywhere: also where upper and lower case are one."""
    if len(manifest.files) > MOST_FILES:
        raise ConfigurationError(f"{source}: its manifest lists {len(manifest.files)} files; at most {MOST_FILES}")
    seen = {MANIFEST}
    for name in manifest.files:
        if not NAME.fullmatch(name):
            raise ConfigurationError(f"{source}: its manifest names the file '{name}', which is not allowed")
        if name.lower() in seen:
            raise ConfigurationError(f"{source}: its manifest names '{name}' twice, but for upper and lower case")
        seen.add(name.lower())


def _write(target: Path, path: str, size: int, content: Readable, entry: FileEntry | None, source: str) -> None:
    """`size` bytes, on disk; those of `entry`, or of a text of bounded length."""
    if entry and size != entry.bytes:
        raise ConfigurationError(f"{source}: {path} has {size} bytes, its manifest says {entry.bytes}")
    if entry is None and not 0 <= size <= MOST_TEXT:
        raise ConfigurationError(f"{source}: {path} has {size} bytes; at most {MOST_TEXT}")
    digest, left = hashlib.sha256(), size
    with target.open("xb") as file:
        while left:
            if not (chunk := content.read(min(left, CHUNK))):
                raise ConfigurationError(f"{source}: it is cut off: {path} lacks {left} of its {size} bytes")
            digest.update(chunk)
            file.write(chunk)
            left -= len(chunk)
    flush(target)
    if entry and digest.hexdigest() != entry.sha256:
        raise ConfigurationError(f"{source}: {path} differs from its manifest (sha256)")


def _spec(draft: Path, manifest: Manifest, source: str) -> ModelSpec:
    try:
        text = (draft / MODEL_YAML).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{source}: {MODEL_YAML} is no text: {error}") from None
    spec = parse_spec(text, f"{source}: {MODEL_YAML}")
    if spec.name != manifest.model:
        raise ConfigurationError(f"{source}: {MODEL_YAML} is of '{spec.name}', the manifest of '{manifest.model}'")
    return spec


def _ask(folder: Path, manifest: Manifest, source: str, limits: Limits) -> None:
    """What parses a stranger's file has an end in time and memory."""
    rows = {"golden": manifest.golden, "evaluation": manifest.evaluation}
    request = {what: str(folder.absolute() / name) if name else None for what, name in rows.items()}
    request |= {"artifact": str(folder.absolute() / manifest.artifact), "called": source}
    ask_child(_CHILD, request, limits, f"the look at {source}")


def _publish(draft: Path, repository: Path, manifest: Manifest, spec: ModelSpec) -> Received:
    """One rename: of the whole folder where the model is new, else of the version's."""
    model = repository / manifest.model
    target = model / "versions" / manifest.version
    if not model.exists():
        try:
            draft.rename(model)
        except OSError:
            if not model.exists():
                raise
        else:
            flush(repository)
            return Received(target, manifest, spec, there=False, new_model=True, kept=False)
    there = check_standing(repository, manifest)
    new_model = not (model / MODEL_YAML).exists()
    current = spec if new_model else read_spec(model)
    if not there:
        _check_same_kind(current, spec, manifest)
        target.parent.mkdir(exist_ok=True)
        _rename(draft / "versions" / manifest.version, target, manifest, repository)
    if new_model:  # the version first, as everywhere: what has a model.yaml is listed
        for name in (README, MODEL_YAML):
            if (draft / name).exists() and not (model / name).exists():
                (draft / name).rename(model / name)
        flush(model)
    return Received(target, manifest, current, there=there, new_model=new_model, kept=current != spec)


def _rename(source: Path, target: Path, manifest: Manifest, repository: Path) -> None:
    try:
        source.rename(target)
    except OSError:
        if not check_standing(repository, manifest):  # another was quicker with the same
            raise
    flush(target.parent)


def _check_same_kind(current: ModelSpec, spec: ModelSpec, manifest: Manifest) -> None:
    """Raises ConfigurationError when the version cannot be called as the repository's model.yaml says."""
    if manifest.interface and not difference(current, manifest.interface):
        return  # whatever became of its model where it comes from
    if fault := difference(current, spec):
        raise ConfigurationError(f"version {manifest.version} is of another model: {fault}")
    if current.ensemble != spec.ensemble:
        raise ConfigurationError(f"version {manifest.version} is of another model: `ensemble` in model.yaml differs")


def _remove_empty(folders: Iterable[Path]) -> None:
    """What was made for a version that did not come, the innermost first."""
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:
            return
