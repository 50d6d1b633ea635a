"""`modelyard pack` and `unpack`: from options to exit codes."""

import importlib.util
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.filesize import decimal

from modelyard.bar import bar_on
from modelyard.settings import Settings

if TYPE_CHECKING:
    from modelyard.packing.pack import Progress
    from modelyard.receiving import Received

app = typer.Typer()

Repository = Annotated[
    Path | None, typer.Option("--repository", help="Folder of model folders.", show_default="models")
]


@app.command()
def pack(
    name: Annotated[str, typer.Argument(help="Name of the model: its folder in the repository.")],
    version: Annotated[str, typer.Option("--version", help="Version or alias.", show_default="the one served")] = "",
    to: Annotated[
        Path | None,
        typer.Option("--to", metavar="FILE", help="File to write, or a folder.", show_default="NAME-V.modelyard.tar"),
    ] = None,
    repository: Repository = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file, if there is one.")] = False,
) -> None:
    """Write one version to a single file, for `modelyard unpack` elsewhere: model.yaml, README, the version's files.

    The same version gives the same bytes. Code (the service, train.py, export.py) is not in it.
    """
    from modelyard.aliases import STABLE
    from modelyard.lifecycle.versions import read_model
    from modelyard.packing.pack import pack as pack_version

    model = read_model(Settings.from_environment(repository=repository).repository, name)
    with _progress(f"packing {name}") as progress:
        packed = pack_version(model, model.version(version or STABLE), to, force=force, progress=progress)
    manifest = packed.manifest
    _out().print(f"packed {name} version {manifest.version}: {packed.file}")
    _out().print(f"  {packed.files} files, {decimal(packed.bytes)}, sha256 of the version {manifest.digest}")


@app.command()
def unpack(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `modelyard pack` wrote.")],
    repository: Repository = None,
) -> None:
    """Take a packed version into the repository: the file is checked to its last byte first, nothing in it is run.

    A model that stands keeps its model.yaml, and what it serves: `modelyard promote` changes that.
    """
    from modelyard.importing.bounded import Limits
    from modelyard.packing.unpack import unpack as unpack_file

    settings = Settings.from_environment(repository=repository)
    limits = Limits(settings.import_seconds, settings.import_memory_bytes)
    with _progress(f"unpacking {file.name}") as progress:
        received = unpack_file(file, settings.repository, limits, progress)
    _tell(received, settings.repository, f" --repository {repository}" if repository else "")


def _tell(received: "Received", repository: Path, where: str) -> None:
    out, spec, version = _out(), received.spec, received.manifest.version
    if received.there:
        out.print(f"{spec.name} version {version} is there already, file by file the same: nothing was changed")
    else:
        out.print(f"unpacked {spec.name} version {version} into {received.folder}")
    if received.kept:
        out.print("  model.yaml stays as it is here; that of the file says something else beside inputs and outputs")
    for member in spec.ensemble:
        there = (repository / member.model / "versions").is_dir()
        out.print(f"  it is made of {member.model}, which {'is there' if there else 'has to be brought as well'}")
    if spec.service and not _importable(spec.service, repository):
        out.print(
            f"  its typed API, {spec.service}, is code and was not packed: install it, or remove the line `service:` "
            "from model.yaml to serve the inference protocol alone"
        )
    if received.new_model:
        out.print(f"serve it: modelyard serve {spec.name}{where}")
    elif not received.there:
        last = f"modelyard promote {spec.name} {version}{where}"
        out.print(f"next: modelyard check {spec.name} --version {version}{where}, {last}")


def _importable(service: str, repository: Path) -> bool:
    """Is there such a package, installed or beside the models? It is looked for, never imported."""
    package = re.split("[.:]", service)[0]
    try:
        return bool(importlib.util.find_spec(package)) or (repository.parent / "services" / package).is_dir()
    except ValueError:  # as for __main__
        return False


@contextmanager
def _progress(text: str) -> "Iterator[Progress]":
    """A bar of megabytes on a terminal."""
    bar = bar_on(Console(stderr=True))
    task = bar.add_task(f"{text}, MB", total=None)
    with bar:
        yield lambda done, total: bar.update(task, completed=done // 10**6, total=total // 10**6)


def _out() -> Console:
    return Console(soft_wrap=True, highlight=False, markup=False)
