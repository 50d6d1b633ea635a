"""Models on disk become loaded, ready versions.

    aliases.json, versions/ -> read_state -> which versions to load (choice.py) -> load_version, one by one

Every version folder is checked against its manifest before a byte of it is run, opened by the chain of backends,
compared with its golden outputs and warmed up. A version that fails any of it is refused by name, with the reason; the
others serve.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from modelyard import choice, drift_metrics, metrics
from modelyard.aliases import Aliases
from modelyard.backends.select import Chain
from modelyard.drift.reference import Reference, read_reference
from modelyard.errors import ConfigurationError
from modelyard.folders import ModelState, Stamp, read_state, state_stamp, version_folder, version_stamp
from modelyard.golden import Golden, read_golden
from modelyard.interface import with_own_interface
from modelyard.manifest import NAME, Manifest, read_manifest
from modelyard.members import artifact_spec
from modelyard.parity import agrees, tolerance_of
from modelyard.spec import MODEL_YAML, ModelSpec, read_spec
from modelyard.tensors import DTYPES, Array, Tensor
from modelyard.variant import spec_of_version

log = logging.getLogger("modelyard.repository")

WARM_UP_RUNS = 7
WARM_UP_SECONDS = 0.5


@dataclass(slots=True)
class LoadedVersion:
    spec: ModelSpec
    """Of the version's own file."""
    public: ModelSpec
    """What callers see: another one than `spec` for an ensemble."""
    manifest: Manifest
    chain: Chain
    artifact: Path
    inputs: list[Array]
    """The golden ones, or one row of zeros."""
    batch_seconds: float
    """Cost of a run of the golden inputs' first row."""
    warmed: dict[int, float] = field(default_factory=dict)
    """Rows to the cost of a run with so many, where that was measured."""
    reference: Reference | None = None
    """What drift is measured against."""

    @property
    def version(self) -> str:
        return self.manifest.version


@dataclass(slots=True)
class LoadedModel:
    spec: ModelSpec
    versions: dict[str, LoadedVersion] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    """Version to the reason why it is not served."""
    aliases: Aliases = field(default_factory=Aliases)
    on_disk: list[str] = field(default_factory=list)
    seen: Stamp = ()
    """Of the folder, taken before it was read."""
    tried: dict[str, Stamp] = field(default_factory=dict)
    """Of each refused version's folder, taken before it was read."""

    @property
    def default(self) -> str:
        """The version that is served."""
        return choice.default_of(self.versions, self.aliases)

    def take(self, state: ModelState) -> None:
        """This is what its folder says now."""
        self.aliases, self.on_disk = state.aliases, state.versions
        for version in {*self.refused} - {*state.versions, *choice.named(state.aliases)}:
            del self.refused[version], self.tried[version]

    def accept(self, loaded: LoadedVersion) -> None:
        self.versions[loaded.version] = loaded
        self.refused.pop(loaded.version, None)
        self.tried.pop(loaded.version, None)

    def refuse(self, version: str, why: str, stamp: Stamp) -> None:
        """Loudly."""
        log.error("%s version %s is refused: %s", self.spec.name, version, why)
        metrics.model_load_failures.labels(self.spec.name).inc()
        self.refused[version], self.tried[version] = why, stamp


def list_models(repository: Path) -> list[str]:
    """Names of the model folders of a repository."""
    if not repository.is_dir():
        raise ConfigurationError(f"there is no repository folder {repository}")
    folders = (path for path in repository.iterdir() if NAME.fullmatch(path.name))  # a draft is none
    return sorted(path.name for path in folders if (path / MODEL_YAML).is_file())


def load_model(repository: Path, name: str, most: int | None = None) -> LoadedModel:
    """Load the good versions, at `most` so many. Raises ConfigurationError when the spec is wrong or none is good."""
    model = LoadedModel(read_spec(repository / name))
    refresh(repository, model, most)
    if not model.versions:
        reasons = "; ".join(model.refused.values()) or f"{repository / name} has no versions yet: train and export it"
        raise ConfigurationError(f"'{name}' has no version that can be served: {reasons}")
    stable = model.aliases.stable
    if stable not in (None, model.default):
        log.error("%s version %s is promoted and refused: version %s is served", name, stable, model.default)
    return model


def refresh(repository: Path, model: LoadedModel, most: int | None = None) -> None:
    """Load versions that are new on disk and refuse broken ones; what is loaded already stays as it is.

    Raises ConfigurationError when aliases.json is broken.
    """
    folder = repository / model.spec.name
    model.seen = state_stamp(folder)
    model.take(read_state(folder))
    named, good = choice.named(model.aliases), 0
    for version in choice.in_order(model.on_disk, model.aliases):
        if version not in named and most is not None and good >= most:
            break
        good += version in model.versions or _load(folder, model, version)
    if model.aliases.stable is not None and not any(version in model.versions for version in named):
        for version in choice.way_back(model.aliases):
            if version in model.versions or (version not in model.refused and _load(folder, model, version)):
                break


def _load(folder: Path, model: LoadedModel, version: str) -> bool:
    stamp = version_stamp(folder, version)
    try:
        model.accept(load_version(version_folder(folder, version), model.spec))
    except ConfigurationError as error:
        model.refuse(version, str(error), stamp)
        return False
    return True


