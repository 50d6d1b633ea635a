"""What a person who waits is shown: which measurement, the figures of the last ones, how long is left."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from loadtests.bench.core import Sample


class Watch:
    """A progress bar in seconds of planned work; without a terminal, only the lines."""

    def __init__(self, console: Console, total: float) -> None:
        self.console = console
        columns = (SpinnerColumn(), BarColumn(24), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
        self.progress = Progress(
            *columns,
            TextColumn("{task.description}"),
            console=console,
            speed_estimate_period=600,  # a step takes seconds, so the estimate has to look back far
            refresh_per_second=1,  # drawing takes time from the cores that are measured
            transient=True,
        )
        self.task = self.progress.add_task("", total=total)

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.stop()

    def show(self, text: str) -> None:
        """What is being done now."""
        self.progress.update(self.task, description=text)

    def advance(self, seconds: float) -> None:
        """So much of the planned time is done."""
        self.progress.advance(self.task, seconds)

    def note(self, where: Mapping[str, Any], sample: Sample) -> None:
        """A line that stays: the figures of one measurement."""
        bad = f"  [red]{sample.errors} errors, {sample.wrong} wrong[/red]" if sample.errors or sample.wrong else ""
        self.line(
            f"{where['model']:12} {where['face']:10} {where['connections']:4} connections  {where['server']:28}"
            f"{sample.rate:10,.0f}/s  p50 {sample.p50 * 1e3:8.2f} ms  p99 {sample.p99 * 1e3:8.2f} ms"
            f"  {sample.cpu_us:8,.0f} us CPU{bad}"
        )

    def line(self, text: str) -> None:
        """Any line that stays."""
        self.console.print(text, highlight=False, soft_wrap=True)
