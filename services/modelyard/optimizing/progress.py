"""How far the work is, on stderr: a bar that moves on a terminal, a line for each step elsewhere."""

from rich.console import Console

from modelyard.bar import bar_on


class Steps:
    """A context: the bar goes when it ends, whatever ends it."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._console = Console(stderr=True, soft_wrap=True)
        self._bar = bar_on(self._console)
        self._task = self._bar.add_task(name, total=None)

    def __enter__(self) -> "Steps":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def begin(self, what: str, total: int | None = None) -> None:
        """The next step, of `total` parts where that is known."""
        text = f"{self._name}: {what}"
        self._bar.reset(self._task, description=text, total=total)
        if not self._console.is_terminal:
            self._console.print(text, highlight=False, markup=False)

    def advance(self) -> None:
        self._bar.advance(self._task)

    def close(self) -> None:
        self._bar.stop()
