"""`modelyard remove`: a model with everything that `modelyard new` made for it.

what is there -> does anything need it? -> shown and confirmed by the caller -> renamed away together -> deleted

A link is never followed and nothing outside the project is touched. Once renamed nothing is served or found any more;
what a killed command left of the deleting, the next one in this repository deletes.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from modelyard.authoring.names import Names, names_of
from modelyard.authoring.scaffold import Place, place_of
from modelyard.drafts import draft_folder
from modelyard.errors import ConfigurationError
from modelyard.manifest import list_versions
from modelyard.spec import MODEL_YAML


@dataclass(frozen=True, slots=True)
class Part:
    what: str
    path: Path
    bytes: int
    files: int


def parts_of(name: str, repository: Path) -> list[Part]:
    """What would go. Raises ConfigurationError when nothing is there, something needs it, or a path is not plain."""
    names, place = names_of(name), place_of(repository)
    document = _document(place.model(names))
    package = _package(document, names)
    found = [
        ("model", place.model(names)),
        ("service", place.root / "services" / package),
        ("test", place.root / "tests" / "integration" / f"test_{package}.py"),
        ("deployment", place.deploy(names)),
    ]
    found = [(what, path) for what, path in found if path.exists() or path.is_symlink()]
    if not found:
        raise ConfigurationError(f"there is no model '{name}' in {place.repository}, and no service or test of it")
    for _, path in found:
        _check_plain(path, place)
    _check_needed(names, package, place, "service" in dict(found))
    return [_part(what, path) for what, path in found]


def remove(name: str, repository: Path, parts: Sequence[Part]) -> None:
    """Remove what `parts_of` found. Raises ConfigurationError; then all of it stands as before."""
    place = place_of(repository)
    moved: list[tuple[Path, Path]] = []
    place.repository.mkdir(parents=True, exist_ok=True)
    with draft_folder(place.repository, f"removed-{name}") as draft:
        try:
            for part in parts:  # the model first: what is half gone must not be served
                away = draft / part.what / part.path.name
                away.parent.mkdir()
                part.path.rename(away)
                moved.append((away, part.path))
        except OSError as error:
            for away, back in reversed(moved):
                away.rename(back)
            raise ConfigurationError(f"{part.path} cannot be removed ({error.strerror}): nothing was removed") from None
        for away, _ in reversed(moved):
            shutil.rmtree(away) if away.is_dir() else away.unlink()


def versions_of(name: str, repository: Path) -> list[str]:
    return list_versions(repository / name)


def _document(folder: Path) -> dict[str, Any]:
    """model.yaml as far as it can be read: a broken model has to be removable."""
    path = folder / MODEL_YAML
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return {}
    return document if isinstance(document, dict) else {}


def _package(document: dict[str, Any], names: Names) -> str:
    """The folder under services/ that model.yaml names, or else the one that `new` would make."""
    package = str(document.get("service") or "").partition(":")[0].partition(".")[0]
    return package if package.isidentifier() and package.endswith("_service") else names.package


def _check_plain(path: Path, place: Place) -> None:
    if path.is_symlink():
        raise ConfigurationError(f"{path} is a link: remove the link itself, and what it leads to, by hand")
    if not path.resolve().is_relative_to(place.root.resolve()):
        raise ConfigurationError(f"{path} lies outside of {place.root}: a folder above it is a link")


def _check_needed(names: Names, package: str, place: Place, served: bool) -> None:
    for path in sorted(place.repository.glob(f"*/{MODEL_YAML}")):
        if path.parent.name == names.model:
            continue
        document = _document(path.parent)
        members = document.get("ensemble")
        members = members if isinstance(members, list) else []
        if any(isinstance(member, dict) and member.get("model") == names.model for member in members):
            raise ConfigurationError(
                f"'{names.model}' is a member of the ensemble '{path.parent.name}': remove that first"
            )
        if served and _package(document, names) == package and document.get("service"):
            raise ConfigurationError(
                f"'{path.parent.name}' is served by services/{package} too: change its model.yaml first"
            )


def _part(what: str, path: Path) -> Part:
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_symlink() or each.is_file()]
    return Part(what, path, sum(each.lstat().st_size for each in files), len(files))
