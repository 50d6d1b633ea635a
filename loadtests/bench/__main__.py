"""`python -m loadtests.bench`: the whole benchmark, its parts, and the page made anew from results.json."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from loadtests.bench import bench, scenarios
from loadtests.bench.core import DOCS
from loadtests.bench.plan import Scale
from loadtests.bench.results import load
from loadtests.bench.terminal import show

app = typer.Typer(add_completion=False, rich_markup_mode=None)
# a log or a pipe has no width of its own: wide enough for the tables
console = Console(width=None if sys.stdout.isatty() else 200)
Out = Annotated[
    Path | None,
    typer.Option(help="Folder for benchmarks.md and benchmarks/. Default: docs; for anything less, under build/bench."),
]


@app.callback(invoke_without_command=True)
def main(
    context: typer.Context,
    *,
    quick: Annotated[bool, typer.Option("--quick", help="No peers, short cells: under 3 minutes.")] = False,
    rounds: Annotated[int, typer.Option(min=0, help="Interleaved rounds. Default: 3; quick: 2.")] = 0,
    seconds: Annotated[float, typer.Option(min=0.0, help="Of an MLP cell. Default: 2; quick: 1.")] = 0.0,
    only: Annotated[list[str] | None, typer.Option(help="Servers and scenarios whose name has this in it.")] = None,
    no_peers: Annotated[bool, typer.Option("--no-peers", help="Floors and ours alone.")] = False,
    no_scenarios: Annotated[bool, typer.Option("--no-scenarios", help="The rounds alone.")] = False,
    soak_seconds: Annotated[float, typer.Option(min=1.0, help="Length of the soak.")] = 600.0,
    out: Out = None,
) -> None:
    """Measure ours beside its floors and its peers; print tables and bars; write results.json, pictures and page."""
    # SIGTERM as an exception: what was started is ended on the way out
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    if context.invoked_subcommand is not None:
        return
    scale = Scale(rounds or (2 if quick else 3), seconds or (1.0 if quick else 2.0), quick)
    options = bench.Options(scale, only or [], not (no_peers or quick), not no_scenarios, soak_seconds, out)
    show(bench.run(options, console), console)


@app.command()
def report(out: Annotated[Path, typer.Option(help="Folder with benchmarks/results.json.")] = DOCS) -> None:
    """Make page, pictures and tables anew from results.json, without measuring."""
    bench.publish(out, console)
    show(load(bench.results_path(out)), console)


def _scenario_command(name: str) -> None:
    settings = {"allow_extra_args": True, "ignore_unknown_options": True}

    @app.command(
        name.replace("_", "-"),
        help=f"{scenarios.TITLES[name]} alone; --help shows its options.",
        context_settings=settings,
        add_help_option=False,
    )
    def command(context: typer.Context) -> None:
        scenarios.module(name).main(context.args)


for scenario in scenarios.TITLES:
    _scenario_command(scenario)

if __name__ == "__main__":
    app()
