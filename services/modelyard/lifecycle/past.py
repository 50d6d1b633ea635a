"""What has become of a model: its versions as they stand, and every change of its aliases."""

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
    state = model.state
    named = [name for name in (state.previous, state.stable, state.candidate) if name]
    gone = [name for name in dict.fromkeys(named) if name not in model.versions]
    return Past(model.name, state, tuple(_standing(model, version) for version in (*gone, *model.versions)))


def _standing(model: Model, version: str) -> Standing:
    names = aliases_of(version, model.state)
    try:
        return Standing(version, names, read_manifest(model.path(version)))
    except ConfigurationError as error:
        return Standing(version, names, None, str(error))


def versions_text(folder: Path) -> str:
    """The versions of a model folder in one line, oldest first, with their aliases."""
    state, versions = read_aliases(folder), tuple(list_versions(folder))
    known = {version: ", ".join(aliases_of(version, state)) for version in versions}
    return ", ".join(f"{version} ({words})" if words else version for version, words in known.items()) or "none yet"


def aliases_of(version: str, state: Aliases) -> tuple[str, ...]:
    """What it is: stable, candidate, or what a rollback goes to. Before a first promote none is."""
    served = (STABLE,) if version == state.stable else ()
    back = ("previous",) if version == state.previous else ()
    return (*served, *((CANDIDATE,) if version == state.candidate else ()), *back)
