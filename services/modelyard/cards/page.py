"""The card as Markdown. Pure: what is known of a version in, a text out."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rich.filesize import decimal

from modelyard.cards.latency import Latency
from modelyard.manifest import Manifest
from modelyard.spec import ModelSpec, TensorSpec

UNSAID = "The model's README does not say."
SECTIONS = ("Data", "Limits")
"""Of the README; the first stands before the figures, the last after them."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Latency, and all that it depends on."""

    figures: Sequence[Latency]
    notes: Sequence[str]
    backend: str
    precision: str
    machine: str
    date: str
    picture: str
    """File name of the plot; empty: none was drawn."""


def page(spec: ModelSpec, manifest: Manifest, said: Mapping[str, str], measured: Measured) -> str:
    """`spec` is what callers see, `said` are the sections of the README by their titles."""
    first, last = SECTIONS
    parts = [
        [f"# {manifest.model}, version {manifest.version}", spec.description, *_identity(manifest)],
        ["## Inputs and outputs", *_tensors(spec)],
        [f"## {first}", said.get(first) or UNSAID],
        ["## Quality", *_quality(manifest)],
        [f"## {last}", said.get(last) or UNSAID],
        [
            "## Latency",
            *_latency("The file that joins its members' answers" if spec.ensemble else "The model", measured),
        ],
        ["## Files", *_files(manifest)],
        ["## Libraries", *(_table(("library", "version"), sorted(manifest.libraries.items())) or ["Not recorded."])],
    ]
    return "\n\n".join(text for part in parts for text in part if text) + "\n"


def _identity(manifest: Manifest) -> list[str]:
    rows = [("published", manifest.created), ("precision", manifest.precision)]
    rows += [("made from", f"version {manifest.parent}")] if manifest.parent else []
    return _table(("", ""), [*rows, ("digest", f"`{manifest.digest}`")])


def _tensors(spec: ModelSpec) -> list[str]:
    def rows(what: str, tensors: Iterable[TensorSpec]) -> list[tuple[str, ...]]:
        return [(what, f"`{tensor.name}`", tensor.datatype, str(list(tensor.shape))) for tensor in tensors]

    batch = f"The first dimension is the batch, {spec.batching.max_batch_size} rows at the most."
    table = _table(("", "name", "datatype", "shape"), [*rows("input", spec.inputs), *rows("output", spec.outputs)])
    return [*table, batch if spec.batched else "Without a batch dimension: each request runs alone."]


def _quality(manifest: Manifest) -> list[str]:
    figures = _table(("figure", "as published"), _numbers(manifest.metrics)) or ["No figures were recorded."]
    if not manifest.comparison:
        return figures
    beside = f"Beside version {manifest.parent}, which it was made from:"
    return [*figures, beside, *_table(("", ""), _numbers(manifest.comparison))]


def _latency(what: str, measured: Measured) -> list[str]:
    rows = [
        (
            str(each.rows) if each.rows else "a request",
            *(f"{each.median_ms:.3g}", f"{each.p99_ms:.3g}", f"{each.rows_per_second:,.0f}", str(each.runs)),
        )
        for each in measured.figures
    ]
    inputs = "; ".join(measured.notes)
    return [
        f"{what} alone, one run at a time, on {measured.backend} ({measured.precision}); {measured.machine}; "
        f"{measured.date}. Inputs: {_cell(inputs)}.",
        *_table(("rows", "median ms", "p99 ms", "rows/s", "runs"), rows),
        f"![latency and rows a second by batch size]({measured.picture})" if measured.picture else "",
    ]


def _files(manifest: Manifest) -> list[str]:
    rows = [(name, decimal(entry.bytes)) for name, entry in sorted(manifest.files.items())]
    return _table(("file", "size"), [*rows, ("together", decimal(sum(e.bytes for e in manifest.files.values())))])


def _numbers(figures: Mapping[str, float]) -> list[tuple[str, str]]:
    return [(f"`{name}`", f"{value:.4g}") for name, value in figures.items()]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """One text; none without rows."""
    lines = [head, ["---"] * len(head), *rows]
    return ["\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)] if rows else []


def _cell(text: str) -> str:
    """A name from a file must not end the row that it stands in."""
    return " ".join(text.split()).replace("|", "\\|")
