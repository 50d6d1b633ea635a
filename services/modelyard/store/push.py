"""One version to the store: its files, each under its sha256, model.yaml, then the manifest, which makes it appear.

A push that is killed leaves files that nobody sees; the next one sends what is missing. A version that is there is
never replaced: another with its name is refused, the same one is looked through, and what was lost is sent again.
"""

from dataclasses import dataclass
from pathlib import Path

from modelyard.errors import ConfigurationError
from modelyard.manifest import MANIFEST, Manifest, read_manifest
from modelyard.spec import MODEL_YAML, parse_spec, read_spec
from modelyard.store.port import Changed, Told
from modelyard.store.remote import README, Remote, file_path, manifest_path


@dataclass(frozen=True, slots=True)
class Pushed:
    manifest: Manifest
    there: bool
    """The version was there already."""
    sent: int
    """Files of it that were sent now."""
    kept: bool
    """The store's model.yaml says something else than ours, and stays."""


def push(
    remote: Remote, folder: Path, version: str, *, model_yaml: bool = False, told: Told = lambda _: None
) -> Pushed:
    """`folder` is the model's; `model_yaml`: that of the store is replaced by ours. `told` is told every file's bytes.

    Raises ConfigurationError: for a version whose files are not what was published, before anything is sent; for
    another one in its place; and when the store fails.
    """
    read_spec(folder)
    place = folder / "versions" / version
    manifest = read_manifest(place)
    if manifest.model != folder.name:
        raise ConfigurationError(f"{place} is a version of '{manifest.model}', not of '{folder.name}'")
    there = _standing(remote, manifest)
    sent = sum(_send(remote, manifest, place / name, told) for name in sorted(manifest.files))
    kept = _send_texts(remote, folder, model_yaml)
    if not there:
        try:
            path = manifest_path(manifest.model, manifest.version)
            remote.store.put(path, (place / MANIFEST).read_bytes(), None)
        except Changed:
            there = _standing(remote, manifest)  # another was quicker; with the same, all is well
    return Pushed(manifest, there, sent, kept)


def _standing(remote: Remote, manifest: Manifest) -> bool:
    found = remote.sent(manifest.model, manifest.version)
    if found is None:
        return False
    if found.manifest.files != manifest.files:
        raise ConfigurationError(
            f"version {manifest.version} of '{manifest.model}' is in {remote.name} already, with other files: "
            f"sha256 {found.manifest.digest[:16]}, not {manifest.digest[:16]}"
        )
    return True


def _send(remote: Remote, manifest: Manifest, source: Path, told: Told) -> bool:
    """Was it sent? It is not when the store has it, by its path, size and writer's word."""
    entry = manifest.files[source.name]
    path = file_path(manifest, source.name, entry.sha256)
    head = remote.store.head(path)
    if head and (head.size, head.sha256) == (entry.bytes, entry.sha256):
        told(entry.bytes)
        return False
    remote.store.upload(path, source, entry.sha256, told)
    return True


def _send_texts(remote: Remote, folder: Path, replace: bool) -> bool:
    """model.yaml and README.md of a model that is new to the store, or where they shall be replaced. Was another
    model.yaml kept?"""
    name = folder.name
    content = (folder / MODEL_YAML).read_bytes()
    if remote.store.head(f"{name}/{MODEL_YAML}"):
        found = remote.spec(name)
        if found and found[0] == parse_spec(content.decode()):
            return False
        if not replace:
            return True
        remote.store.put(f"{name}/{MODEL_YAML}", content, found[1].tag if found else None)
    else:
        try:
            remote.store.put(f"{name}/{MODEL_YAML}", content, None)
        except Changed:
            return _send_texts(remote, folder, replace)
    _send_readme(remote, folder)
    return False


def _send_readme(remote: Remote, folder: Path) -> None:
    readme, path = folder / README, f"{folder.name}/{README}"
    if readme.is_file():
        there = remote.store.head(path)
        found = remote.store.get(path) if there else None
        if not found or found.content != readme.read_bytes():
            remote.store.put(path, readme.read_bytes(), found.tag if found else None)
