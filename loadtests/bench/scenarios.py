"""The measurements that are not a table of rounds: each lives in its own module, and this is how they are called.

A scenario module offers `run`, `markdown`, `plot` and `bars`; what `run` gives is JSON-able and stands in results.json
under the scenario's name.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from loadtests.bench.core import Bar

TITLES = {
    "known_rows": "Known rows",
    "hangover": "After a burst",
    "cache_curve": "The cache curve",
    "overload": "Overload",
    "soak": "Soak",
}
QUICK: dict[str, dict[str, Any]] = {"known_rows": {"rounds": 2, "seconds": 1.0}}
"""What the quick form has of them, and its options: more does not go into three minutes."""
SECONDS = {"known_rows": 45.0, "hangover": 80.0, "cache_curve": 840.0, "overload": 360.0, "soak": 660.0}


def module(name: str) -> ModuleType:
    """The module of a scenario."""
    return import_module(f"loadtests.bench.{name}")


def run(name: str, **options: Any) -> dict[str, Any]:
    """Run a scenario; one that fails gives its reason as "failed", and the run goes on."""
    try:
        result: dict[str, Any] = module(name).run(**options)
    except Exception as error:  # whatever it was, the other results are worth keeping
        return {"failed": f"{type(error).__name__}: {str(error)[:400]}"}
    return result


def markdown(name: str, result: dict[str, Any]) -> str:
    """What the page says of it."""
    return str(module(name).markdown(result))


def plot(name: str, result: dict[str, Any], folder: Path) -> Path:
    """Draw its picture."""
    path = folder / picture(name)
    module(name).plot(result, path)
    return path


def bars(name: str, result: dict[str, Any]) -> list[Bar]:
    """The bars that it decides."""
    return [] if "failed" in result else list(module(name).bars(result))


def picture(name: str) -> str:
    """The file name of its picture."""
    return f"{name.replace('_', '-')}.png"
