"""What the command lines of all scenarios share: where the result goes, and how it is shown."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

Say = Callable[[str], None]


def silent(_: str) -> None:
    """For a caller who wants no progress."""


def say(text: str) -> None:
    """A line on standard output, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def parser(text: str | None) -> argparse.ArgumentParser:
    """Options that every scenario has; `text` is the module's own description."""
    made = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--json", type=Path, help="write the result there")
    made.add_argument("--plot", type=Path, help="draw the PNG there")
    return made


def finish(
    chosen: argparse.Namespace,
    result: dict[str, Any],
    markdown: Callable[[dict[str, Any]], str],
    plot: Callable[[dict[str, Any], Path], None],
) -> None:
    """Keep the result, draw it, print it."""
    if chosen.json:
        chosen.json.write_text(json.dumps(result, indent=1))
    if chosen.plot:
        plot(result, chosen.plot)
    say(markdown(result))


def ms(seconds: float) -> str:
    """A time for a table; nothing for one that was not measured."""
    return f"{seconds * 1e3:,.1f} ms" if seconds else ""
