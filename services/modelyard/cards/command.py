"""`modelyard card NAME`: load the version, measure it, write NAME-VERSION.md and NAME-VERSION.png."""

import importlib.util
import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from modelyard.settings import Settings

if TYPE_CHECKING:
    from modelyard.cards.page import Measured
    from modelyard.lifecycle.versions import Model
    from modelyard.repository import LoadedVersion

app = typer.Typer()


@app.command()
def card(
    name: Annotated[str, typer.Argument(help="Name of the model: its folder in the repository.")],
    version: Annotated[str, typer.Option(help="Version, or stable, or candidate.")] = "stable",
    out: Annotated[Path, typer.Option(help="Folder that the page and its picture go to.")] = Path("build/cards"),
    repository: Annotated[
        Path | None, typer.Option("--repository", help="Folder of model folders.", show_default="models")
    ] = None,
) -> None:
    """Write a model card: data, quality, limits, sizes, and latency measured now; Markdown with one picture."""
    from modelyard.cards.page import SECTIONS, page
    from modelyard.cards.readme import section
    from modelyard.lifecycle.versions import read_model
    from modelyard.repository import load_version

    logging.basicConfig(level=logging.CRITICAL)
    current = Settings.from_environment(repository=repository, engine_builds=False)
    model = read_model(current.repository, name)
    out.mkdir(parents=True, exist_ok=True)
    loaded = load_version(model.path(model.version(version)), model.spec)
    try:
        stem = f"{name}-{loaded.version}"
        measured = _measured(model, loaded, out / f"{stem}.png")
    finally:
        loaded.chain.close()
    said = {title: section(model.folder / "README.md", title) for title in SECTIONS}
    target = out / f"{stem}.md"
    target.write_text(page(loaded.public, loaded.manifest, said, measured), encoding="utf-8")
    Console(soft_wrap=True, highlight=False).print(f"wrote {target}" + (f" and {stem}.png" * bool(measured.picture)))


def _measured(model: "Model", loaded: "LoadedVersion", picture: Path) -> "Measured":
    from modelyard.cards.latency import machine, measure
    from modelyard.cards.page import Measured
    from modelyard.golden import read_golden

    golden = loaded.manifest.golden
    with Console(stderr=True).status(f"measuring {model.name}") as status:
        figures, notes = measure(
            loaded,
            read_golden(loaded.artifact.parent / golden) if golden else None,
            lambda rows: status.update(f"measuring {model.name} version {loaded.version}, {max(rows, 1)} rows"),
        )
    active = loaded.chain.active
    title = f"{model.name} version {loaded.version} on {active.name}"
    drawn = importlib.util.find_spec("matplotlib") is not None
    if drawn:
        from modelyard.tuning.plot import plot_sizes

        points = [(max(each.rows, 1), each.median_ms, each.p99_ms, each.rows_per_second) for each in figures]
        plot_sizes(title, points, picture)
    date = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return Measured(figures, notes, active.name, active.precision, machine(), date, picture.name if drawn else "")
