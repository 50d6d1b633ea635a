"""`python -m loadtests.gpu`: build, check and time everything that runs on the GPU of this machine."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from loadtests.bench.command import say
from loadtests.bench.page import gpu_section
from loadtests.gpu.catalog import MODELS, TINY
from loadtests.gpu.run import Options, run

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def main(
    *,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for benchmarks/gpu.json. Default: docs; for anything less, under build/bench/gpu."),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Batches 1 and 32, short measurements, 2 rounds.")] = False,
    rounds: Annotated[int, typer.Option(min=0, help="Interleaved rounds. Default: 3; quick: 2.")] = 0,
    seconds: Annotated[float, typer.Option(min=0.0, help="Of a measurement. Default: 1.5; quick: 0.5.")] = 0.0,
    only: Annotated[list[str] | None, typer.Option(help="What has this in its name: torch, server...")] = None,
    model: Annotated[list[str] | None, typer.Option(help=f"{', '.join(MODELS)}; {TINY} to try the script.")] = None,
) -> None:
    """Say what cannot run here and why; measure the rest. Exit status 1 only when an answer was wrong."""
    # SIGTERM as an exception: what was started is ended on the way out
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    unknown = set(model or ()) - {*MODELS, TINY}
    if unknown:
        raise typer.BadParameter(f"unknown: {', '.join(sorted(unknown))}", param_hint="--model")
    options = Options(out, quick, rounds, seconds, tuple(only or ()), tuple(model or MODELS))
    document, path = run(options, say)
    say("\n" + "\n".join(gpu_section(document)))
    say(f"{path}; for the page: python -m loadtests.bench report")
    wrong = [check for check in document["checks"] if not check["right"]]
    if wrong:  # nothing else is a fault of ours: what is not there cannot be measured
        say(f"{len(wrong)} answers were wrong")
        raise typer.Exit(1)


if __name__ == "__main__":
    app()
