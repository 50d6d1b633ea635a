"""Which version of a model is `stable`, which is the `candidate`, and how it came so: models/<name>/aliases.json.

    read_aliases -> Aliases -> promoted | rolled_back | with_candidate (pure) -> update: under a lock, written whole

A reader needs no lock: the file is replaced, so that it sees the old state or the new one, whenever a writer dies.
A writer holds an exclusive flock on models/<name>/.lock, which the kernel takes back when the process ends, however it
ends. Without a file the newest version is served, and there is nothing to roll back to.
"""

import errno
import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from modelyard.drafts import flush
from modelyard.errors import ConfigurationError

ALIASES_FILE = "aliases.json"
LOCK_FILE = ".lock"
DRAFT = ".aliases.draft"
STABLE = "stable"
CANDIDATE = "candidate"
DEPTH = 50
"""How many promotes can be taken back."""
HISTORY = 1000
"""Changes that are remembered."""
REASON = 500
"""Characters of a reason."""
WAIT_SECONDS = 10.0
NOTICE_SECONDS = 0.5
_POLL_SECONDS = 0.05
_MAX_BYTES = 4 * 2**20
"""More than the longest history takes."""

Version = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
Notice = Callable[[str], None]


@dataclass(frozen=True)
class Change:
    """One line of the history. `version`: what the alias says since; `before`: what it said until then."""

    time: Annotated[str, Field(max_length=64)]
    action: Annotated[str, Field(max_length=64)]
    version: Version | None
    before: Version | None
    forced: bool = False
    reason: Annotated[str, Field(max_length=REASON)] = ""


@dataclass(frozen=True)
class Aliases:
    stable: str | None = None
    candidate: str | None = None
    previous: str | None = None
    """What a rollback goes to."""
    history: tuple[Change, ...] = ()
    """Oldest first."""
    older: tuple[str, ...] = ()
    """What further rollbacks go to, the nearest one last."""


class _Document(BaseModel):
    """The file."""

    model_config = ConfigDict(extra="forbid", strict=True)
    format: Literal[1]
    stable: Version | None = None
    candidate: Version | None = None
    previous: Version | None = None
    older: tuple[Version, ...] = Field((), max_length=DEPTH)
    history: tuple[Change, ...] = Field((), max_length=HISTORY)


def promoted(
    state: Aliases, version: str, *, instead_of: str | None = None, forced: bool = False, reason: str = ""
) -> Aliases:
    """`version` is stable. `instead_of`: what was served while there was no stable version, for the way back."""
    if version == state.stable:
        return state
    before = state.stable or instead_of
    before = None if before == version else before
    return replace(
        state,
        stable=version,
        candidate=None if state.candidate == version else state.candidate,
        previous=before,
        older=_pushed(state) if before else (),
        history=_recorded(state, "promote", version, before, forced=forced, reason=reason),
    )


def rolled_back(state: Aliases, *, reason: str = "") -> Aliases:
    """The version before is stable again. Raises ConfigurationError when there is none."""
    if state.previous is None:
        raise ConfigurationError("there is nothing to roll back to: no promote that could be taken back")
    return replace(
        state,
        stable=state.previous,
        candidate=None if state.candidate == state.previous else state.candidate,
        previous=state.older[-1] if state.older else None,
        older=state.older[:-1],
        history=_recorded(state, "rollback", state.previous, state.stable, reason=reason),
    )


def with_candidate(state: Aliases, version: str | None, *, forced: bool = False, reason: str = "") -> Aliases:
    """`version` is the candidate; None: there is none any more."""
    if version == state.candidate:
        return state
    history = _recorded(state, "candidate", version, state.candidate, forced=forced, reason=reason)
    return replace(state, candidate=version, history=history)


def _pushed(state: Aliases) -> tuple[str, ...]:
    return (*state.older, state.previous)[-(DEPTH - 1) :] if state.previous else state.older


def _recorded(
    state: Aliases, action: str, version: str | None, before: str | None, *, forced: bool = False, reason: str = ""
) -> tuple[Change, ...]:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return (*state.history, Change(now, action, version, before, forced, one_line(reason)))[-HISTORY:]


def one_line(reason: str) -> str:
    """It is printed on terminals: no line breaks, nothing that moves a cursor."""
    text = "".join(letter if letter.isprintable() else " " for letter in reason)
    return " ".join(text.split())[:REASON]


