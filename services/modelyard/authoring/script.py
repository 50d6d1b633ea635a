"""What the scripts models/*/train.py and export.py share: options, progress, the end in one line."""

import argparse
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from modelyard.errors import ConfigurationError


def export_options(doc: str | None) -> argparse.Namespace:
    """The options of an export: `version`, None for the next number. `doc` is the script's own docstring."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", help="name of the version (default: the next number)")
    return parser.parse_args()


def finish(main: Callable[[], None]) -> int:
    """Run a script to its end; what it refuses is one line on stderr. Returns the exit code."""
    try:
        main()
    except FileNotFoundError as error:
        return _fail(f"{error.filename} is missing; run train.py first")
    except (ConfigurationError, subprocess.CalledProcessError) as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        return 130
    return 0


def progress(unit: str = "epochs") -> Progress:
    """The bar of a training: tasks have the field `loss`."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit + ", loss {task.fields[loss]:.3f}"),
        TimeElapsedColumn(),
    )


def installed(*names: str) -> dict[str, str]:
    """The libraries' versions, for the manifest."""
    return {name: version(name) for name in names}


def _fail(text: str) -> int:
    print("error: " + " ".join(text.split()), file=sys.stderr)
    return 1
