"""What the dataplane holds: the state of the server, and each model with the pipelines of its versions."""

from dataclasses import dataclass, field
from enum import Enum

from modelyard.manifest import version_order
from modelyard.pipeline import Pipeline
from modelyard.repository import LoadedModel


class State(Enum):
    STARTING = "starting"
    SERVING = "serving"
    DRAINING = "draining"


@dataclass(slots=True)
class ServedModel:
    loaded: LoadedModel
    pipelines: dict[str, Pipeline] = field(default_factory=dict)
    default: str = ""
    """The newest version that is served; empty: none."""

    def add(self, version: str, pipeline: Pipeline) -> None:
        self.pipelines[version] = pipeline
        self.default = max(self.pipelines, key=version_order)

    def clear(self) -> None:
        """From here on nobody new finds them."""
        self.pipelines.clear()
        self.default = ""


@dataclass(frozen=True, slots=True)
class IndexEntry:
    name: str
    version: str
    state: str
    reason: str = ""
