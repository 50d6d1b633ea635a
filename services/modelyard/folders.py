"""What a model's folder says of it before a version is opened, and whether that has changed.

    models/<model>/aliases.json, versions/ -> read_state -> ModelState

A stamp is what the file system says of some files (time, size, inode). It is taken before they are read: what changes
while they are read is seen the next time.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from modelyard.aliases import ALIASES_FILE, Aliases, read_aliases
from modelyard.errors import ConfigurationError
from modelyard.manifest import NAME, list_versions

Stamp = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True, slots=True)
class ModelState:
    aliases: Aliases
    versions: list[str]
    """On disk, oldest first."""


def read_state(folder: Path) -> ModelState:
    """Raises ConfigurationError when aliases.json is broken."""
    return ModelState(read_aliases(folder), list_versions(folder))


def version_folder(folder: Path, version: str) -> Path:
    """Of a version of the model in `folder`. Raises ConfigurationError for what cannot name one."""
    if not NAME.fullmatch(version):
        raise ConfigurationError(f"'{version[:80]}' cannot name a version")
    return folder / "versions" / version


def state_stamp(folder: Path) -> Stamp:
    """Changes with every promote, rollback and export."""
    return _stamp((folder / ALIASES_FILE, folder / "versions"))


def version_stamp(folder: Path, version: str) -> Stamp:
    """Changes with every file of a version."""
    try:
        place = version_folder(folder, version)
        return _stamp((place, *sorted(place.iterdir())))
    except (ConfigurationError, OSError):
        return ()


def _stamp(paths: Iterable[Path]) -> Stamp:
    found = []
    for path in paths:
        try:
            now = path.lstat()
        except OSError:
            continue
        found.append((path.name, now.st_mtime_ns, now.st_size, now.st_ino))
    return tuple(found)
