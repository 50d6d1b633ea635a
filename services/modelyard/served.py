"""What the dataplane holds: the state of the server, and each model with the pipelines of its versions."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from modelyard import choice, describe
from modelyard.aliases import CANDIDATE, STABLE
from modelyard.ensemble import Target
from modelyard.errors import ModelNotReady, ModelyardError, NotFound
from modelyard.manifest import version_order
from modelyard.repository import LoadedModel


class State(Enum):
    STARTING = "starting"
    SERVING = "serving"
    DRAINING = "draining"


@dataclass(frozen=True, slots=True)
class IndexEntry:
    name: str
    version: str
    state: str
    reason: str = ""


@dataclass(slots=True)
class ServedModel:
    loaded: LoadedModel
    pipelines: dict[str, Target] = field(default_factory=dict)
    default: str = ""
    """The version that answers callers who name none; empty: none is loaded."""
    candidate: str = ""
    """The version that callers of `candidate` get; empty: none. The alias's, from the moment in which it is loaded."""
    unloaded: bool = False
    """An operator wants it so, whatever is promoted."""

    @property
    def name(self) -> str:
        return self.loaded.spec.name

    def choose(self, *, newest: bool = False) -> str:
        """The version that is to be the default: never one that is not ready in place of one that is.

        `newest`: rather than the one that serves now, where none is stable.
        """
        aliases = self.loaded.aliases
        free = newest and aliases.stable is None
        wanted = choice.default_of(self.pipelines, aliases, "" if free else self.default)
        serving = self.pipelines.get(self.default)
        if serving is not None and serving.ready and not self.pipelines[wanted].ready:
            return self.default
        return wanted

    def follow(self, *, newest: bool = False) -> None:
        """Let the aliases mean what is loaded of what they name."""
        self.default = self.choose(newest=newest)
        wanted = self.loaded.aliases.candidate
        if wanted in self.pipelines:
            self.candidate = wanted or ""
        elif wanted is None or wanted in self.loaded.refused or self.candidate not in self.pipelines:
            self.candidate = ""

    def find(self, version: str) -> Target:
        """Of a word in place of a version, and of versions that are not there. Raises NotFound or ModelNotReady."""
        if not self.pipelines:
            raise ModelNotReady(f"model '{self.name}' is not loaded")
        if version == STABLE:
            return self.pipelines[self.default]
        if version == CANDIDATE and self.candidate:
            return self.pipelines[self.candidate]
        raise self._missing(version)

    def _missing(self, version: str) -> ModelyardError:
        if version == CANDIDATE:
            meant = self.loaded.aliases.candidate
            if meant is None:
                return NotFound(f"model '{self.name}' has no candidate: no version is promoted as one")
            version = meant
        if version in self.loaded.refused:
            return ModelNotReady(
                f"version {version} of model '{self.name}' is not ready: it was refused when it was loaded"
            )
        if version in choice.named(self.loaded.aliases):
            return ModelNotReady(f"version {version} of model '{self.name}' is not ready: it is being loaded")
        if version in self.loaded.on_disk:
            return NotFound(
                f"version {version} of model '{self.name}' is on disk, but not loaded (loaded are "
                f"{', '.join(sorted(self.pipelines, key=version_order))}): promote it, also as a candidate"
            )
        return NotFound(f"Request for unknown model: '{self.name}' version '{version[:80]}' is not found")

    def index(self, *, ready_only: bool) -> Iterator[IndexEntry]:
        """Every version that is known, oldest first."""
        for version in sorted({*self.loaded.on_disk, *self.pipelines, *self.loaded.refused}, key=version_order):
            target = self.pipelines.get(version)
            if target is not None and target.ready:
                yield IndexEntry(self.name, version, "READY")
            elif not ready_only:
                reason = self.loaded.refused.get(version, "not loaded" if target is None else "not ready")
                yield IndexEntry(self.name, version, "UNAVAILABLE", describe.without_folders(reason))

    def clear(self) -> None:
        """From here on nobody new finds them."""
        self.pipelines.clear()
        self.loaded.versions.clear()
        self.default = self.candidate = ""
