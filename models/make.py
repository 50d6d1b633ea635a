"""Train and export every model family that has no version yet: `make models`.

    python models/make.py                      # what is missing
    python models/make.py --again              # everything, as a new version
    python models/make.py --only digits_vae    # one family (give it again for more) and what it needs

A family is a folder beside this file with an export.py; train.py runs before it where there is one. A family comes
after those that it needs: the members of its ensemble (model.yaml), and the names in needs.txt, whose versions its
scripts read. Each script is a process of its own; what it prints goes to build/make.log. One that fails is named at the
end, and the exit code is 1; the others are made all the same.
"""

import argparse
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import yaml
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from modelyard.errors import ConfigurationError
from modelyard.manifest import list_versions, read_manifest

FOLDER = Path(__file__).resolve().parent
SCRIPTS = ("train.py", "export.py")
LOG_LINES = 15
"""Of a script that failed, shown at once."""

console = Console(highlight=False, soft_wrap=True)


@dataclass(slots=True)
class Made:
    """What became of the families, by their names."""

    seconds: dict[str, float] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    """Name to the reason."""


def main() -> int:
    options = _options()
    try:
        return _run_all(options.only or [], options.again)
    except ConfigurationError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _run_all(only: Sequence[str], again: bool) -> int:
    names = _wanted(_needs_of_all(), only)
    started = time.monotonic()
    made = Made()
    for number, name in enumerate(names, 1):
        _make(name, f"[{number}/{len(names)}] {name}", again and name in (only or names), made)
    _show(names, made)
    console.print(f"{len(made.seconds)} of {len(names)} made in {_clock(time.monotonic() - started)}")
    for name, reason in made.failed.items():
        print(f"error: {name}: {reason}", file=sys.stderr)
    return 1 if made.failed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--again", action="store_true", help="make a new version also where there is one")
    parser.add_argument("--only", action="append", metavar="NAME", help="this family, and what it still needs")
    return parser.parse_args()


def _needs_of_all() -> dict[str, list[str]]:
    """Each family with those that it needs."""
    return {path.parent.name: _needs(path.parent) for path in sorted(FOLDER.glob("*/export.py"))}


def _needs(folder: Path) -> list[str]:
    spec = yaml.safe_load((folder / "model.yaml").read_text(encoding="utf-8"))
    listed = folder / "needs.txt"
    members = [member["model"] for member in spec.get("ensemble", ())]
    return [*members, *(listed.read_text(encoding="utf-8").split() if listed.exists() else ())]


def _wanted(needs: Mapping[str, Sequence[str]], only: Sequence[str]) -> list[str]:
    """The families to make, each after those that it needs. Raises ConfigurationError for names that are not there."""
    wanted: list[str] = []
    queue = list(only or needs)
    while queue:
        name = queue.pop()
        if name not in needs:
            raise ConfigurationError(f"there is no model family '{name}'; there are {', '.join(needs)}")
        if name not in wanted:
            wanted.append(name)
            queue += needs[name]
    try:
        return list(TopologicalSorter({name: needs[name] for name in sorted(wanted)}).static_order())
    except CycleError as error:
        raise ConfigurationError(f"families need each other in a circle: {' -> '.join(error.args[1])}") from None


def _make(name: str, title: str, again: bool, made: Made) -> None:
    """Train and export one family, unless it has a version; note what became of it."""
    versions = list_versions(FOLDER / name)
    if versions and not again:
        console.print(f"{escape(title)}: has version {versions[-1]}")
        return
    for needed in _needs(FOLDER / name):
        if needed in made.failed:
            made.failed[name] = f"was left out: it needs {needed}"
            console.print(f"{escape(title)}: {made.failed[name]}")
            return
    started = time.monotonic()
    log = FOLDER / name / "build" / "make.log"
    log.parent.mkdir(exist_ok=True)
    log.unlink(missing_ok=True)
    for script in SCRIPTS:
        path = FOLDER / name / script
        if path.exists() and (code := _run(path, f"{title}: {script}", log)):
            made.failed[name] = f"{script} ended with {code}; see {log}"
            console.print(f"{escape(title)}: {script} failed; the end of {log}:\n{escape(_tail(log))}")
            return
    made.seconds[name] = time.monotonic() - started
    console.print(f"{escape(title)}: {_figures(name)}, {_clock(made.seconds[name])}")


def _run(script: Path, title: str, log: Path) -> int:
    """Run a script to its end, its last line shown meanwhile; where nobody looks on, its start alone is said."""
    if not console.is_terminal:
        console.print(escape(title))
    line = Progress(
        SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), TextColumn("{task.fields[last]}"),
        console=console, transient=True, disable=not console.is_terminal,
    )  # fmt: skip
    command = [sys.executable, "-u", str(script)]
    with (
        line,
        log.open("a", encoding="utf-8") as file,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        ) as process,
    ):
        assert process.stdout is not None
        task = line.add_task(escape(title), last="")
        for text in process.stdout:
            file.write(text)
            line.update(task, last=escape(text.strip()[:80]))
    return process.returncode


def _figures(name: str) -> str:
    """The newest version and its quality in one line."""
    version = list_versions(FOLDER / name)[-1]
    metrics = read_manifest(FOLDER / name / "versions" / version).metrics
    return f"version {version}, " + (", ".join(f"{key} {value:.4g}" for key, value in metrics.items()) or "no figures")


def _show(names: Sequence[str], made: Made) -> None:
    """Every figure of the newest versions, beside what the family's README says."""
    table = Table("family", "version", "figure", "here", "README", box=None, header_style="bold", pad_edge=False)
    for name in names:
        versions = [] if name in made.failed else list_versions(FOLDER / name)
        if not versions:
            table.add_row(name, "-", "failed", "", "", style="red")
            continue
        metrics = read_manifest(FOLDER / name / "versions" / versions[-1]).metrics
        readme = FOLDER / name / "README.md"
        text = readme.read_text(encoding="utf-8") if readme.exists() else ""
        for number, (key, value) in enumerate((metrics or {"no figures": float("nan")}).items()):
            head = ("", "") if number else (name, versions[-1])
            table.add_row(*head, key, f"{value:.4g}", _stated(text, key))
    console.print(table)


def _stated(readme: str, figure: str) -> str:
    """The first number in the row of a table that begins with the figure's name: | `accuracy` | 0.98 | ..."""
    row = re.search(rf"^\|\s*`{re.escape(figure)}`\s*\|[^|\d\n]*(-?\d[\d.,]*)", readme, re.MULTILINE)
    return row[1].rstrip(".,") if row else ""


def _tail(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(f"  {line}" for line in lines[-LOG_LINES:])


def _clock(seconds: float) -> str:
    return f"{seconds // 60:.0f} min {seconds % 60:.0f} s" if seconds >= 100 else f"{seconds:.0f} s"


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
