"""The rows that a load test sends, with what is known of their answers: from the files of a model's version.

    models/<model>/versions/<v>/golden.json       rows with the answers that the version was published with
                                evaluation.npz    held-out rows, most often with the truth

An ensemble's own files are of its vote, whose inputs no caller sends: its rows are those of a member. Nothing here asks
a server, and nothing that a server says becomes the measure of what it says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from modelyard.aliases import read_aliases
from modelyard.choice import default_of
from modelyard.errors import ConfigurationError
from modelyard.evaluation import read_evaluation
from modelyard.golden import read_golden
from modelyard.manifest import Manifest, list_versions, read_manifest
from modelyard.spec import MemberSpec, ModelSpec, Precision, read_spec
from modelyard.tensors import Array

QUALITIES: Mapping[str, Sequence[str]] = {"top1": ("accuracy", "top1"), "recall_at_10": ("recall_at_10",)}
"""What exports call the figure of a measure."""


@dataclass(frozen=True, slots=True)
class Row:
    """One request: inputs [1, ...] by name; of a model without a batch dimension, a whole input."""

    inputs: Mapping[str, Array]
    golden: Mapping[str, Array] = field(default_factory=dict)
    """Outputs that the answer must equal within the tolerance; empty: not known."""
    truth: int | None = None
    text: str = ""
    """What a typed API takes in place of tensors, where that is text."""


@dataclass(frozen=True, slots=True)
class Known:
    """A model as a load test knows it."""

    spec: ModelSpec
    version: str
    """The version whose files these are."""
    precision: Precision
    rows: Sequence[Row]
    steady: frozenset[str]
    """Outputs that are the same each time for the same row; the others of a model that draws lots were not kept."""
    texts: Sequence[Row] = ()
    """Rows of the typed API where they are others."""
    quality: float | None = None
    """Measured at the export, on all rows that have a truth; None: nothing says how good the version is."""

    @property
    def with_truth(self) -> int:
        return sum(row.truth is not None for row in self.rows)


def known(repository: Path, model: str, version: str = "") -> Known:
    """What is known of a model: of `version`, else of the one that a server of this repository would serve.

    Raises ConfigurationError when there is no such version, or no row to send.
    """
    spec = read_spec(repository / model)
    folder, manifest = _version(repository / model, version)
    source_folder, source, names = folder, manifest, {tensor.name: tensor.name for tensor in spec.inputs}
    if spec.ensemble:
        member = _member_with_all_inputs(spec)
        names = member.inputs
        source_folder, source = _version(repository / member.model, "")
    rows = list(_rows(source_folder, source, names, golden=not spec.ensemble, batched=spec.batched))
    if not rows:
        raise ConfigurationError(f"{source_folder} has neither golden rows nor held-out ones: a load test sends those")
    quality = _quality(spec, manifest) if any(row.truth is not None for row in rows) else None
    steady = _steady(spec, folder, manifest)
    return Known(spec, manifest.version, manifest.precision, rows, steady, tuple(_texts(folder, manifest)), quality)


def _version(folder: Path, version: str) -> tuple[Path, Manifest]:
    """A version folder and its manifest, checked."""
    versions = list_versions(folder)
    if not versions:
        raise ConfigurationError(f"{folder} has no version: train and export it, or bring it with modelyard import")
    if version and version not in versions:
        raise ConfigurationError(f"{folder.name} has no version {version} here; it has {', '.join(versions)}")
    path = folder / "versions" / (version or default_of(versions, read_aliases(folder)))
    return path, read_manifest(path)


def _member_with_all_inputs(spec: ModelSpec) -> MemberSpec:
    wanted = {tensor.name for tensor in spec.inputs}
    for member in spec.ensemble:
        if set(member.inputs.values()) == wanted:
            return member
    raise ConfigurationError(f"no member of {spec.name} takes all of its inputs: there are no whole rows to send")


def _rows(folder: Path, manifest: Manifest, names: Mapping[str, str], *, golden: bool, batched: bool) -> Iterator[Row]:
    """Golden rows first, each with its truth where it is a held-out row as well. `names`: the files' to the callers'.

    Without `golden` their outputs are left out: they are another model's.
    """
    held_out = _held_out(folder, manifest, names)
    truths = {_key(row.inputs): row.truth for row in held_out}
    sent = set()
    for row in _golden(folder, manifest, names, batched=batched):
        sent.add(_key(row.inputs))
        yield Row(row.inputs, row.golden if golden else {}, truths.get(_key(row.inputs)))
    yield from (row for row in held_out if _key(row.inputs) not in sent)


def _golden(folder: Path, manifest: Manifest, names: Mapping[str, str], *, batched: bool) -> Iterator[Row]:
    if manifest.golden is None:
        return
    golden = read_golden(folder / manifest.golden)
    inputs = {names[tensor.name]: tensor.array for tensor in golden.inputs}
    outputs = {tensor.name: tensor.array for tensor in golden.outputs}
    for index in range(_count(inputs)) if batched else (None,):
        cut = slice(None) if index is None else slice(index, index + 1)
        yield Row({n: a[cut] for n, a in inputs.items()}, {n: a[cut] for n, a in outputs.items()})


def _held_out(folder: Path, manifest: Manifest, names: Mapping[str, str]) -> list[Row]:
    if manifest.evaluation is None:
        return []
    evaluation = read_evaluation(folder / manifest.evaluation)
    truth = evaluation.truth
    labels = truth is not None and truth.ndim == 1 and np.issubdtype(truth.dtype, np.integer)
    return [
        Row(
            {names[name]: array[i : i + 1] for name, array in evaluation.inputs.items()},
            truth=int(truth[i]) if labels and truth is not None else None,
        )
        for i in range(evaluation.rows)
    ]


def _texts(folder: Path, manifest: Manifest) -> Iterator[Row]:
    """Sentences with their vectors, as the package gave them when the version was exported: of embed."""
    if "corpus.npz" not in manifest.files:
        return
    with np.load(folder / "corpus.npz", allow_pickle=False) as file:
        sentences, vectors = file["sentences"].tolist(), file["embeddings"]
    for index, sentence in enumerate(sentences):
        yield Row({}, {"embedding": vectors[index : index + 1]}, text=sentence)


def _steady(spec: ModelSpec, folder: Path, manifest: Manifest) -> frozenset[str]:
    if manifest.golden is None:
        return frozenset(tensor.name for tensor in spec.outputs)
    return frozenset(tensor.name for tensor in read_golden(folder / manifest.golden).outputs)


def _quality(spec: ModelSpec, manifest: Manifest) -> float | None:
    if spec.quality is None:
        return None
    names = QUALITIES.get(spec.quality.measure, ())
    return next((manifest.metrics[name] for name in names if name in manifest.metrics), None)


def _count(arrays: Mapping[str, Array]) -> int:
    return len(next(iter(arrays.values())))


def _key(inputs: Mapping[str, Array]) -> tuple[tuple[str, tuple[int, ...], bytes], ...]:
    return tuple((name, array.shape, _raw(array)) for name, array in sorted(inputs.items()))


def _raw(array: Array) -> bytes:
    return b"\0".join(array.ravel().tolist()) if array.dtype == object else array.tobytes()
