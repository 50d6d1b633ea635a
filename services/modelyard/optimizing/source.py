"""The version that a variant is made of: found, checked, and with all that its variant is judged by.

What would make minutes of work worthless (no evaluation rows, no quality in model.yaml, a version of that name) is
refused here, before anything is made.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from modelyard.aliases import read_aliases
from modelyard.errors import ConfigurationError
from modelyard.evaluation import Evaluation, read_evaluation
from modelyard.golden import Golden, read_golden
from modelyard.interface import with_own_interface
from modelyard.manifest import NAME, Manifest, list_versions, next_version, read_manifest
from modelyard.spec import MODEL_YAML, ModelSpec, QualitySpec, read_spec
from modelyard.tensors import DTYPES, Array, Tensor

GOLDEN_ROWS = 8


@dataclass(frozen=True, slots=True)
class Source:
    """A full-precision version."""

    model_dir: Path
    folder: Path
    spec: ModelSpec
    quality: QualitySpec
    manifest: Manifest
    evaluation: Evaluation
    golden: Golden | None

    @property
    def artifact(self) -> Path:
        return self.folder / self.manifest.artifact

    @property
    def largest(self) -> int:
        """Rows of the largest batch."""
        return self.spec.batching.max_batch_size

    def inputs(self, arrays: Mapping[str, Array]) -> list[Array]:
        """In the order of model.yaml."""
        return [arrays[tensor.name] for tensor in self.spec.inputs]

    def golden_inputs(self) -> list[Tensor]:
        """The version's own, or the first evaluation rows."""
        if self.golden is not None:
            by_name = {tensor.name: tensor for tensor in self.golden.inputs}
            return [by_name[tensor.name] for tensor in self.spec.inputs]
        arrays = self.inputs(self.evaluation.inputs)
        return [Tensor(t.name, t.datatype, a[:GOLDEN_ROWS]) for t, a in zip(self.spec.inputs, arrays, strict=True)]


def find_source(repository: Path, name: str, version: str) -> Source:
    """Raises ConfigurationError, saying what is missing. `version`: empty for the one that is served."""
    model_dir = repository / name
    spec = read_spec(model_dir)
    if spec.ensemble:
        members = ", ".join(dict.fromkeys(member.model for member in spec.ensemble))
        raise ConfigurationError(f"'{name}' is an ensemble: optimize its members ({members})")
    if not spec.batched:
        raise ConfigurationError(f"'{name}' has no batch dimension (max_batch_size 0): its rows cannot be measured")
    if spec.quality is None:
        raise ConfigurationError(
            f"{model_dir / MODEL_YAML} has no `quality`: say how a variant is judged, for example "
            "`quality: {output: probabilities, measure: top1}` (top1, recall_at_10, cosine)"
        )
    folder = model_dir / "versions" / _chosen(model_dir, version)
    manifest = read_manifest(folder)
    if manifest.precision != "fp32":
        raise ConfigurationError(f"version {manifest.version} of '{name}' is {manifest.precision} already")
    if with_own_interface(spec, manifest) is not spec:
        raise ConfigurationError(
            f"version {manifest.version} of '{name}' has other inputs or outputs than {model_dir / MODEL_YAML}: "
            "nothing says how it is judged"
        )
    if manifest.evaluation is None:
        raise ConfigurationError(
            f"version {manifest.version} of '{name}' carries no evaluation rows: export it again, "
            "with `evaluation=` given to modelyard.manifest.publish"
        )
    evaluation = read_evaluation(folder / manifest.evaluation)
    _check_rows(spec, evaluation.inputs, "evaluation")
    golden = read_golden(folder / manifest.golden) if manifest.golden else None
    return Source(model_dir, folder, spec, spec.quality, manifest, evaluation, golden)


def check_calibration(source: Source) -> None:
    """Raises ConfigurationError when a static quantization has no rows to find ranges by."""
    if not source.evaluation.calibration:
        raise ConfigurationError(
            f"version {source.manifest.version} of '{source.spec.name}' carries no calibration rows, which static "
            "quantization needs; give the evaluation some training rows, or take --method dynamic"
        )
    _check_rows(source.spec, source.evaluation.calibration, "calibration")


def new_version(source: Source, wanted: str | None) -> str:
    """The name of the variant, before anything is made. Raises ConfigurationError when it is taken or not allowed."""
    version = wanted or next_version(source.model_dir)
    if not NAME.fullmatch(version):
        raise ConfigurationError(f"'{version}' cannot name a version: letters, digits, '.', '_' and '-' only")
    if (source.model_dir / "versions" / version).exists():
        raise ConfigurationError(f"version {version} of '{source.spec.name}' stands already")
    return version


def _chosen(model_dir: Path, version: str) -> str:
    """The version that was named; else the stable one; else the newest. The latter two only in full precision."""
    versions = list_versions(model_dir)
    if version and version not in versions:
        known = ", ".join(versions) or "none"
        raise ConfigurationError(f"'{model_dir.name}' has no version '{version}'; known are {known}")
    if version:
        return version
    stable = read_aliases(model_dir).stable
    for candidate in (*([stable] if stable in versions else []), *reversed(versions)):
        if _is_full(model_dir / "versions" / candidate):
            return candidate
    raise ConfigurationError(f"'{model_dir.name}' has no FP32 version to start from: train and export it")


def _is_full(folder: Path) -> bool:
    try:
        return read_manifest(folder).precision == "fp32"
    except ConfigurationError:
        return False


def _check_rows(spec: ModelSpec, arrays: Mapping[str, Array], what: str) -> None:
    """Are these rows what the model takes?"""
    for tensor in spec.inputs:
        array = arrays.get(tensor.name)
        if array is None:
            raise ConfigurationError(f"the {what} rows lack the input '{tensor.name}'")
        fits = len(array.shape) == len(tensor.shape) and all(
            wanted in (-1, size) for wanted, size in zip(tensor.shape, array.shape, strict=True)
        )
        if not fits or array.dtype != DTYPES[tensor.datatype]:
            raise ConfigurationError(
                f"the {what} rows of '{tensor.name}' are {array.dtype} {list(array.shape)}, "
                f"the model takes {tensor.datatype} {list(tensor.shape)}"
            )
