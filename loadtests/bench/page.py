"""docs/benchmarks.md, made from results.json, soak-hour.json and gpu.json alone: whoever has these can check it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from loadtests.bench import plots, scenarios, soak
from loadtests.bench.bars import peers
from loadtests.bench.plan import MAIN
from loadtests.bench.results import Results
from loadtests.bench.tables import Table, bar_rows, bars_of, shortfalls, tables
from loadtests.gpu.section import parts

HEAD = """# Benchmarks

<!-- Made by `python -m loadtests.bench report` from the JSON files in benchmarks/: edit none by hand. -->

Modelyard beside its floors and its peers, all in one run on one machine, taken {date} at commit {commit}
by `{command}` in {minutes:g} minutes. `make bench` takes it again, `make bench-quick` is
its short form; how it is done is told [below](#how-it-was-taken).
"""

HOW = """## How it was taken

- {rounds} rounds; in each one every server is started, checked, measured and ended in its turn, in another order each
  time. A figure is the median over the rounds; a ratio is the median of the ratios between neighbours of one round.
- Two models: `mlp`, 64-32-10, a few microseconds a row, so that the server around it is what is measured; `encoder`,
  six transformer layers of MiniLM size with 128 tokens, tens of milliseconds a row.
- `mlp`: the server with all its processes has one core, the load generator another. `encoder`: all cores for both.
- One load generator for all servers: a closed loop in a process of its own, in which each connection sends its next
  request when its last one is answered; {seconds:g} s a measurement after a warm-up ({encoder_seconds:g} s for the
  encoder). The share of a core that it took itself stands in the last column: near 100 % it is the load generator
  that was measured.
- The same requests for every server, one row in each, and no two alike: no cache can answer them. A server that does
  not speak the protocol is asked in its own simplest JSON.
- Before anything is timed the answers are compared with ONNX Runtime in process (within 1e-4), and during the
  measurement some of them again. A server with wrong answers is not timed. Errors are those of all cells of a row.
- CPU: user and system time of the server's whole process tree, a request. Memory: its resident set; pages that
  processes share are counted in each.
- Modelyard runs with everything on: validation, metrics, limits, row cache. Only its queue may grow to 60 s in these
  tables: a closed loop of 128 connections is an overload for the encoder, and the peers queue without end.
- Peers have one worker, one thread in an operator, no access log, and batches of at most 32 rows where they can batch.
- A floor answers what costs it nothing and looks into no request: it is the price of the framework in its name.
- Encoder at 32 and 128 connections: one round; at 128 a longer warm-up and window.
- The hour of soak, where it is shown, was taken apart: `python -m loadtests.bench soak --seconds 3600 --json
  docs/benchmarks/soak-hour.json`, then `python -m loadtests.bench report`.
"""
HOUR = "soak-hour"
"""The file and the picture of a soak of an hour, which `make bench` does not take again."""


def page(results: Results, gpu: dict[str, Any] | None = None, hour: dict[str, Any] | None = None) -> str:
    """The whole page, ending with one newline.

    `gpu`: the document of loadtests.gpu; `hour`: the result of a soak of an hour; None: nothing was measured.
    """
    return "\n".join(line.rstrip() for line in "\n".join(_parts(results, gpu, hour)).splitlines()) + "\n"


def gpu_section(document: dict[str, Any] | None) -> Iterator[str]:
    """What is said of GPUs, line by line."""
    for part in parts(document):
        yield from (part,) if isinstance(part, str) else _titled(part)


def _parts(results: Results, gpu: dict[str, Any] | None, hour: dict[str, Any] | None) -> Iterator[str]:
    taken = results["taken"]
    yield HEAD.format(**taken | {"commit": taken["commit"] or "unknown"})
    yield from _machine(results)
    yield from _bars(results)
    yield from _throughput(results)
    yield from _scenarios(results)
    if hour is not None:
        yield from _hour(hour)
    yield from gpu_section(gpu)
    yield HOW.format(rounds=taken["rounds"], seconds=taken["seconds"], encoder_seconds=taken["encoder_seconds"])


def _machine(results: Results) -> Iterator[str]:
    machine = results["machine"]
    yield f"Machine: {machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']:g} GiB;"
    yield f"{machine['distribution']}, {machine['system']}; {machine['python']}."
    yield "\nVersions: " + ", ".join(f"{name} {number}" for name, number in results["packages"].items()) + "."
    named = [f"{name} {results['versions'].get(name, '')}".strip() for name in peers(results)]
    if named:
        yield "\nPeers: " + ", ".join(named) + "."


def _bars(results: Results) -> Iterator[str]:
    bars = bars_of(results)
    held, measured = sum(bar.held is True for bar in bars), sum(bar.held is not None for bar in bars)
    yield f"\n## Bars: {held} of {measured} held\n"
    yield from _lines(["bar", "value", "wanted", "", "note"], [list(row) for row in bar_rows(bars)])
    short = shortfalls(bars)
    if short:
        yield "\n### Not held: where the time goes\n"
        yield from (f"- {'; '.join(names)}\n  - {why}" for why, names in short.items())


def _throughput(results: Results) -> Iterator[str]:
    main = ", ".join(f"{model} {count}" for model, count in MAIN.items())
    yield f"\n## Throughput\n\nBars and plots are about this many connections: {main}.\n"
    for name, title in plots.names(results):
        yield f"![{title}](benchmarks/{name})\n"
    for table in tables(results):
        yield from _titled(table)


def _scenarios(results: Results) -> Iterator[str]:
    for name, result in results["scenarios"].items():
        yield f"## {scenarios.TITLES[name]}\n"
        if "failed" in result:
            yield f"Not taken: {result['failed']}\n"
            continue
        yield scenarios.markdown(name, result).strip() + "\n"
        yield f"![{scenarios.TITLES[name]}](benchmarks/{scenarios.picture(name)})\n"


def _hour(result: dict[str, Any]) -> Iterator[str]:
    """With bars of its own: those above are of one run."""
    yield "## Soak, an hour\n"
    if "apart" in result:
        yield f"*{result['apart']}*\n"
    yield soak.markdown(result).strip() + "\n"
    yield from _lines(["bar", "value", "wanted", "", "note"], [list(row) for row in bar_rows(soak.bars(result))])
    yield f"\n![Soak, an hour](benchmarks/{HOUR}.png)\n"


def _titled(table: Table) -> Iterator[str]:
    yield f"### {table.title}\n"
    yield from _table(table)
    yield ""


def _table(table: Table) -> Iterator[str]:
    yield from _lines(table.columns, table.rows, numbers=not table.words)


def _lines(columns: list[str], rows: list[list[str]], *, numbers: bool = False) -> Iterator[str]:
    yield "| " + " | ".join(columns) + " |"
    yield "|---|" + ("---:|" if numbers else "---|") * (len(columns) - 1)
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |"
