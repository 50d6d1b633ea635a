"""`modelyard export, check, promote, rollback, history, diff`: from options to exit codes.

Exit codes: 0 done; 1 refused, or a check failed, with one line 'error: ...' on stderr; 2 wrong usage. What is heavy is
imported by the command that needs it, so that --help answers at once.
"""

import logging
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelyard.errors import ConfigurationError
from modelyard.settings import Settings

if TYPE_CHECKING:
    from modelyard.lifecycle.promote import Done

app = typer.Typer()

SHOWN = 20
"""Changes that `history` shows without --all."""

Name = Annotated[str, typer.Argument(help="Name of the model: its folder in the repository.")]
Repository = Annotated[
    Path | None,
    typer.Option("--repository", help="Folder of model folders; s3://BUCKET/PREFIX.", show_default="models"),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
Slowdown = Annotated[
    float | None,
    typer.Option("--max-slowdown", min=0.0, help="Fail when a run takes more than so many times the other's."),
]
Reason = Annotated[str, typer.Option("--reason", help="Kept in the history.")]


@app.command()
def export(
    name: Name,
    repository: Repository = None,
    version: Annotated[
        str | None, typer.Option("--version", help="Name of the version.", show_default="the next number")
    ] = None,
    train: Annotated[bool, typer.Option("--train", help="Train though something was trained before.")] = False,
) -> None:
    """Make a new version with the model's own scripts: train.py if nothing was trained yet, then export.py."""
    from modelyard.lifecycle import scripts

    say = _say()
    new = scripts.export(_folder(repository), name, version, train=train, say=say)
    if not new:
        raise ConfigurationError(f"export.py of '{name}' ended well, but there is no new version")
    where = _where(repository)
    say(f"next: modelyard check {name} --version {new[-1]}{where}, modelyard promote {name} {new[-1]}{where}")


@app.command()
def check(
    name: Name,
    repository: Repository = None,
    version: Annotated[
        str, typer.Option("--version", help="Version or alias.", show_default="the candidate, else the newest")
    ] = "",
    max_slowdown: Slowdown = None,
    as_json: Json = False,
) -> None:
    """Check a version beside the one that is served: digest, interface, golden inputs, parity, latency."""
    from modelyard.lifecycle import show
    from modelyard.lifecycle.check import check as check_version
    from modelyard.lifecycle.places import place_of
    from modelyard.lifecycle.versions import to_check

    _quiet()
    model = place_of(repository).model(name, version)
    meant = model.version(version) if version else to_check(model)
    with _working(f"checking {name} version {meant}"):
        found = check_version(model, meant, max_slowdown=max_slowdown)
    if as_json:
        _print_json(show.report_document(found))
    else:
        show.report(show.console(), found)
    if found.failed:
        raise ConfigurationError(f"version {meant} of '{name}' fails: {', '.join(found.failed)}")


@app.command()
def promote(
    name: Name,
    version: Annotated[str, typer.Argument(help="Version; or `candidate`.")],
    repository: Repository = None,
    candidate: Annotated[bool, typer.Option("--candidate", help="Make it the candidate, not stable.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Though its interface breaks callers.")] = False,
    reason: Reason = "",
    max_slowdown: Slowdown = None,
) -> None:
    """Check a version and make it stable: running servers take it over. `modelyard rollback` goes back."""
    from modelyard.lifecycle import show
    from modelyard.lifecycle.places import place_of
    from modelyard.lifecycle.promote import Order
    from modelyard.lifecycle.promote import promote as promote_version

    if force and not reason.strip():
        raise typer.BadParameter("--force needs --reason TEXT: why may callers break?")
    _quiet()
    out, place = show.console(), place_of(repository)
    order = Order(version, candidate, force, reason, max_slowdown)
    with _working(f"checking {name} version {version}"):
        done = promote_version(place, name, order, lambda found: show.report(out, found), _notice)
    _tell_promoted(name, done, candidate, place.option)


@app.command()
def rollback(
    name: Name,
    repository: Repository = None,
    candidate: Annotated[bool, typer.Option("--candidate", help="Give the candidate up; stable stays.")] = False,
    reason: Reason = "",
) -> None:
    """Make the version before stable again, after a look at its digest and whether it loads."""
    from modelyard.lifecycle import promote as promoting
    from modelyard.lifecycle.places import place_of

    _quiet()
    say, place = _say(), place_of(repository)
    if candidate:
        dropped = promoting.drop_candidate(place, name, reason, _notice)
        say(f"{name} has no candidate any more; it was version {dropped.version}")
        return
    done = promoting.rollback(place, name, reason, _notice)
    say(f"{name} version {done.version} is stable again; it was version {done.before}")
    further = f"version {done.state.previous}" if done.state.previous else "nothing"
    say(f"a running server goes back to it by itself; a further rollback would go to {further}")


@app.command()
def history(
    name: Name,
    repository: Repository = None,
    everything: Annotated[bool, typer.Option("--all", help=f"Every change, not the last {SHOWN}.")] = False,
    as_json: Json = False,
) -> None:
    """Show the versions of a model, and who became stable when, instead of whom and why."""
    from modelyard.lifecycle import show
    from modelyard.lifecycle.places import place_of

    found = place_of(repository).past(name)
    if as_json:
        _print_json(show.history_document(found))
    else:
        show.history(show.console(), found, None if everything else SHOWN)


@app.command()
def diff(
    name: Name,
    before: Annotated[str, typer.Argument(metavar="V1", help="Version or alias.")],
    after: Annotated[str, typer.Argument(metavar="V2", help="Version or alias.")],
    repository: Repository = None,
    as_json: Json = False,
) -> None:
    """Show two versions side by side: metadata, quality, latency, and how far their answers agree."""
    from modelyard.lifecycle import show
    from modelyard.lifecycle.difference import difference
    from modelyard.lifecycle.places import place_of

    _quiet()
    model = place_of(repository).model(name, before, after)
    one, other = model.version(before), model.version(after)
    with _working(f"comparing {name} versions {one} and {other}"):
        found = difference(model, one, other)
    if as_json:
        _print_json(show.difference_document(found))
    else:
        show.difference(show.console(), found)


def _tell_promoted(name: str, done: "Done", candidate: bool, where: str) -> None:
    say = _say()
    what = "the candidate" if candidate else "stable"
    if not done.changed:
        say(f"{name} version {done.version} is {what} already: nothing was changed")
        return
    forced = ", forced" if done.forced else ""
    instead = f"; it was version {done.before}" if done.before else ""
    say(f"{name} version {done.version} is {what}{forced}{instead}")
    if candidate:
        say(f"next: modelyard promote {name} candidate{where}, or modelyard rollback {name} --candidate{where}")
        return
    back = f"; back again: modelyard rollback {name}{where}" if done.state.previous else ""
    say(f"a running server loads it in the background and then answers from it{back}")


def _folder(given: Path | None) -> Path:
    return Settings.from_environment(repository=given).repository


def _where(repository: Path | None) -> str:
    """What makes a command that is shown meant for the same repository."""
    return f" --repository {repository}" if repository else ""


def _say() -> Callable[..., None]:
    from modelyard.lifecycle.show import console

    return console().print


def _notice(text: str) -> None:
    print(text, file=sys.stderr)


def _working(text: str) -> AbstractContextManager[object]:
    """A sign of life on a terminal; nothing elsewhere."""
    from modelyard.lifecycle.show import console

    out = console(stderr=True)
    return out.status(text) if out.is_terminal else nullcontext()


def _print_json(document: dict[str, Any]) -> None:
    """A figure that is no number (NaN, infinite) has no place in JSON: null."""
    import orjson

    sys.stdout.write(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode())


def _quiet() -> None:
    logging.basicConfig(level=logging.CRITICAL)
