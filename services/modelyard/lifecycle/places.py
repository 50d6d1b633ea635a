"""Where the versions are that a command is about: a folder of model folders, or a store.

A store is worked on through its mirror: what a command has to open is brought there first. Aliases are changed in the
store itself, by a write that succeeds only if nobody else has written meanwhile.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from modelyard.aliases import Aliases, Notice, update
from modelyard.errors import ConfigurationError
from modelyard.importing.bounded import Limits
from modelyard.lifecycle.past import Past, described, past, past_of, versions_text
from modelyard.lifecycle.versions import Model, model_folder, read_model
from modelyard.manifest import Manifest
from modelyard.repository import list_models
from modelyard.settings import Settings
from modelyard.spec import ModelSpec, read_spec
from modelyard.store.address import Address, locate
from modelyard.store.mirror import Mirror
from modelyard.store.open import open_remote

JUDGED_BY = 2
"""Versions that are brought at least: the newest, and one that it is judged by."""

Change = Callable[[Aliases], Aliases]


class Place(Protocol):
    """Every method raises ConfigurationError."""

    @property
    def settings(self) -> Settings:
        """`repository` is a folder in any case."""

    @property
    def option(self) -> str:
        """What makes a command that is shown meant for the same place; empty for the usual one."""

    def models(self) -> list[str]: ...

    def spec(self, name: str) -> ModelSpec: ...

    def versions_text(self, name: str) -> str:
        """The versions in one line, oldest first, with their aliases."""

    def model(self, name: str, *words: str) -> Model:
        """As it stands now, with the versions that these words mean on disk."""

    def past(self, name: str) -> Past: ...

    def update(self, name: str, change: Change, notice: Notice | None = None) -> Aliases:
        """Put what `change` makes of the present aliases in their place. What it raises leaves all as it was."""


def place_of(repository: Path | None, **overrides: object) -> Place:
    """`repository`: what the command was given; `overrides`: of settings."""
    settings, address = locate(repository, **overrides)
    return Stored(settings, address, given=repository is not None) if address else Folder(settings, repository)


class Folder:
    def __init__(self, settings: Settings, given: Path | None = None) -> None:
        self.settings = settings
        self.option = f" --repository {given}" if given else ""

    def models(self) -> list[str]:
        return list_models(self.settings.repository)

    def spec(self, name: str) -> ModelSpec:
        return read_spec(self.settings.repository / name)

    def versions_text(self, name: str) -> str:
        return versions_text(self.settings.repository / name)

    def model(self, name: str, *words: str) -> Model:  # noqa: ARG002 (all versions are here)
        return read_model(self.settings.repository, name)

    def past(self, name: str) -> Past:
        return past(self.model(name))

    def update(self, name: str, change: Change, notice: Notice | None = None) -> Aliases:
        return update(model_folder(self.settings.repository, name), change, notice=notice)


class Stored:
    def __init__(self, settings: Settings, address: Address, *, given: bool) -> None:
        self.settings = settings
        self.option = f" --repository {address}" if given else ""
        self._remote = open_remote(settings, address)
        limits = Limits(settings.import_seconds, settings.import_memory_bytes)
        self._mirror = Mirror(self._remote, settings.repository, JUDGED_BY, limits, kept=settings.loaded_versions)

    def models(self) -> list[str]:
        return self._remote.models()

    def spec(self, name: str) -> ModelSpec:
        return self._remote.spec_now(name)

    def versions_text(self, name: str) -> str:
        return described(list(self._remote.versions(name)), self._remote.state_now(name))

    def model(self, name: str, *words: str) -> Model:
        meant = [self._remote.meant(name, word) for word in words if word]
        self._mirror.sync([name], meant)
        return read_model(self.settings.repository, name)

    def past(self, name: str) -> Past:
        self._remote.spec_now(name)  # a wrong name is said
        versions = tuple(self._remote.versions(name))
        return past_of(name, self._remote.state_now(name), versions, lambda version: self._manifest(name, version))

    def update(self, name: str, change: Change, notice: Notice | None = None) -> Aliases:  # noqa: ARG002 (nobody waits)
        return self._remote.update(name, change)

    def _manifest(self, name: str, version: str) -> Manifest:
        if sent := self._remote.sent(name, version):
            return sent.manifest
        raise ConfigurationError(f"version {version} of '{name}' is not in {self._remote.name}")
