"""Two versions of a model in one process, on the same rows: how long a run takes, and how far the answers agree.

The runs are interleaved, one of each in turn: what disturbs a machine disturbs both. The medians are compared.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from modelyard.errors import ConfigurationError, InvalidInput
from modelyard.evaluation import read_evaluation
from modelyard.golden import read_golden
from modelyard.repository import LoadedVersion
from modelyard.tensors import DTYPES, FLOATING, Array, Tensor
from modelyard.validate import check_inputs

SECONDS = 1.0
"""Of measuring, for each number of rows."""
LEAST_RUNS, MOST_RUNS = 5, 300


@dataclass(frozen=True, slots=True)
class Latency:
    """Median milliseconds of a run on the CPU."""

    rows: int
    before: float
    after: float

    @property
    def ratio(self) -> float:
        """Above 1: the later one is slower."""
        return self.after / self.before if self.before else 1.0


@dataclass(frozen=True, slots=True)
class Agreement:
    """Of one output on some rows. None: the measure does not fit such an output."""

    source: str
    rows: int
    output: str
    equal: bool
    largest: float | None = None
    """Largest difference of an element; NaN where only one of them is NaN."""
    same_class: float | None = None
    """Share of rows in which the same column is the largest."""
    cosine: float | None = None
    """Mean over the rows."""


def latency(before: LoadedVersion, after: LoadedVersion, seconds: float = SECONDS) -> list[Latency]:
    """Of one row, and of all golden rows together where the model takes batches."""
    same = before.spec.inputs == after.spec.inputs
    ours, theirs = after.inputs, after.inputs if same else before.inputs
    rows = min(len(ours[0]), len(theirs[0])) if after.spec.batched and before.spec.batched else 0
    if not rows:
        return [_interleaved(0, before, theirs, after, ours, seconds)]
    sizes = [1] if rows == 1 else [1, rows]
    return [_interleaved(size, before, _first(theirs, size), after, _first(ours, size), seconds) for size in sizes]


def _first(inputs: Sequence[Array], rows: int) -> list[Array]:
    return [array[:rows] for array in inputs]


def _interleaved(
    rows: int,
    before: LoadedVersion,
    theirs: Sequence[Array],
    after: LoadedVersion,
    ours: Sequence[Array],
    seconds: float,
) -> Latency:
    old: list[float] = []
    new: list[float] = []
    pairs = ((before, theirs, _names(before), old), (after, ours, _names(after), new))
    end = time.perf_counter() + seconds
    runs = 0
    while runs < LEAST_RUNS or (runs < MOST_RUNS and time.perf_counter() < end):
        for loaded, inputs, names, times in pairs if runs % 2 else pairs[::-1]:
            started = time.perf_counter()
            loaded.chain.infer(inputs, names)
            times.append(time.perf_counter() - started)
        runs += 1
    return Latency(rows, median(old) * 1000, median(new) * 1000)


def agreement(before: LoadedVersion, after: LoadedVersion) -> tuple[list[Agreement], list[str]]:
    """On the golden inputs of both and the held-out rows of both; and why some of them are left out."""
    found: list[Agreement] = []
    left_out: list[str] = []
    for source, tensors in _sources(before, after):
        try:
            found += _agree(source, tensors, before, after)
        except (InvalidInput, ConfigurationError) as error:
            left_out.append(f"{source}: {error}")
    return found, left_out


def _sources(*versions: LoadedVersion) -> list[tuple[str, list[Tensor]]]:
    """Rows to compare on, each set once though both versions keep it."""
    found: dict[tuple[str, bytes], tuple[list[str], list[Tensor]]] = {}
    for what, read in (("golden inputs", _golden), ("held-out rows", _held_out)):
        for loaded in versions:
            if tensors := read(loaded):
                content = b"".join(tensor.name.encode() + _bytes(tensor.array) for tensor in tensors)
                names, _ = found.setdefault((what, content), ([], tensors))
                names += [loaded.version] if loaded.version not in names else []
    return [(f"{what} of {' and '.join(names)}", tensors) for (what, _), (names, tensors) in found.items()]


def _bytes(array: Array) -> bytes:
    return repr(array.tolist()).encode() if array.dtype.hasobject else array.tobytes()


def _golden(loaded: LoadedVersion) -> list[Tensor]:
    name = loaded.manifest.golden
    return read_golden(loaded.artifact.parent / name).inputs if name else []


def _held_out(loaded: LoadedVersion) -> list[Tensor]:
    name = loaded.manifest.evaluation
    if not name:
        return []
    rows = read_evaluation(loaded.artifact.parent / name)
    kinds = {tensor.name: tensor.datatype for tensor in loaded.spec.inputs}
    return [
        Tensor(name, kinds[name], array)
        for name, array in rows.inputs.items()
        if name in kinds and array.dtype == DTYPES[kinds[name]]
    ]


def _agree(source: str, tensors: Sequence[Tensor], *versions: LoadedVersion) -> list[Agreement]:
    before, after = versions
    old, new = (_run(loaded, tensors) for loaded in versions)
    kinds = {tensor.name: tensor.datatype for tensor in after.spec.outputs}
    quality = after.spec.quality
    measure = {quality.output: quality.measure} if quality else {}
    common = [name for name in _names(before) if name in new]
    return [_measured(source, name, kinds[name], old[name], new[name], measure.get(name, "")) for name in common]


def _run(loaded: LoadedVersion, tensors: Sequence[Tensor]) -> dict[str, Array]:
    """All outputs by name, run in batches that the model takes. Raises InvalidInput for rows that do not fit it."""
    names, most = _names(loaded), loaded.spec.batching.max_batch_size
    if not most:
        ordered, _ = check_inputs(loaded.spec, tensors)
        return dict(zip(names, loaded.chain.infer([tensor.array for tensor in ordered], names), strict=True))
    parts: list[list[Array]] = []
    for start in range(0, len(tensors[0].array), most):
        cut = [Tensor(t.name, t.datatype, t.array[start : start + most]) for t in tensors]
        ordered, _ = check_inputs(loaded.spec, cut)
        parts.append(loaded.chain.infer([tensor.array for tensor in ordered], names))
    return {name: np.concatenate([part[place] for part in parts]) for place, name in enumerate(names)}


def _measured(source: str, name: str, datatype: str, old: Array, new: Array, measure: str) -> Agreement:
    rows = len(new) if new.ndim else 1
    equal = np.array_equal(old, new, equal_nan=datatype in FLOATING)
    if datatype not in FLOATING or old.shape != new.shape:
        return Agreement(source, rows, name, equal)
    one, other = old.astype(np.float64), new.astype(np.float64)
    scores = one.ndim == 2 and one.shape[1] > 1
    return Agreement(
        source,
        rows,
        name,
        equal,
        largest=largest_difference(one, other),
        same_class=float(np.mean(one.argmax(1) == other.argmax(1))) if scores and measure != "cosine" else None,
        cosine=_cosine(one, other) if scores and measure in {"", "cosine"} else None,
    )


def largest_difference(one: Array, other: Array) -> float:
    """NaN at the same place is no difference."""
    with np.errstate(invalid="ignore"):
        difference = np.where((one == other) | (np.isnan(one) & np.isnan(other)), 0.0, np.abs(one - other))
    return float(difference.max(initial=0.0))


def _cosine(one: Array, other: Array) -> float:
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.mean(np.sum(one * other, axis=1) / lengths))


def _names(loaded: LoadedVersion) -> list[str]:
    return [tensor.name for tensor in loaded.spec.outputs]
