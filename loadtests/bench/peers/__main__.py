"""`python -m loadtests.bench.peers list | install [NAME...] | check [NAME...]`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from loadtests.bench.environments import InstallFailed
from loadtests.bench.peers.catalog import PEERS, peer
from loadtests.bench.peers.check import MODELS, Finding
from loadtests.bench.peers.check import check as check_peers
from loadtests.bench.peers.recipe import Peer

app = typer.Typer(no_args_is_help=True, add_completion=False, help="The other servers of the benchmark.")
console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
Names = Annotated[list[str] | None, typer.Argument(help="Peers; none named: all.")]


@app.command("list")
def list_peers() -> None:
    """The peers, their versions and faces."""
    table = Table("peer", "what", "version", "faces")
    for one in PEERS:
        table.add_row(one.name, one.title, one.version, ", ".join(one.faces))
    console.print(table)


@app.command()
def install(names: Names = None) -> None:
    """Make their environments."""
    failed = 0
    for one in _chosen(names):
        try:
            one.install(console.print)
        except InstallFailed as failure:
            failed += 1
            console.print(f"{one.name}: does not install: {failure}", markup=False)
    raise typer.Exit(1 if failed else 0)


@app.command()
def check(
    names: Names = None,
    model: Annotated[list[str] | None, typer.Option(help="Models; none named: mlp and encoder.")] = None,
) -> None:
    """Start each, compare its answers with ONNX Runtime in process, stop it."""
    findings = check_peers(_chosen(names), model or MODELS, console.print)
    console.print(_table(findings))
    raise typer.Exit(1 if any(finding.problem for finding in findings) else 0)


def _chosen(names: list[str] | None) -> list[Peer]:
    try:
        return [peer(name) for name in names] if names else list(PEERS)
    except KeyError as unknown:
        raise typer.BadParameter(str(unknown.args[0])) from unknown


def _table(findings: list[Finding]) -> Table:
    table = Table("peer", "version", "model", "face", "start s", "processes", "answers")
    for one in findings:
        start, processes = f"{one.start_seconds:.1f}", str(one.processes)
        table.add_row(one.peer, one.version, one.model, one.face, start, processes, one.problem or "right")
    return table


if __name__ == "__main__":
    app()
