"""`modelyard engines`: see, build and remove TensorRT engines. A server builds them by itself; this does it beforehand.

    build NAME -> model.yaml, version -> probe the GPU -> store, or else a child that builds -> what it is and cost

Exit code 1 and one line where there is no GPU, or TensorRT refuses the model. What is heavy is imported by the command
that needs it, so that --help answers at once.
"""

import logging
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from modelyard.bar import bar_on
from modelyard.errors import ConfigurationError
from modelyard.settings import Settings
from modelyard.store.address import locate

if TYPE_CHECKING:
    from modelyard.backends.engine.entry import EngineKey, Entry
    from modelyard.backends.engine.maker import Progress
    from modelyard.backends.engine.store import EngineStore
    from modelyard.manifest import Manifest
    from modelyard.spec import BackendSpec, ModelSpec

app = typer.Typer(
    help="See, build and remove TensorRT engines.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_SHORT = 12
"""Characters of a digest that are shown in a table."""
_WIDE = 1000


@app.command("list")
def list_() -> None:
    """List the engines that are kept here, the one used last first."""
    out, store = _console(), _store(locate(None)[0])
    entries = store.entries()
    table = Table(box=None, header_style="bold")
    for column in ("engine", "model", "version", "precision", "GPU", "TensorRT", "size", "build", "built", "last used"):
        table.add_column(column, justify="right" if column in {"size", "build"} else "left")
    for entry in entries:
        key, about = entry.key, entry.about
        table.add_row(
            key.digest[:_SHORT],
            *(about.model, about.version, key.precision, key.gpu, key.tensorrt),
            *(decimal(entry.bytes), f"{about.seconds:.1f} s", _minute(entry.created)),
            _minute(datetime.fromtimestamp(entry.last_used, UTC).isoformat()),
        )
    if entries:
        out.print(table)
    refused = [entry for entry in entries if entry.refused]
    for entry in refused:
        out.print(f"{entry.key.digest[:_SHORT]} is refused, and built anew when it is wanted: {entry.refused}")
    good = [entry for entry in entries if not entry.refused]
    others = f" ({len(refused)} refused)" if refused else ""
    out.print(f"{_engines(good)}{others} of {decimal(store.max_bytes)} in {store.folder}")


@app.command()
def build(
    name: Annotated[str, typer.Argument(help="Name of the model: its folder in the repository.")],
    repository: Annotated[
        Path | None, typer.Option("--repository", help="Folder of model folders.", show_default="models")
    ] = None,
    version_name: Annotated[
        str | None, typer.Option("--model-version", help="Version or alias.", show_default="what is served")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Build it though it is there, or was refused before.")] = False,
) -> None:
    """Build the TensorRT engine of a model for the GPU of this machine, if it is not there yet."""
    from modelyard.backends.base import BackendUnavailable
    from modelyard.backends.engine.maker import engine_key, ensure, probe
    from modelyard.interface import with_own_interface
    from modelyard.manifest import read_manifest
    from modelyard.members import artifact_spec
    from modelyard.spec import read_spec
    from modelyard.variant import spec_of_version

    logging.basicConfig(level=logging.ERROR)  # the reason is said in one line
    settings, out = Settings.from_environment(repository=repository), _console()
    store = _store(settings)
    spec = read_spec(settings.repository / name)
    folder = _version_folder(settings.repository / name, version_name)
    manifest = read_manifest(folder)
    spec = artifact_spec(settings.repository, spec_of_version(with_own_interface(spec, manifest), manifest))
    backend = _tensorrt(name, spec.backends)
    _check_golden(folder, manifest, spec, backend)
    started = time.monotonic()
    try:
        device = probe()
        key = engine_key(manifest.digest, spec, backend, device)
        there = not again and store.find(key) is not None
        with _Line(name) as line:
            plan = ensure(
                store,
                folder / manifest.artifact,
                manifest.digest,
                spec,
                backend,
                device,
                line.show,
                threading.Event(),
                again,
            )
    except BackendUnavailable as error:
        raise ConfigurationError(f"no engine for '{name}': {error}") from None
    _show(out, name, manifest.version, key, len(plan), None if there else time.monotonic() - started)


@app.command()
def prune(
    bound: Annotated[
        int | None, typer.Option("--bytes", min=0, help="Keep so many bytes.", show_default="the store's bound")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Remove every engine, timing cache and remembered refusal.")
    ] = False,
) -> None:
    """Remove the engines used longest ago, and what dead builders left behind. One that is being built stays."""
    if everything and bound is not None:
        raise typer.BadParameter("--bytes and --all exclude each other")
    out, store = _console(), _store(locate(None)[0])
    gone = store.prune(0 if everything else bound)
    for entry in gone:
        out.print(f"removed {_words(entry)}")
    records = store.clear_records() if everything else 0
    others = f", {records} timing caches and refusals" if records else ""
    out.print(f"removed {_engines(gone)}{others}; kept {_engines(store.entries())}")


class _Line:
    """The progress of a build on stderr: one line that moves on a terminal, a line for each phase elsewhere."""

    def __init__(self, name: str) -> None:
        self._console = Console(stderr=True, soft_wrap=True)
        self._bar = bar_on(self._console)
        self._task = self._bar.add_task(f"{name}: starting", total=None)
        self._name, self._phase = name, ""

    def __enter__(self) -> "_Line":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def show(self, progress: "Progress") -> None:
        text = f"{self._name}: {progress.phase}"
        self._bar.update(self._task, description=text, completed=progress.step, total=progress.steps or None)
        if progress.phase != self._phase and not self._console.is_terminal:
            self._console.print(f"{text} ({progress.seconds:.0f} s)", highlight=False, markup=False)
        self._phase = progress.phase


def _show(out: Console, name: str, version: str, key: "EngineKey", size: int, seconds: float | None) -> None:
    out.print(f"engine {key.digest}")
    out.print(f"  model     {name} version {version}, {key.precision}")
    out.print(f"  for       {key.gpu} (compute capability {key.compute_capability}), TensorRT {key.tensorrt}")
    out.print(f"  size      {size} bytes ({decimal(size)})")
    out.print("  was there already" if seconds is None else f"  seconds   {seconds:.1f}")


def _words(entry: "Entry") -> str:
    about = entry.about
    return f"{entry.key.digest[:_SHORT]}: {about.model} version {about.version}, {decimal(entry.bytes)}"


def _tensorrt(name: str, backends: "tuple[BackendSpec, ...]") -> "BackendSpec":
    for backend in backends:
        if backend.name == "tensorrt":
            return backend
    raise ConfigurationError(f"model.yaml of '{name}' does not list tensorrt among its backends")


def _check_golden(folder: Path, manifest: "Manifest", spec: "ModelSpec", backend: "BackendSpec") -> None:
    """No server would use an engine that cannot be compared: none is built. Raises ConfigurationError."""
    from modelyard.backends.base import BackendUnavailable
    from modelyard.backends.engine.shapes import OutsideProfile, check_golden, profiles
    from modelyard.golden import read_golden

    if not manifest.golden:
        return
    golden = {tensor.name: tensor.array.shape for tensor in read_golden(folder / manifest.golden).inputs}
    try:
        check_golden(profiles(spec, backend)[0], golden)
    except KeyError as error:
        raise ConfigurationError(f"the golden inputs of '{spec.name}' lack {error}") from None
    except (OutsideProfile, BackendUnavailable) as error:
        raise ConfigurationError(f"no engine for '{spec.name}': {error}") from None


def _version_folder(model: Path, name: str | None) -> Path:
    """`name`: a version or an alias; None: what a server would serve."""
    from modelyard.choice import WORDS, default_of
    from modelyard.folders import read_state

    state = read_state(model)
    if not state.versions:
        raise ConfigurationError(f"'{model.name}' has no version yet: train and export it")
    aliases = {word: getattr(state.aliases, word) for word in WORDS}
    version = default_of(state.versions, state.aliases) if name is None else aliases.get(name, name)
    if version not in state.versions:
        known = ", ".join([*state.versions, *(word for word in WORDS if aliases[word])])
        raise ConfigurationError(f"'{model.name}' has no version '{version or name}'; known are {known}")
    return model / "versions" / version


def _store(settings: Settings) -> "EngineStore":
    from modelyard.backends.engine.store import EngineStore

    return EngineStore(settings.engine_folder, settings.engine_store_bytes)


def _console() -> Console:
    """For stdout. In a pipe or a file a row of a table is one line, however long."""
    out = Console(soft_wrap=True, highlight=False, markup=False)
    return out if out.is_terminal else Console(soft_wrap=True, highlight=False, markup=False, width=_WIDE)


def _engines(entries: "Sequence[Entry]") -> str:
    return f"{len(entries)} engine{'s' * (len(entries) != 1)} with {decimal(sum(entry.bytes for entry in entries))}"


def _minute(iso: str) -> str:
    return iso[:16].replace("T", " ")
