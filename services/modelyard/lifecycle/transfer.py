"""`modelyard push` and `pull`: one version to a store and from it; from options to exit codes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.filesize import decimal

from modelyard.bar import bar_on
from modelyard.settings import Settings
from modelyard.store.address import Address, store_of

if TYPE_CHECKING:
    from modelyard.store.port import Told
    from modelyard.store.remote import Remote

app = typer.Typer()

MEGABYTE = 10**6
Name = Annotated[str, typer.Argument(help="Name of the model: its folder in the repository.")]
Repository = Annotated[
    Path | None, typer.Option("--repository", help="Folder of model folders.", show_default="models")
]


@app.command()
def push(
    name: Name,
    version: Annotated[str, typer.Option("--version", help="Version or alias.", show_default="the one served")] = "",
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="s3://BUCKET/PREFIX", help="The store.", show_default="MODELYARD_STORE"),
    ] = None,
    repository: Repository = None,
    model_yaml: Annotated[
        bool, typer.Option("--model-yaml", help="Replace the store's model.yaml and README, where they differ.")
    ] = False,
) -> None:
    """Send one version to a store: it appears there whole or not at all. Nothing is promoted by it.

    A version that is there with other files is refused. A push that was ended halfway is taken up by the next one.
    """
    from modelyard.aliases import STABLE
    from modelyard.lifecycle.versions import read_model
    from modelyard.store.push import push as push_version

    settings, address = Settings.from_environment(repository=repository), store_of(to)
    model, remote = read_model(settings.repository, name), _open(settings, address)
    meant = model.version(version or STABLE)
    with _progress(f"pushing {name} version {meant}", model.path(meant)) as told:
        pushed = push_version(remote, model.folder, meant, model_yaml=model_yaml, told=told)
    say, manifest = _say(), pushed.manifest
    size = decimal(sum(entry.bytes for entry in manifest.files.values()))
    if pushed.there:
        mended = f"; {pushed.sent} of its files were not, and are now" if pushed.sent else ": nothing was sent"
        say(f"{name} version {meant} is in {address} already, file by file the same{mended}")
    else:
        say(
            f"pushed {name} version {meant} to {address}: {len(manifest.files)} files, {size}, sha256 {manifest.digest}"
        )
        say(f"next: modelyard promote {name} {meant} --repository {address}; servers that serve from there follow")
    if pushed.kept:
        say("  model.yaml of the store differs from this one and stays; --model-yaml replaces it")


@app.command()
def pull(
    name: Name,
    version: Annotated[
        str, typer.Option("--version", help="Version or alias.", show_default="stable there, else the newest")
    ] = "",
    source: Annotated[
        str | None,
        typer.Option("--from", metavar="s3://BUCKET/PREFIX", help="The store.", show_default="MODELYARD_STORE"),
    ] = None,
    repository: Repository = None,
) -> None:
    """Bring one version from a store into the repository: checked to its last byte, then there in one step.

    A model that stands keeps its model.yaml, and what it serves: `modelyard promote` changes that.
    """
    from modelyard.drafts import draft_folder
    from modelyard.importing.bounded import Limits
    from modelyard.receiving import check_standing
    from modelyard.store.pull import fetch
    from modelyard.store.pull import pull as pull_version

    settings, address = Settings.from_environment(repository=repository), store_of(source)
    remote = _open(settings, address)
    meant = remote.meant(name, version)
    sent = fetch(remote, name, meant)
    say = _say()
    if check_standing(settings.repository, sent.manifest):
        with draft_folder(settings.repository, name):
            pass  # what a pull left that was killed at its very end is removed
        say(f"{name} version {meant} is here already, file by file the same: nothing was fetched")
        return
    total = sum(entry.bytes for entry in sent.manifest.files.values())
    limits = Limits(settings.import_seconds, settings.import_memory_bytes)
    with _progress(f"pulling {name} version {meant}", total) as told:
        got = pull_version(remote, sent, settings.repository, limits, readme=True, told=told)
    say(f"pulled {name} version {meant} into {got.folder}: {len(got.manifest.files)} files, {decimal(total)}")
    if got.kept:
        say("  model.yaml stays as it is here; that of the store says something else beside inputs and outputs")
    for member in got.spec.ensemble:
        say(f"  it is made of {member.model}: modelyard pull {member.model}, if it is not here")
    where = f" --repository {repository}" if repository else ""
    if got.new_model:
        say(f"serve it: modelyard serve {name}{where}")
    else:
        say(f"next: modelyard check {name} --version {meant}{where}, modelyard promote {name} {meant}{where}")


def _open(settings: Settings, address: Address) -> "Remote":
    from modelyard.store.open import open_remote

    return open_remote(settings, address)


@contextmanager
def _progress(text: str, total: int | Path) -> "Iterator[Told]":
    """A bar of megabytes on a terminal. `total`: bytes, or a folder of files."""
    if isinstance(total, Path):
        total = sum(path.stat().st_size for path in total.iterdir()) if total.is_dir() else 0
    bar = bar_on(Console(stderr=True))
    task = bar.add_task(f"{text}, MB", total=total // MEGABYTE)
    done = 0

    def told(count: int) -> None:
        nonlocal done
        done += count
        bar.update(task, completed=done // MEGABYTE)

    with bar:
        yield told


def _say() -> Callable[..., None]:
    from modelyard.lifecycle.show import console

    return console().print