def load_version(folder: Path, spec: ModelSpec) -> LoadedVersion:
    """Check, open, compare, warm up; `spec` is that of model.yaml. Raises ConfigurationError with the reason."""
    started = time.perf_counter()
    manifest = read_manifest(folder)
    if manifest.model != spec.name:
        raise ConfigurationError(f"{folder} is a version of '{manifest.model}', not of '{spec.name}'")
    public = spec_of_version(with_own_interface(spec, manifest), manifest)
    spec = artifact_spec(folder.parents[2], public)
    golden = read_golden(folder / manifest.golden) if manifest.golden else None
    reference = read_reference(folder / manifest.reference) if manifest.reference else None
    chain = Chain(folder / manifest.artifact, spec)
    try:
        inputs = _ordered(spec, golden.inputs) if golden else _blank_inputs(spec)
        cost, warmed = _prove(chain, spec, golden, inputs)
    except ConfigurationError:
        chain.close()
        raise
    seconds = time.perf_counter() - started
    metrics.model_load_duration.labels(spec.name).observe(seconds)
    metrics.show_objectives(spec.name, **spec.objectives.model_dump())
    if reference:
        drift_metrics.show_reference(spec.name, manifest.version, reference.rows)
    log.info("%s version %s is loaded on %s in %.2f s", spec.name, manifest.version, chain.active.name, seconds)
    return LoadedVersion(spec, public, manifest, chain, folder / manifest.artifact, inputs, cost, warmed, reference)


def _prove(chain: Chain, spec: ModelSpec, golden: Golden | None, inputs: list[Array]) -> tuple[float, dict[int, float]]:
    """Compare with the golden outputs, warm up, measure. Returns the seconds of a run with one row, and with more."""
    names = [tensor.name for tensor in spec.outputs]
    if golden and golden.outputs:
        _compare(chain, spec, names, inputs, {tensor.name: tensor for tensor in golden.outputs})
    if spec.batched:
        inputs = [array[:1] for array in inputs]
    try:
        one_row = _measure(chain, inputs, names)
    except Exception as error:
        if golden:
            raise ConfigurationError(f"the golden inputs fail: {_first_line(error)}") from None
        return 1.0, {}  # made-up inputs say nothing about a model that refuses them; the batcher measures real ones
    return one_row, _warm_up(chain, spec, inputs, names)


def _warm_up(chain: Chain, spec: ModelSpec, inputs: list[Array], names: list[str]) -> dict[int, float]:
    """Run the batch sizes that requests will be merged into, smallest first, until WARM_UP_SECONDS are spent."""
    seconds: dict[int, float] = {}
    largest = spec.batching.merge_rows or spec.batching.max_batch_size
    sizes = spec.batching.buckets or [2**power for power in range(1, largest.bit_length())]
    end = time.perf_counter() + WARM_UP_SECONDS
    for rows in sorted(sizes):
        if time.perf_counter() > end:
            break
        try:
            seconds[rows] = _measure(chain, [np.repeat(array, rows, axis=0) for array in inputs], names)
        except Exception as error:
            log.warning("%s: a run of %d rows fails: %s", spec.name, rows, _first_line(error))
            break
    return seconds


def _measure(chain: Chain, inputs: list[Array], names: list[str]) -> float:
    """Seconds of the fastest of some runs (of one where a run is long): what disturbs a run only makes it longer.

    Of the core, where a run keeps one busy: beside a server that is loaded much time passes between its turns.
    """
    clock = time.perf_counter if chain.on_device else time.thread_time
    seconds: list[float] = []
    end = time.perf_counter() + WARM_UP_SECONDS
    while not seconds or (len(seconds) < WARM_UP_RUNS and time.perf_counter() < end):
        started = clock()
        chain.infer(inputs, names)
        seconds.append(clock() - started)
    return min(seconds)


def _ordered(spec: ModelSpec, tensors: Sequence[Tensor]) -> list[Array]:
    by_name = {tensor.name: tensor for tensor in tensors}
    for wanted in spec.inputs:
        given = by_name.get(wanted.name)
        if given is None or given.datatype != wanted.datatype:
            raise ConfigurationError(f"the golden inputs lack '{wanted.name}' ({wanted.datatype})")
    return [by_name[tensor.name].array for tensor in spec.inputs]


def _compare(chain: Chain, spec: ModelSpec, names: list[str], inputs: list[Array], expected: dict[str, Tensor]) -> None:
    try:
        results = chain.infer(inputs, names)
    except Exception as error:
        raise ConfigurationError(f"the golden inputs fail: {_first_line(error)}") from None
    tolerance = tolerance_of(next(backend for backend in spec.backends if backend.name == chain.active.name))
    for name, result in zip(names, results, strict=True):
        if name not in expected:
            continue
        if not agrees(result, expected[name].array, expected[name].datatype, tolerance):
            raise ConfigurationError(f"output '{name}' differs from the golden one on {chain.active.name}")


def _blank_inputs(spec: ModelSpec) -> list[Array]:
    """One row of zeros, dynamic dimensions 1: enough to touch every kernel once."""
    arrays = []
    for tensor in spec.inputs:
        shape = [1 if dimension < 0 else dimension for dimension in tensor.shape]
        fill = b"" if tensor.datatype == "BYTES" else 0
        arrays.append(np.full(shape, fill, DTYPES[tensor.datatype]))
    return arrays


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}"