def read_aliases(model_dir: Path) -> Aliases:
    """The state of a model; empty without a file. Raises ConfigurationError with the file and its fault."""
    path = model_dir / ALIASES_FILE
    try:
        content = _content(path)
    except FileNotFoundError:
        return Aliases()
    except OSError as error:
        raise ConfigurationError(f"{path} could not be read: {error.strerror or error}") from None
    return parse_aliases(content, str(path))


def parse_aliases(content: bytes, source: str) -> Aliases:
    """What such a file says; `source` is how complaints name it. Raises ConfigurationError."""
    try:
        found = _Document.model_validate_json(content)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False)
        places = [f"{'.'.join(map(str, fault['loc']))}: " if fault["loc"] else "" for fault in faults]
        text = "; ".join(f"{place}{fault['msg']}" for place, fault in zip(places[:3], faults, strict=False))
        raise ConfigurationError(f"{source}: {text}") from None
    if found.older and found.previous is None:
        raise ConfigurationError(f"{source}: older: versions to go back to without a previous one")
    return Aliases(found.stable, found.candidate, found.previous, found.history, found.older)


def encode_aliases(state: Aliases, source: str) -> bytes:
    """The file; what could not be read again is never written. Raises ConfigurationError."""
    content = orjson.dumps({"format": 1, **asdict(state)}, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    parse_aliases(content, source)
    return content


def _content(path: Path) -> bytes:
    """Its bytes. A link is not followed, a pipe is not waited for."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise ConfigurationError(f"{path} is no regular file") from None
        raise
    with open(descriptor, "rb") as file:  # noqa: PTH123 (a descriptor is no path)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ConfigurationError(f"{path} is no regular file")
        content = file.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise ConfigurationError(f"{path} has more than {_MAX_BYTES} bytes")
    return content


def update(
    model_dir: Path,
    change: Callable[[Aliases], Aliases],
    *,
    seconds: float = WAIT_SECONDS,
    notice: Notice | None = None,
) -> Aliases:
    """Put what `change` makes of the present state in its place, and return it.

    What `change` raises leaves everything as it was. `seconds` and `notice`: see `locked`.
    """
    with locked(model_dir, seconds=seconds, notice=notice):
        state = read_aliases(model_dir)
        changed = change(state)
        if changed != state:
            _write(model_dir, changed)
        return changed


@contextmanager
def locked(model_dir: Path, *, seconds: float = WAIT_SECONDS, notice: Notice | None = None) -> Iterator[None]:
    """Nobody else changes the aliases of this model meanwhile. `notice` is told, once, that it has to be waited for.

    Raises ConfigurationError when another process holds the lock for longer than `seconds`.
    """
    if not model_dir.is_dir():
        raise ConfigurationError(f"there is no model folder {model_dir}")
    began = time.monotonic()
    path, told = model_dir / LOCK_FILE, False
    while (descriptor := _try_lock(path)) is None:
        waited = time.monotonic() - began
        if waited >= seconds:
            raise ConfigurationError(
                f"another command has been changing '{model_dir.name}' for {seconds:g} s (it holds {path}): "
                "nothing was changed, try again"
            )
        if notice and not told and waited >= NOTICE_SECONDS:
            notice(f"waiting for another command that changes '{model_dir.name}', up to {seconds:g} s")
            told = True
        time.sleep(_POLL_SECONDS)
    try:
        yield
    finally:
        os.close(descriptor)


def _try_lock(path: Path) -> int | None:
    """A descriptor that holds the lock, or None while another process holds it."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
    except OSError as error:
        raise ConfigurationError(f"{path} could not be opened: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if path.stat(follow_symlinks=False).st_ino == os.fstat(descriptor).st_ino:
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass  # held by another; or it was removed meanwhile, and who comes next makes a new one
    except OSError as error:
        os.close(descriptor)
        raise ConfigurationError(f"{path} could not be locked: {error.strerror}") from None
    os.close(descriptor)
    return None


def _write(model_dir: Path, state: Aliases) -> None:
    """Replace the file. Whoever is killed on the way leaves the old one, and a draft that the next writer removes."""
    draft = model_dir / DRAFT
    content = encode_aliases(state, str(draft))
    try:
        draft.unlink(missing_ok=True)
        with draft.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(model_dir / ALIASES_FILE)
        flush(model_dir)
    except OSError as error:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise ConfigurationError(f"{model_dir / ALIASES_FILE} could not be written: {error}") from error
