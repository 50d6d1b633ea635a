"""`modelyard build`: from options to exit codes."""

import shlex
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from modelyard import __version__
from modelyard.building.tools import Image, Target, Tool, build_command, check_tag, find, push_command, run
from modelyard.errors import ConfigurationError
from modelyard.settings import Settings, is_store

if TYPE_CHECKING:
    from modelyard.building.order import Order

app = typer.Typer()


@dataclass(frozen=True, slots=True)
class Options:
    tag: str
    target: Target
    tool: Tool | None
    base: str
    more: tuple[str, ...]
    push: bool
    dry_run: bool


@app.command()
def build(
    name: Annotated[str, typer.Argument(help="Name of the model: its folder in the repository.")],
    repository: Annotated[
        Path | None, typer.Option("--repository", help="Folder of model folders.", show_default="models")
    ] = None,
    version: Annotated[str, typer.Option("--version", help="Version or alias.", show_default="the one served")] = "",
    tag: Annotated[
        str, typer.Option("--tag", help="Of the image.", show_default=f"modelyard-NAME:{__version__}, -gpu for a GPU")
    ] = "",
    target: Annotated[Target, typer.Option("--target", help="cpu, or gpu: with CUDA and TensorRT.")] = "cpu",
    tool: Annotated[Tool | None, typer.Option("--tool", show_default="the first that answers")] = None,
    base: Annotated[str, typer.Option("--base", help="Image to start from.", show_default="python:3.11-slim")] = "",
    tool_option: Annotated[
        list[str] | None, typer.Option("--tool-option", help="Handed on to the tool: --tool-option=--no-cache.")
    ] = None,
    context: Annotated[
        Path | None, typer.Option("--context", metavar="DIR", help="Only write what a build reads to this folder.")
    ] = None,
    bento: Annotated[bool, typer.Option("--bento", help="A BentoML bento in place of an image.")] = False,
    push: Annotated[bool, typer.Option("--push", help="Push the image when it is built.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
) -> None:
    """Build the container image of a model: one version, checked by its manifest, with its service and members."""
    from modelyard.building.order import read_order

    options = Options(tag, target, tool, base, tuple(tool_option or ()), push, dry_run)
    if bento and (tag or tool or base or push):
        raise typer.BadParameter("--bento makes no image: --tag, --tool, --base and --push say nothing there")
    if context and (push or bento):
        raise typer.BadParameter("--context builds nothing: neither --push nor --bento goes with it")
    if tag:
        check_tag(tag)
    current = Settings.from_environment(repository=repository)
    if is_store(current.repository):
        raise ConfigurationError("an image is built of a folder: fetch the version first (`modelyard pull`)")
    order = read_order(current.repository, name, version or "stable")
    if bento:
        _bento(order, options)
    elif context:
        _prepare(order, options, context)
    else:
        _image(order, options)


def _image(order: "Order", options: Options) -> None:
    from modelyard.building.context import dockerfile, write

    tool = _tool(options)
    _tell(order)
    with _folder(options) as folder:
        image = _image_of(order, options, folder, dockerfile(folder, options.target))
        commands = [build_command(tool, image, options.more)] + [push_command(tool, image.tag)] * options.push
        if not options.dry_run:
            write(order, folder)
        for command in commands:
            _say(shlex.join(command), err=not options.dry_run)
            if not options.dry_run:
                run(command)
    if not options.dry_run:
        _say(image.tag)


def _tool(options: Options) -> Tool:
    """A dry run has an answer where nothing builds, too."""
    try:
        return find(options.tool)
    except ConfigurationError as error:
        if not options.dry_run:
            raise
        _say(f"note: {error}", err=True)
        return options.tool or "docker"


def _prepare(order: "Order", options: Options, folder: Path) -> None:
    from modelyard.building.context import check, dockerfile, write

    check(folder)
    if not options.dry_run:
        write(order, folder)
    _tell(order)
    image = _image_of(order, options, folder, dockerfile(folder, options.target))
    command = build_command(options.tool or "docker", image, options.more)
    _say(f"{'would write' if options.dry_run else 'wrote'} {folder}; to build it:\n{shlex.join(command)}")


def _bento(order: "Order", options: Options) -> None:
    from modelyard.building import bento
    from modelyard.building.context import write

    _tell(order)
    with _folder(options) as folder:
        if options.dry_run:
            _say(f"would write {folder} and run bentoml build there")
            return
        write(order, folder)
        tag = bento.build(order, folder, options.target)
    _say(f"{tag}\nserve it: bentoml serve {tag}; an image of it: bentoml containerize {tag}")


def _image_of(order: "Order", options: Options, folder: Path, dockerfile: Path) -> Image:
    arguments = {
        "SERVICE": order.model.name,
        "VERSION": __version__,
        "MODEL_VERSION": order.model.version,
        "MODEL_DIGEST": order.model.digest,
        "REVISION": _git(order.model.folder, "rev-parse", "HEAD"),
        "SOURCE": _without_user(_git(order.model.folder, "config", "--get", "remote.origin.url")),
        "CREATED": datetime.now(UTC).isoformat(timespec="seconds"),
        **({"BASE": options.base} if options.base else {}),
    }
    return Image(options.tag or order.image(options.target), dockerfile, folder, arguments)


@contextmanager
def _folder(options: Options) -> Iterator[Path]:
    if options.dry_run:
        yield Path(tempfile.gettempdir()) / "modelyard-build"
        return
    with tempfile.TemporaryDirectory(prefix="modelyard-build-") as folder:
        yield Path(folder)


def _git(folder: Path, *question: str) -> str:
    """What git says of the repository that the model's folder is in, where it is in one."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *question], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return done.stdout.strip() or "unknown"


def _without_user(url: str) -> str:
    """A remote's URL may hold a password; a label is for everybody."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}" if separator else url


def _tell(order: "Order") -> None:
    """What goes in."""
    for line in order.lines():
        _say(line, err=True)


def _say(text: str, *, err: bool = False) -> None:
    Console(stderr=err, soft_wrap=True, highlight=False, markup=False).print(text)
