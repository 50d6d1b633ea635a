"""Reports as tables for people, and as JSON for machines."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from modelyard.aliases import Change, one_line
from modelyard.lifecycle.check import Report
from modelyard.lifecycle.compare import Agreement, Latency
from modelyard.lifecycle.difference import Difference, metadata, quality
from modelyard.lifecycle.past import Past, Standing

_WIDE = 1000
_FIGURES = 3
_STYLES = {"ok": "green", "warning": "yellow", "failed": "bold red", "left out": "dim"}


def console(*, stderr: bool = False) -> Console:
    """In a pipe or a file a row of a table is one line, however long."""
    out = Console(highlight=False, markup=False, stderr=stderr)
    return out if out.is_terminal else Console(highlight=False, markup=False, stderr=stderr, width=_WIDE)


def report(out: Console, found: Report) -> None:
    judged = f", beside version {found.beside}" if found.beside else ""
    out.print(f"{found.model} version {found.version}{judged}")
    table = _table("check", "state", "")
    for finding in found.findings:
        table.add_row(finding.name, Text(finding.state, _STYLES[finding.state]), finding.text)
    out.print(table)


def report_document(found: Report) -> dict[str, Any]:
    return {
        "model": found.model,
        "version": found.version,
        "beside": found.beside,
        "ok": not found.failed,
        "checks": [asdict(finding) for finding in found.findings],
        "latency_ms": [_latency_document(figure) for figure in found.latencies],
    }


def history(out: Console, found: Past, most: int | None) -> None:
    versions = _table("version", "alias", "created", "made from", "precision", "quality")
    for standing in found.versions:
        versions.add_row(standing.version, ", ".join(standing.aliases), *_described(standing))
    if found.versions:
        out.print(versions)
    else:
        out.print(f"{found.model} has no version yet")
    changes = found.changes[-most:] if most else found.changes
    out.print("")
    if not changes:
        out.print("nothing was promoted yet: the newest version is served")
        return
    table = _table("time", "change", "from", "to", "forced", "reason")
    for change in changes:
        table.add_row(*_told(change))
    out.print(table)
    if left := len(found.changes) - len(changes):
        out.print(f"{left} earlier: modelyard history {found.model} --all")


def _told(change: Change) -> Sequence[str]:
    words = (change.time, change.action, change.before or "", change.version or "", "yes" if change.forced else "")
    return [one_line(word) for word in (*words, change.reason)]


def _described(standing: Standing) -> Sequence[str]:
    manifest = standing.manifest
    if manifest is None:
        return ("", "", "", f"refused: {standing.refused}")
    figures = [f"{name} {value:.4g}" for name, value in list(manifest.metrics.items())[:_FIGURES]]
    return (one_line(manifest.created), manifest.parent or "", manifest.precision, ", ".join(figures))


def history_document(found: Past) -> dict[str, Any]:
    state = found.state
    return {
        "model": found.model,
        "stable": state.stable,
        "candidate": state.candidate,
        "previous": state.previous,
        "versions": [_version_document(standing) for standing in found.versions],
        "changes": [asdict(change) for change in found.changes],
    }


def _version_document(standing: Standing) -> dict[str, Any]:
    document: dict[str, Any] = {"version": standing.version, "aliases": standing.aliases}
    if standing.manifest is None:
        return document | {"refused": standing.refused}
    fields = {"created", "parent", "precision", "metrics"}
    return document | standing.manifest.model_dump(mode="json", include=fields)


def difference(out: Console, found: Difference) -> None:
    names = (found.before.version, found.after.version)
    table = _table("", *names)
    for row in metadata(found):
        table.add_row(*row)
    out.print(f"{found.model} version {names[0]} and version {names[1]}")
    out.print(table)
    for text in found.interface or ("the interface is the same",):
        out.print(text)
    _quality(out, found, names)
    _latencies(out, found.latencies, names)
    _agreements(out, found.agreements)
    for text in found.left_out:
        out.print(f"left out: {text}")


def _quality(out: Console, found: Difference, names: tuple[str, str]) -> None:
    table = _table("quality", *names, "difference", figures=3)
    for name, one, other in quality(found):
        change = f"{other - one:+.4g}" if one is not None and other is not None else ""
        table.add_row(name, *("" if value is None else f"{value:.4g}" for value in (one, other)), change)
    _section(out, table)


def _latencies(out: Console, latencies: Sequence[Latency], names: tuple[str, str]) -> None:
    table = _table("median ms of a run", *names, "times", figures=3)
    for figure in latencies:
        rows = f"{figure.rows} row{'s' * (figure.rows != 1)}" if figure.rows else "golden input"
        table.add_row(rows, f"{figure.before:.3f}", f"{figure.after:.3f}", f"{figure.ratio:.2f}")
    _section(out, table)


def _agreements(out: Console, agreements: Sequence[Agreement]) -> None:
    """Without the measures that fit none of the outputs."""
    columns = ("agreement on", "output", "rows", "equal", "largest difference", "same class", "mean cosine")
    rows = [_measures(each) for each in agreements]
    shown = [place for place in range(len(columns)) if any(row[place] for row in rows)]
    table = _table(*(columns[place] for place in shown))
    for row in rows:
        table.add_row(*(row[place] for place in shown))
    _section(out, table)


def _measures(each: Agreement) -> Sequence[str]:
    largest = "" if each.largest is None else f"{each.largest:.2e}"
    cosine = "" if each.cosine is None else f"{each.cosine:.6f}"
    equal = "yes" if each.equal else "no"
    return (each.source, each.output, str(each.rows), equal, largest, _share(each.same_class), cosine)


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.2%}"


def _section(out: Console, table: Table) -> None:
    if table.row_count:
        out.print("")
        out.print(table)


def difference_document(found: Difference) -> dict[str, Any]:
    pair = {"before": found.before, "after": found.after}
    return {
        "model": found.model,
        **{name: manifest.model_dump(mode="json", exclude={"files"}) for name, manifest in pair.items()},
        "interface": list(found.interface),
        "latency_ms": [_latency_document(figure) for figure in found.latencies],
        "agreement": [asdict(each) for each in found.agreements],
        "left_out": list(found.left_out),
    }


def _latency_document(figure: Latency) -> dict[str, Any]:
    return asdict(figure) | {"ratio": figure.ratio}


def _table(*columns: str, figures: int = 0) -> Table:
    """`figures`: so many columns after the first are aligned at the right."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if 0 < place <= figures else "left")
    return table
