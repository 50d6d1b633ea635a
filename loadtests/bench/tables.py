"""The tables of a run as texts, once for the terminal and for the page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from loadtests.bench.bars import OURS
from loadtests.bench.core import Bar
from loadtests.bench.floors import ECHO, HELLO
from loadtests.bench.plan import CONNECTIONS, MAIN
from loadtests.bench.results import Cell, Results, find

# model, face ("json": either JSON), the words for it
WAYS = (
    ("mlp", "json", "MLP over HTTP JSON"),
    ("mlp", "oip-binary", "MLP over HTTP binary"),
    ("mlp", "oip-grpc", "MLP over gRPC"),
    ("encoder", "json", "Encoder over HTTP JSON"),
    ("encoder", "oip-binary", "Encoder over HTTP binary"),
    ("encoder", "oip-grpc", "Encoder over gRPC"),
    ("encoder_int8", "json", "Encoder in INT8 over HTTP JSON"),
)
ABSENT = "-"


@dataclass(frozen=True)
class Table:
    """A table of texts; the first column is words, the others are numbers unless `words` is set."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    words: bool = False  # all of its columns are


def tables(results: Results) -> list[Table]:
    """Every table of the rounds."""
    found = [make(results, *way) for way in WAYS for make in (way_table, latency_table)]
    found += [session_table(results), error_table(results), failure_table(results)]
    return [table for table in found if table.rows]


def way_table(results: Results, model: str, face: str, title: str) -> Table:
    """The servers over one way, the fastest first."""
    main = MAIN[model]
    used = _used(results, model, face)
    unit = "requests/s" if model == "mlp" else "rows/s"
    columns = ["server", *(f"{unit} at {count}" for count in used), f"p50 ms at {main}", f"p99 ms at {main}"]
    columns += [f"CPU us at {main}", "memory MiB", "errors", "wrong of checked", "client core %"]
    rows = [_row(results, cells, used, main) for cells in _ordered(results, model, face, used, main)]
    return Table(title, columns, rows)


def latency_table(results: Results, model: str, face: str, title: str) -> Table:
    """p50, p99 and CPU at every number of connections; nothing where there is only one."""
    used = _used(results, model, face)
    columns = ["server", *(f"p50 / p99 ms at {count}" for count in used), *(f"CPU us at {count}" for count in used)]
    rows = []
    for cells in _ordered(results, model, face, used, MAIN[model]) if len(used) > 1 else []:
        every = [cells.get(count) for count in used]
        latencies = [f"{cell['p50'] * 1e3:.2f} / {cell['p99'] * 1e3:.2f}" if cell else ABSENT for cell in every]
        cpu = [f"{cell['cpu_us']:,.0f}" if cell else ABSENT for cell in every]
        rows.append([label(results, cells[MAIN[model]]["server"]), *latencies, *cpu])
    return Table(f"{title}: latency and CPU", columns, rows)


def _used(results: Results, model: str, face: str) -> list[int]:
    return [count for count in CONNECTIONS if any(find(results, name, model, face, count) for name in servers(results))]


def _ordered(results: Results, model: str, face: str, used: list[int], main: int) -> list[dict[int, Cell]]:
    lines: list[dict[int, Cell]] = []
    for name in servers(results):
        cells = {count: cell for count in used if (cell := find(results, name, model, face, count))}
        if main in cells:
            lines.append(cells)
    return sorted(lines, key=lambda cells: -float(cells[main]["rate"]))


def _row(results: Results, cells: dict[int, Cell], used: list[int], main: int) -> list[str]:
    cell = cells[main]
    every = cells.values()
    wrong, checked = sum(one["wrong"] for one in every), sum(one["checked"] for one in every)
    return [
        label(results, cell["server"]),
        *(rate(cells[count]["rate"]) if count in cells else ABSENT for count in used),
        f"{cell['p50'] * 1e3:.2f}",
        f"{cell['p99'] * 1e3:.2f}",
        f"{cell['cpu_us']:,.0f}",
        f"{cell['rss_bytes'] / 2**20:,.0f}",
        f"{sum(one['errors'] for one in every):,}",
        f"{wrong} of {checked:,}" if checked else ABSENT,
        f"{max(one['client_share'] for one in every):.0%}",
    ]


def session_table(results: Results) -> Table:
    """What the models cost without a server."""
    rows = [
        [one["model"], str(one["threads"]), rate(one["rate"]), f"{one['p50'] * 1e6:,.0f}"]
        for one in results["sessions"]
    ]
    return Table("The bare session in process", ["model", "threads", "rows/s", "p50 us"], rows)


def error_table(results: Results) -> Table:
    """The errors that were counted: how many, and the first in words."""
    rows = [
        [
            cell["server"],
            cell["model"],
            cell["face"],
            str(cell["connections"]),
            f"{cell['errors']:,}",
            cell["first_error"],
        ]
        for cell in results["cells"]
        if cell["errors"]
    ]
    return Table("Errors", ["server", "model", "face", "connections", "errors", "the first"], rows, words=True)


def failure_table(results: Results) -> Table:
    """What was not measured, and why."""
    rows = [
        [entry["server"], *(entry[field] or "all" for field in ("model", "face", "round")), entry["reason"]]
        for entry in results["failures"]
    ]
    return Table("Not measured", ["server", "model", "face", "round", "reason"], rows, words=True)


def bar_rows(bars: list[Bar]) -> Iterator[list[str]]:
    """Each bar as value, bar, held or not, note."""
    for bar in bars:
        held = {True: "held", False: "NOT HELD", None: "not measured"}[bar.held]
        value = ABSENT if bar.value is None else quantity(bar.value, bar.unit)
        yield [bar.name, value, f"{bar.kind} {quantity(bar.bar, bar.unit)}", held, bar.note]


def quantity(value: float, unit: str) -> str:
    """A number with three digits that matter, and its unit."""
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return text + ("x" if unit == "x" else f" {unit}" if unit else "")


def rate(value: float) -> str:
    """Requests a second, with a decimal where there are few."""
    return f"{value:,.0f}" if value >= 200 else f"{value:.1f}"


def label(results: Results, server: str) -> str:
    """A server with its version."""
    version = results["versions"].get(server, "")
    return f"{server} {version}".strip()


def servers(results: Results) -> list[str]:
    """Every server that was measured."""
    return list(dict.fromkeys(cell["server"] for cell in results["cells"]))


def kind(server: str) -> str:
    """ours, floor or peer."""
    if server in (HELLO, ECHO):
        return "floor"
    return "ours" if server.startswith(OURS) else "peer"


def shortfalls(bars: list[Bar]) -> dict[str, list[str]]:
    """Where the time goes -> the bars that are not held for it."""
    found: dict[str, list[str]] = {}
    for bar in bars:
        if bar.held is False:
            found.setdefault(bar.why or "not profiled", []).append(bar.name)
    return found


def bars_of(results: Results) -> list[Bar]:
    """The bars that the document holds."""
    known: list[dict[str, Any]] = results["bars"]
    return [Bar(**bar) for bar in known]
