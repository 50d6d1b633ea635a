"""`modelyard drift report`: from a payload log to a page.

Exit codes: 0 done; 1 refused, with one line 'error: ...' on stderr; 2 wrong usage.
"""

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelyard.errors import ConfigurationError
from modelyard.settings import Settings

if TYPE_CHECKING:
    from modelyard.drift.reference import Reference
    from modelyard.drift_report.tally import Tally
    from modelyard.spec import ModelSpec

app = typer.Typer(help="Compare what is served with what a version was made with.", no_args_is_help=True)


@app.callback()
def drift() -> None:
    """Compare what is served with what a version was made with."""


@app.command()
def report(
    name: Annotated[str, typer.Argument(help="Name of the model: its folder in the repository.")],
    log: Annotated[
        list[Path] | None,
        typer.Option("--log", help="Payload log; more than once for more files.", show_default="MODELYARD_PAYLOAD_LOG"),
    ] = None,
    reference: Annotated[
        str, typer.Option("--reference", help="Version or alias to compare with.", show_default="the one served")
    ] = "",
    to: Annotated[Path, typer.Option("--to", help="The page, .html, or the picture alone, .png.")] = Path("drift.html"),
    repository: Annotated[
        Path | None, typer.Option("--repository", help="Folder of model folders.", show_default="models")
    ] = None,
) -> None:
    """Draw a payload log's rows beside the reference rows of a version: inputs, answers, refusals, accuracy."""
    if to.suffix not in (".html", ".png"):
        raise typer.BadParameter(f"--to {to}: a name that ends in .html or .png")
    if importlib.util.find_spec("matplotlib") is None:
        raise ConfigurationError("the bars need matplotlib: pip install 'modelyard[bench]'")
    settings = Settings.from_environment(repository=repository)
    spec, version, found = _reference(settings.repository, name, reference)
    files = log or _configured(settings.payload_log)
    tally = _read(files, spec, found)
    _write(spec.name, version, tally, to)


def _reference(repository: Path, name: str, wanted: str) -> "tuple[ModelSpec, str, Reference]":
    from modelyard.aliases import STABLE
    from modelyard.drift.reference import read_reference
    from modelyard.interface import with_own_interface
    from modelyard.lifecycle.versions import read_model
    from modelyard.manifest import read_manifest

    model = read_model(repository, name)
    version = model.version(wanted or STABLE)
    folder = repository / name / "versions" / version
    manifest = read_manifest(folder)
    if manifest.reference is None:
        raise ConfigurationError(
            f"version {version} of '{name}' has no reference: it was published without evaluation rows, or "
            "before there were references; export it again"
        )
    return with_own_interface(model.spec, manifest), version, read_reference(folder / manifest.reference)


def _configured(setting: str) -> list[Path]:
    if not setting.startswith("file:"):
        raise ConfigurationError("--log FILE names the payload log (MODELYARD_PAYLOAD_LOG is no file here)")
    return [Path(setting.removeprefix("file:"))]


def _read(files: list[Path], spec: "ModelSpec", reference: "Reference") -> "Tally":
    from rich import progress
    from rich.console import Console

    from modelyard.drift_report.log import events
    from modelyard.drift_report.tally import Tally
    from modelyard.observing.events import REQUEST

    tally, stderr = Tally(spec, reference), Console(stderr=True)
    quiet = not stderr.is_terminal
    for path in files:
        try:
            with progress.open(path, "rb", description=path.name, console=stderr, disable=quiet) as lines:
                for event in events(lines, spec.name, tally.events):
                    tally.add(event)
        except OSError as error:
            raise ConfigurationError(f"{path} cannot be read: {error.strerror or error}") from None
    tally.finish()
    if not tally.events[REQUEST]:
        read = ", ".join(str(path) for path in files)
        raise ConfigurationError(f"{read}: no request to '{spec.name}' among {tally.events.total():,} lines")
    return tally


def _write(name: str, version: str, tally: "Tally", to: Path) -> None:
    from modelyard.drift_report.page import facts, page, quality
    from modelyard.drift_report.plot import draw
    from modelyard.drift_report.summary import compared

    found = compared(tally)
    picture = draw(f"{name}: served rows beside the reference of version {version}", found)
    try:
        if to.suffix == ".png":
            to.write_bytes(picture)
        else:
            to.write_text(page(name, version, tally, found, picture), encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{to} cannot be written: {error.strerror or error}") from None
    for each in found:
        index = "" if each.psi is None else f"{each.psi:.4f}"
        typer.echo(f"{each.name:32} {index:>8} {each.rows:>9,} rows  {each.verdict}")
    typer.echo(f"{facts(tally)}\n{quality(tally)}\n{to}")
