"""`modelyard new`, `import` and `remove`: a model comes with all its files, and goes with all of them."""

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.filesize import decimal

from modelyard.errors import ConfigurationError
from modelyard.settings import Settings

if TYPE_CHECKING:
    from modelyard.authoring.new import Created
    from modelyard.importing.bounded import Limits
    from modelyard.spec import ModelSpec

app = typer.Typer(context_settings={"help_option_names": ["-h", "--help"]})

_MOST_EXAMPLE = 600

Repository = Annotated[
    Path | None, typer.Option("--repository", help="Folder of model folders.", show_default="models")
]
Trust = Annotated[
    bool, typer.Option("--trust", help="Open a pickle, which can run any code. In a child process, but as you.")
]
Rows = Annotated[
    Path | None,
    typer.Option(help="An .npz file with real input, an array by each input's name.", show_default="made up"),
]


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Name of the model: letters, digits, '.', '_' and '-'.")],
    source: Annotated[
        Path | None,
        typer.Option(
            "--from", help="An ONNX file, a torch.export program (.pt2) or, with --trust, a scikit-learn pickle."
        ),
    ] = None,
    repository: Repository = None,
    trust: Trust = False,
    protocol_only: Annotated[
        bool, typer.Option("--protocol-only", help="No typed API: the inference protocol alone.")
    ] = False,
    rows: Rows = None,
) -> None:
    """Bring a model that was made elsewhere: its folder with version 1, a service, a test and a deployment.

    The file is tried in a child process first; what cannot be served is refused, and nothing is left behind.
    """
    from modelyard.authoring.new import Request, create

    if source is None:
        raise ConfigurationError(
            f"what is '{name}' to be made of? --from FILE: an ONNX file, a torch.export program (.pt2) or, "
            "with --trust, a scikit-learn pickle"
        )
    settings = Settings.from_environment(repository=repository)
    request = Request(name, source, settings.repository, trust, protocol_only, rows, _limits(settings))
    with _console(stderr=True).status("looking at the file") as status:
        created = create(request, status.update, _warn)
    _show(created, _where(repository))


@app.command("import")
def import_(
    source: Annotated[
        Path, typer.Argument(metavar="FILE", help="An ONNX file, or what `modelyard new` takes besides.")
    ],
    name: Annotated[str, typer.Option(help="Name of the model.")],
    repository: Repository = None,
    version: Annotated[str | None, typer.Option(help="Version.", show_default="the next number")] = None,
    trust: Trust = False,
    rows: Rows = None,
) -> None:
    """Bring a file into the repository: write model.yaml and a version, run it once, say what was found.

    A model that stands gets one more version, with the inputs and outputs that it has.
    """
    from modelyard.authoring.sources import as_onnx
    from modelyard.importer import check_name, import_onnx

    settings = Settings.from_environment(repository=repository)
    check_name(name)
    with tempfile.TemporaryDirectory() as scratch, _console(stderr=True).status("looking at the file") as status:
        limits = _limits(settings)
        found = as_onnx(source, Path(scratch), trust=trust, limits=limits, rows=rows, say=status.update, warn=_warn)
        status.update("trying the model on a few rows")
        given = rows or found.rows
        imported = import_onnx(
            found.artifact, name, settings.repository, version, rows=given, limits=limits, called=source
        )
    out = _console()
    out.print(f"imported {name} version {imported.version} into {imported.folder}")
    _show_model(out, imported.spec, (*found.notes, *imported.findings))
    out.print(f"serve it: modelyard serve {name}{_where(repository)}")


@app.command()
def remove(
    name: Annotated[str, typer.Argument(help="Name of the model: its folder in the repository.")],
    repository: Repository = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove a model: all versions, its service, its test and its deployment. Shows them and asks first."""
    from modelyard.authoring.remove import parts_of, versions_of
    from modelyard.authoring.remove import remove as remove_parts

    out, settings = _console(), Settings.from_environment(repository=repository)
    parts = parts_of(name, settings.repository)
    versions = versions_of(name, settings.repository)
    for part in parts:
        also = f", versions {', '.join(versions)}" if part.what == "model" and versions else ""
        out.print(f"{part.what:10}  {part.path}  ({part.files} files, {decimal(part.bytes)}{also})")
    if not yes and not _confirmed():
        raise ConfigurationError("nothing was removed")
    remove_parts(name, settings.repository, parts)
    out.print(f"removed {name}: {decimal(sum(part.bytes for part in parts))}")


def _confirmed() -> bool:
    if not sys.stdin.isatty():
        raise ConfigurationError("nothing was removed: there is nobody to ask; --yes removes without asking")
    return typer.confirm("Remove all of this for good?")


def _show(created: "Created", where: str) -> None:
    out, spec, names = _console(), created.spec, created.names
    out.print(f"brought {names.model} version {created.imported.version}")
    _show_model(out, spec, (*created.notes, *created.imported.findings))
    out.print("wrote")
    for path in created.written:
        out.print(f"  {_short(path)}")
    out.print("next")
    out.print(f"  modelyard serve {names.model}{where}")
    out.print(f"  {_example(created)}")
    out.print(f"  pytest {_short(created.place.test(names))}")
    out.print(f"  {_short(created.place.model(names) / 'README.md')}: say what it was trained on and how good it is")


def _show_model(out: Console, spec: "ModelSpec", findings: Sequence[str]) -> None:
    for what, tensors in (("input", spec.inputs), ("output", spec.outputs)):
        for tensor in tensors:
            out.print(f"  {what:8}{tensor.name}  {tensor.datatype} {list(tensor.shape)}")
    for finding in findings:
        out.print(f"  {finding}")


def _limits(settings: Settings) -> "Limits":
    from modelyard.importing.bounded import Limits

    return Limits(settings.import_seconds, settings.import_memory_bytes)


def _where(repository: Path | None) -> str:
    """The option, as it was given."""
    return f" --repository {repository}" if repository else ""


def _example(created: "Created") -> str:
    """A request with the first golden row; its place only, where a row is long."""
    from modelyard.nested import to_lists

    spec, golden = created.spec, created.imported.golden
    if golden is None:
        return ""
    rows = [(t.name, t.datatype, t.array[:1] if spec.batched else t.array) for t in golden.inputs]
    body: dict[str, Any] = {name: to_lists(array, datatype) for name, datatype, array in rows}
    path = "infer"
    if spec.service is None:
        path = f"v2/models/{spec.name}/infer"
        body = {
            "inputs": [
                {"name": name, "datatype": datatype, "shape": list(array.shape), "data": to_lists(array, datatype)}
                for name, datatype, array in rows
            ]
        }
    text = json.dumps(_rounded(body), ensure_ascii=False).replace("'", "'\\''")
    if len(text) > _MOST_EXAMPLE:
        text = "{...}"
    return f"curl -s localhost:3000/{path} -H 'content-type: application/json' -d '{text}'"


def _rounded(part: Any) -> Any:
    if isinstance(part, float):
        return float(f"{part:.4g}")
    if isinstance(part, list):
        return [_rounded(each) for each in part]
    return {key: _rounded(value) for key, value in part.items()} if isinstance(part, dict) else part


def _short(path: Path) -> Path:
    """As it is typed here."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _warn(text: str) -> None:
    Console(stderr=True, soft_wrap=True, highlight=False).print(f"[bold red]WARNING[/bold red]: {text}")


def _console(*, stderr: bool = False) -> Console:
    return Console(stderr=stderr, soft_wrap=True, highlight=False, markup=False)
