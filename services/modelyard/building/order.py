"""What goes into an image: which version of which models, the service's package, the library. Read, not yet copied.

A model takes its members along (an ensemble), each in its stable version. Versions are checked by their manifests.
"""

import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.filesize import decimal

import modelyard
from modelyard.aliases import STABLE
from modelyard.authoring.names import names_of
from modelyard.building.tools import Target
from modelyard.errors import ConfigurationError
from modelyard.lifecycle.versions import model_folder, read_model
from modelyard.manifest import read_manifest
from modelyard.members import with_members

LIBRARY = Path(modelyard.__file__).parent


@dataclass(frozen=True, slots=True)
class Part:
    """One model in one version."""

    folder: Path
    version: str
    digest: str
    bytes: int

    @property
    def name(self) -> str:
        return self.folder.name


@dataclass(frozen=True, slots=True)
class Order:
    """The model that is served stands first in `parts`, its members follow."""

    parts: tuple[Part, ...]
    service: str
    """As in model.yaml, 'package.module:Class'; empty: the inference protocol alone."""
    package: Path | None
    """The folder of the service's Python package."""

    @property
    def model(self) -> Part:
        return self.parts[0]

    def image(self, target: Target) -> str:
        """The name that deploy/k8s has for it."""
        suffix = "" if target == "cpu" else f"-{target}"
        return f"modelyard-{names_of(self.model.name).label}:{modelyard.__version__}{suffix}"

    def lines(self) -> Iterator[str]:
        """What goes in, for people."""
        for part in self.parts:
            role = "model  " if part is self.model else "member "
            yield f"{role} {part.name} version {part.version}, sha256 {part.digest[:12]}, {decimal(part.bytes)}"
        yield f"service {self.service or 'the inference protocol alone'}"


def read_order(repository: Path, name: str, word: str = STABLE) -> Order:
    """`word` is a version or an alias. Raises ConfigurationError for whatever could not be served."""
    members = with_members(repository, [name])[1:] if model_folder(repository, name).is_dir() else []
    parts = tuple(_part(repository, each, word if each == name else STABLE) for each in [name, *members])
    service = read_model(repository, name).spec.service or ""
    return Order(parts, service, _package(repository, name, service) if service else None)


def _part(repository: Path, name: str, word: str) -> Part:
    model = read_model(repository, name)
    version = model.version(word)
    manifest = read_manifest(model.path(version))
    if manifest.model != name:
        raise ConfigurationError(f"version {version} of '{name}' was published as a version of '{manifest.model}'")
    return Part(model.folder, version, manifest.digest, sum(entry.bytes for entry in manifest.files.values()))


def _package(repository: Path, name: str, service: str) -> Path:
    """Where the server would find it: installed packages first, then services/ beside the models."""
    package = service.partition(":")[0].partition(".")[0]
    beside = repository.resolve().parent / "services" / package
    if package in sys.builtin_module_names or not package.isidentifier():
        raise ConfigurationError(f"model.yaml of '{name}' names the service {service}, which is no module of yours")
    try:
        found = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        found = None
    for folder in found.submodule_search_locations or () if found else ():
        return Path(folder)
    if not beside.is_dir():
        raise ConfigurationError(f"model.yaml of '{name}' names the service {service}, but there is no {beside}")
    return beside
