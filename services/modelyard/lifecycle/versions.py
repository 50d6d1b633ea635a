"""Which version a command means, beside which one it is judged, and how both are opened."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from modelyard.aliases import CANDIDATE, STABLE, Aliases, read_aliases
from modelyard.choice import default_of, newest_first, way_back
from modelyard.errors import ConfigurationError
from modelyard.manifest import NAME, Manifest, list_versions, read_manifest
from modelyard.repository import LoadedVersion, load_version
from modelyard.spec import BackendSpec, ModelSpec, read_spec

CPU = "onnxruntime-cpu"


@dataclass(frozen=True, slots=True)
class Model:
    """A model folder as it stands at this moment."""

    folder: Path
    spec: ModelSpec
    state: Aliases
    versions: tuple[str, ...]
    """Oldest first."""

    @property
    def name(self) -> str:
        return self.spec.name

    def path(self, version: str) -> Path:
        return self.folder / "versions" / version

    def version(self, word: str) -> str:
        """The version of that name, or which the alias of that name means. Raises ConfigurationError."""
        if word == CANDIDATE:
            if self.state.candidate is None:
                raise ConfigurationError(f"'{self.name}' has no candidate: modelyard promote {self.name} V --candidate")
            return self.state.candidate
        if word == STABLE and (served := default_of(self.versions, self.state)):
            return self.state.stable or served
        if word not in self.versions:
            known = f"known are {', '.join(self.versions)}" if self.versions else "it has none yet: train and export it"
            raise ConfigurationError(f"'{self.name}' has no version '{word}'; {known}")
        return word


def read_model(repository: Path, name: str) -> Model:
    """Raises ConfigurationError for an unknown model, a wrong model.yaml or a broken state file."""
    folder = model_folder(repository, name)
    return Model(folder, read_spec(folder), read_aliases(folder), tuple(list_versions(folder)))


def model_folder(repository: Path, name: str) -> Path:
    """Raises ConfigurationError for what names no folder of the repository."""
    if not NAME.fullmatch(name):
        raise ConfigurationError(f"'{name[:80]}' cannot name a model: it is the name of a folder of {repository}")
    return repository / name


def to_check(model: Model) -> str:
    """The version that `check` means when none is named: the candidate, else the newest."""
    if model.state.candidate:
        return model.state.candidate
    if not model.versions:
        raise ConfigurationError(f"'{model.name}' has no version yet: train and export it")
    return model.versions[-1]


def beside(model: Model, version: str) -> tuple[Manifest | None, list[str]]:
    """What `version` is judged by, and why not by a nearer one: the first good of those that `_nearest` names."""
    refused: list[str] = []
    for name in _nearest(model, version):
        try:
            return read_manifest(model.path(name)), refused
        except ConfigurationError as error:
            refused.append(f"version {name} is refused: {error}")
    return None, refused


def _nearest(model: Model, version: str) -> list[str]:
    """What is served now, then what was served before; of the served version itself: what was before it."""
    state = model.state
    if state.stable is None:
        served = [default_of(model.versions, state), *newest_first(model.versions)]
    else:
        served = [state.stable, *way_back(state)]
    names = [name for name in dict.fromkeys(served) if name not in {"", version}]
    if names or version not in model.versions:
        return names
    return newest_first(model.versions[: model.versions.index(version)])


@contextmanager
def opened(model: Model, version: str) -> Iterator[LoadedVersion]:
    """The version on ONNX Runtime on the CPU, which every machine has. Raises ConfigurationError as loading does."""
    loaded = load_version(model.path(version), on_cpu(model.spec))
    try:
        yield loaded
    finally:
        loaded.chain.close()


def on_cpu(spec: ModelSpec) -> ModelSpec:
    cpu = next((backend for backend in spec.backends if backend.name == CPU), BackendSpec(name=CPU))
    return spec.model_copy(update={"backends": (cpu,), "minimum_backend": None})
