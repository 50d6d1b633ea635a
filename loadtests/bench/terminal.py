"""The result of a run in the terminal: the tables, then the bars, then where the time goes for those not held."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table as RichTable

from loadtests.bench.results import Results
from loadtests.bench.tables import Table, bar_rows, bars_of, shortfalls, tables

COLOURS = {"held": "green", "NOT HELD": "bold red", "not measured": "yellow"}


def show(results: Results, console: Console) -> None:
    """Print everything."""
    for table in tables(results):
        console.print(_rich(table))
    show_bars(results, console)


def show_bars(results: Results, console: Console) -> None:
    """Print the bars alone."""
    shown = RichTable(title="Bars", title_justify="left", box=None, header_style="bold")
    for column in ("bar", "value", "wanted", "", "note"):
        shown.add_column(column, justify="right" if column == "value" else "left", overflow="fold")
    for name, value, wanted, held, note in bar_rows(bars_of(results)):
        shown.add_row(name, value, wanted, f"[{COLOURS[held]}]{held}[/]", note)
    console.print(shown)
    for why, names in shortfalls(bars_of(results)).items():
        console.print("\nNot held: " + "; ".join(names), highlight=False, markup=False)
        console.print(f"  where the time goes: {why}", highlight=False, markup=False)


def _rich(table: Table) -> RichTable:
    shown = RichTable(title=table.title, title_justify="left", box=None, header_style="bold")
    for index, column in enumerate(table.columns):
        shown.add_column(column, justify="left" if index == 0 or table.words else "right", overflow="fold")
    for row in table.rows:
        shown.add_row(*row)
    return shown
