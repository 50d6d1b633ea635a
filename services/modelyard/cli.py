"""`modelyard`: serve, list, inspect, infer, tune, settings; the other commands come from the packages that own them.

Exit codes: 0 done; 1 refused, with one line 'error: ...' on stderr; 2 wrong usage. Heavy modules are imported by the
commands that need them, so that --help answers at once.
"""

import asyncio
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from pydantic import SecretStr
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from modelyard import __version__, engines_command
from modelyard.authoring import command as authoring_command
from modelyard.building import command as build_command
from modelyard.cards import command as card_command
from modelyard.drift_report import command as drift_command
from modelyard.errors import ConfigurationError
from modelyard.lifecycle import command as lifecycle_command
from modelyard.lifecycle import transfer as transfer_command
from modelyard.optimizing import command as optimize_command
from modelyard.packing import command as packing_command
from modelyard.settings import PREFIX, Settings
from modelyard.store.address import locate

if TYPE_CHECKING:
    from modelyard.protocol.http_message import HttpResponse

app = typer.Typer(
    help="Turn a trained model into a production service.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(engines_command.app, name="engines")
app.add_typer(lifecycle_command.app)
app.add_typer(transfer_command.app)
app.add_typer(authoring_command.app)
app.add_typer(card_command.app)
app.add_typer(drift_command.app, name="drift")
app.add_typer(optimize_command.app)
app.add_typer(packing_command.app)
app.add_typer(build_command.app)
out = Console(soft_wrap=True, markup=False)  # names and descriptions come out of strangers' files

Repository = Annotated[
    Path | None,
    typer.Option("--repository", help="Folder of model folders; s3://BUCKET/PREFIX.", show_default="models"),
]
ModelName = Annotated[str, typer.Argument(help="Name of the model: its folder in the repository.")]


def main() -> None:
    """The console script. Turns refusals into one line and exit code 1."""
    try:
        app()
    except (ConfigurationError, OSError, ValueError) as error:
        _fail(str(error))


@app.callback(invoke_without_command=True)
def version(show: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    """Turn a trained model into a production service."""
    if show:
        out.print(__version__, highlight=False)
        raise typer.Exit


@app.command()
def serve(
    name: Annotated[
        str, typer.Argument(help="Name of the model: its folder in the repository.", show_default="MODELYARD_MODEL")
    ] = "",
    repository: Repository = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.", show_default="127.0.0.1")] = None,
    port: Annotated[int | None, typer.Option(help="HTTP port; 0: any free one.", show_default="3000")] = None,
    grpc_port: Annotated[int | None, typer.Option(help="gRPC port; 0: any free one.", show_default="3001")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that share the ports.", show_default="1")] = None,
) -> None:
    """Serve a model over HTTP and gRPC until SIGTERM or Ctrl-C."""
    from modelyard.server import serve as serve_model

    settings, store = locate(
        repository, model=name or None, host=host, http_port=port, grpc_port=grpc_port, workers=workers
    )
    if not settings.model:
        raise typer.BadParameter("which model? modelyard serve NAME, or its name in MODELYARD_MODEL")
    serve_model(settings, store)


@app.command("list")
def list_(repository: Repository = None) -> None:
    """List the models of a repository with their versions."""
    from modelyard.lifecycle.places import place_of
    from modelyard.lifecycle.show import console

    place = place_of(repository)
    table = Table("model", "versions", "inputs", "outputs", "description", box=None, header_style="bold")
    for name in place.models():
        versions = ""
        try:
            versions = place.versions_text(name)
            spec = place.spec(name)
        except ConfigurationError as error:
            table.add_row(name, versions, "", "", f"error: {error}")
            continue
        inputs, outputs = (", ".join(tensor.name for tensor in side) for side in (spec.inputs, spec.outputs))
        table.add_row(name, versions, inputs, outputs, spec.description)
    console().print(table)


@app.command()
def inspect(name: ModelName, repository: Repository = None) -> None:
    """Show a model: inputs, outputs, versions, digests, and the backend that would run it here."""
    from modelyard.lifecycle.past import aliases_of
    from modelyard.lifecycle.places import place_of
    from modelyard.repository import load_model
    from modelyard.upgrade import Upgrade, wants_engine

    _quiet()
    place = place_of(repository, engine_builds=False)
    current, state = place.settings, place.model(name).state
    model = load_model(current.repository, name)
    spec = model.spec
    out.print(Text.assemble((name, "bold"), f"  {spec.description}"))
    for what, tensors in (("input", spec.inputs), ("output", spec.outputs)):
        for tensor in tensors:
            out.print(f"  {what:8}{tensor.name}  {tensor.datatype} {list(tensor.shape)}", highlight=False)
    batching = f"up to {spec.batching.max_batch_size} rows" if spec.batched else "off: each request runs alone"
    if spec.batching.merge_rows:
        batching += f", {spec.batching.merge_rows} merged into one run"
    cache = f"{', '.join(spec.cache.tiers)} for {spec.cache.ttl_seconds:g} s" if spec.cache.enabled else "off"
    out.print(f"  {'batching':8}  {batching}\n  {'cache':8}  {cache}", highlight=False)
    out.print(f"  {'service':8}  {spec.service or 'inference protocol only'}", highlight=False)
    for member in spec.ensemble:
        given = ", ".join(f"{name} as {own}" for name, own in member.outputs.items())
        out.print(f"  {'member':8}  {member.model}: gives the vote {given}", highlight=False)
    for version_name, loaded in model.versions.items():
        if wants_engine(spec):
            Upgrade(loaded, current).run_once()
        manifest, active = loaded.manifest, loaded.chain.active
        words = ", ".join((*aliases_of(version_name, state), *(("default",) * (version_name == model.default))))
        out.print(f"  version {version_name}{f' ({words})' if words else ''}", highlight=False)
        out.print(f"    sha256   {manifest.digest}\n    created  {manifest.created}", highlight=False)
        out.print(f"    backend  {active.name}, {active.precision}", highlight=False)
        for refused, why in loaded.chain.refusals.items():
            out.print(f"             not {refused}: {why}", highlight=False)
        for metric, value in manifest.metrics.items():
            out.print(f"    {metric:8} {value:.4f}", highlight=False)
    for version_name, reason in model.refused.items():
        out.print(f"  version {version_name} is refused: {reason}", highlight=False)


@app.command()
def infer(
    name: ModelName,
    json: Annotated[Path, typer.Option("--json", help="File with a request of the inference protocol; - for stdin.")],
    repository: Repository = None,
    version_name: Annotated[str, typer.Option("--model-version", help="Version, alias; default: the one served.")] = "",
) -> None:
    """Run one request on a model without a server; print the response."""
    from modelyard.lifecycle.places import place_of

    _quiet()
    body = sys.stdin.buffer.read() if str(json) == "-" else json.read_bytes()
    place = place_of(repository)
    place.model(name, version_name)
    response = asyncio.run(_infer(place.settings.repository, name, version_name, body))
    sys.stdout.write(b"".join(response.parts).decode() + "\n")
    if response.status != 200:
        _fail(f"the model refused the request with status {response.status}")


@app.command()
def tune(
    name: ModelName,
    repository: Repository = None,
    version_name: Annotated[str, typer.Option("--model-version", help="Version; default: the one served.")] = "",
    batch_sizes: Annotated[
        str, typer.Option(help="Rows merged into one run, at most.", show_default="powers of 2 to max_batch_size")
    ] = "",
    executors: Annotated[
        str, typer.Option(help="Threads that run the model.", show_default="powers of 2 to the number of cores")
    ] = "",
    delays: Annotated[str, typer.Option(help="Queue delays in milliseconds.", show_default="0,2")] = "",
    concurrency: Annotated[str, typer.Option(help="Connections; the choice is made for the most.")] = "1,8,32",
    seconds: Annotated[float, typer.Option(help="For each setting at each number of connections.")] = 1.0,
    rows: Annotated[int, typer.Option(help="Rows of each request.")] = 1,
    dim: Annotated[
        list[str] | None, typer.Option(help="Size of an input's free dimensions: NAME=N, or NAME.AXIS=N for one.")
    ] = None,
    p99_ms: Annotated[
        float | None, typer.Option("--p99-ms", help="Choose only among settings with at most this p99.")
    ] = None,
    write: Annotated[bool, typer.Option("--write", help="Write what was chosen to model.yaml.")] = False,
    json: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw the curves to this PNG.", show_default="build/tune/NAME.png")
    ] = None,
) -> None:
    """Measure a model under many batch settings, print the table, choose the best; --write puts them into model.yaml.

    Lists are numbers with commas between: --batch-sizes 1,8,32.
    """
    from modelyard.tuning.command import tune as tune_model
    from modelyard.tuning.plan import Options

    _quiet()
    options = Options(
        name,
        version_name,
        concurrency,
        seconds,
        batch_sizes,
        executors,
        delays,
        rows,
        dim or (),
        p99_ms,
        write,
        json,
        plot,
    )
    current = Settings.from_environment(repository=repository, redis_url="", api_keys="", cache_enabled=False)
    if code := tune_model(options, current, out):
        raise typer.Exit(code)


@app.command()
def settings() -> None:
    """Print every setting with its environment variable, value and meaning."""
    current, store = locate(None)
    longest = max(len(PREFIX + name) for name in Settings.model_fields)
    variable = Column("variable", no_wrap=True, min_width=longest)
    table = Table(variable, "value", "meaning", box=None, header_style="bold")
    for name, field in Settings.model_fields.items():
        value = getattr(current, name)
        secret = isinstance(value, SecretStr)
        shown = ("(set)" if value.get_secret_value() else "") if secret else str(value)
        if store and name == "repository":
            shown = str(store)
        table.add_row(PREFIX + name.upper(), shown, field.description)
    out.print(table)


async def _infer(repository: Path, name: str, version_name: str, body: bytes) -> "HttpResponse":
    """The request goes the way of a served one, from the HTTP face down, without a socket."""
    from modelyard.app import Application
    from modelyard.protocol.http_message import HttpRequest

    current = Settings.from_environment(
        repository=repository, redis_url="", api_keys="", loaded_versions=1000, payload_log="off", feedback_requests=0
    )
    application = Application(current, [name])
    await application.start(listen=False)
    try:
        version_path = f"/versions/{version_name}" if version_name else ""
        path = f"/v2/models/{name}{version_path}/infer".encode()
        return await application.rest.handle(HttpRequest("POST", path, {}, body))
    finally:
        await application.stop()


def _quiet() -> None:
    logging.basicConfig(level=logging.CRITICAL)


def _fail(text: str) -> NoReturn:
    print("error: " + " ".join(text.split()), file=sys.stderr)
    sys.exit(1)
