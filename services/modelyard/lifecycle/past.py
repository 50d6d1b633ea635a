"""What has become of a model: its versions as they stand, and every change of its aliases."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from modelyard.aliases import CANDIDATE, STABLE, Aliases, Change, read_aliases
from modelyard.errors import ConfigurationError
from modelyard.lifecycle.versions import Model
from modelyard.manifest import Manifest, list_versions, read_manifest


@dataclass(frozen=True, slots=True)
class Standing:
    """One version. `manifest` is None where it is refused, and `refused` says why."""

    version: str
    aliases: tuple[str, ...]
    manifest: Manifest | None
    refused: str = ""


@dataclass(frozen=True, slots=True)
class Past:
    model: str
    state: Aliases
    versions: tuple[Standing, ...]
    """Oldest first; with those that an alias names though they are gone."""

    @property
    def changes(self) -> tuple[Change, ...]:
        return self.state.history


def past(model: Model) -> Past:
    return past_of(model.name, model.state, model.versions, lambda version: read_manifest(model.path(version)))


def past_of(name: str, state: Aliases, versions: Sequence[str], read: Callable[[str], Manifest]) -> Past:
    """`versions`: oldest first; `read` gives the manifest of one, or raises ConfigurationError."""
    named = [version for version in (state.previous, state.stable, state.candidate) if version]
    gone = [version for version in dict.fromkeys(named) if version not in versions]
    return Past(name, state, tuple(_standing(state, version, read) for version in (*gone, *versions)))


def _standing(state: Aliases, version: str, read: Callable[[str], Manifest]) -> Standing:
    names = aliases_of(version, state)
    try:
        return Standing(version, names, read(version))
    except ConfigurationError as error:
        return Standing(version, names, None, str(error))


def versions_text(folder: Path) -> str:
    """The versions of a model folder in one line, oldest first, with their aliases."""
    return described(list_versions(folder), read_aliases(folder))


def described(versions: Sequence[str], state: Aliases) -> str:
    """Versions in one line, with their aliases."""
    known = {version: ", ".join(aliases_of(version, state)) for version in versions}
    return ", ".join(f"{version} ({words})" if words else version for version, words in known.items()) or "none yet"


def aliases_of(version: str, state: Aliases) -> tuple[str, ...]:
    """What it is: stable, candidate, or what a rollback goes to. Before a first promote none is."""
    served = (STABLE,) if version == state.stable else ()
    back = ("previous",) if version == state.previous else ()
    return (*served, *((CANDIDATE,) if version == state.candidate else ()), *back)
