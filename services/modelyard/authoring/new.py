"""`modelyard new`: a file made elsewhere becomes a model with a typed API, a test and a deployment.

    what is it? -> ONNX, or a child converts it -> import (on trial in a child) -> the files around it -> all renamed

Everything is made in one draft folder beside the models and renamed at the end. What fails before that leaves nothing;
what fails while names are given is taken back.
"""

import hashlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from modelyard.authoring.names import Names, check_package, names_of
from modelyard.authoring.placing import Placing
from modelyard.authoring.scaffold import Place, deploy_files, place_of, readme_text, service_files, written_test
from modelyard.authoring.sources import as_onnx
from modelyard.drafts import draft_folder
from modelyard.errors import ConfigurationError
from modelyard.importer import Imported, import_onnx, write_spec
from modelyard.importing.bounded import Limits, one_line
from modelyard.spec import MODEL_YAML, ModelSpec

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Request:
    name: str
    source: Path
    repository: Path
    trust: bool = False
    protocol_only: bool = False
    rows: Path | None = None
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class Created:
    names: Names
    place: Place
    imported: Imported
    spec: ModelSpec
    notes: list[str]
    written: list[Path]


def create(request: Request, say: Say = lambda _: None, warn: Say = lambda _: None) -> Created:
    """Bring the model. `say` hears each step, `warn` what is dangerous.

    Raises ConfigurationError; then nothing is left behind.
    """
    names, place = names_of(request.name), place_of(request.repository)
    _check_free(names, place, request)
    placing = Placing()
    try:
        placing.make_folder(place.repository)
        with tempfile.TemporaryDirectory(prefix="modelyard-new-") as scratch:
            limits = request.limits
            source = as_onnx(
                request.source,
                Path(scratch),
                trust=request.trust,
                limits=limits,
                rows=request.rows,
                say=say,
                warn=warn,
            )
            with draft_folder(place.repository, names.model) as draft:
                say("trying the model on a few rows")
                rows = request.rows or source.rows
                into = draft / "model"
                imported = import_onnx(
                    source.artifact, names.model, into, rows=rows, limits=limits, called=request.source
                )
                spec = _check(imported, names, request, converted=source.artifact != request.source)
                for part, target in _write(draft, request, names, place, imported, spec, source.notes):
                    placing.put(part, target)
    except BaseException:
        placing.take_back()
        raise
    return Created(names, place, imported, spec, source.notes, placing.parts)


def _check_free(names: Names, place: Place, request: Request) -> None:
    targets = [place.model(names), place.test(names), place.deploy(names)]
    if not request.protocol_only:
        targets.append(place.service(names))
        check_package(names.package, place.root / "services")
    for target in targets:
        if target.exists() or target.is_symlink():
            raise ConfigurationError(
                f"{target} stands already: `modelyard import FILE --name {names.model}` adds a version, "
                f"`modelyard remove {names.model}` removes the model"
            )


def _check(imported: Imported, names: Names, request: Request, *, converted: bool) -> ModelSpec:
    """The spec to write. Raises ConfigurationError for a model that could not be tested."""
    if imported.golden is None:
        raise ConfigurationError(
            f"{imported.findings[0]}: give it real input with --rows FILE.npz (numpy.savez, an array by each input's "
            f"name: {', '.join(f'{t.name} {t.datatype} {list(t.shape)}' for t in imported.spec.inputs)})"
        )
    if any(tensor.datatype == "BF16" for tensor in (*imported.spec.inputs, *imported.spec.outputs)):
        raise ConfigurationError("BF16 has no place in JSON: cast it in the model, or `modelyard import` the ONNX file")
    service = None if request.protocol_only else f"{names.package}.service:{names.class_name}"
    description = f"Brought from {one_line(request.source.name)}."
    if not converted and not imported.spec.description.startswith("Imported from "):
        description = imported.spec.description
    return imported.spec.model_copy(update={"service": service, "description": description})


def _write(
    draft: Path, request: Request, names: Names, place: Place, imported: Imported, spec: ModelSpec, notes: list[str]
) -> list[tuple[Path, Path]]:
    """Fill the draft. Returns each part with the place it is meant for; the model last, it makes the others count."""
    model = draft / "model" / names.model
    write_spec(model / MODEL_YAML, spec)
    known = [*_known(request, imported), *notes, *imported.findings]
    (model / "README.md").write_text(readme_text(names, spec, known, trust=request.trust), encoding="utf-8")
    parts = [(draft / "deploy", place.deploy(names)), (draft / "test.py", place.test(names))]
    _fill(draft / "deploy", deploy_files(names))
    (draft / "test.py").write_text(written_test(names, spec, place, typed=not request.protocol_only), encoding="utf-8")
    if not request.protocol_only:
        _fill(draft / "service", service_files(names, spec))
        parts.append((draft / "service", place.service(names)))
    return [*parts, (model, place.model(names))]


def _known(request: Request, imported: Imported) -> list[str]:
    with request.source.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    about = imported.about
    producer = f", written by {about['producer']}" if about.get("producer") else ""
    return [
        f"brought from `{one_line(request.source.name)}`, sha256 `{digest}`",
        f"ONNX{producer}: {about.get('parameters', 0):,} stored numbers, {about.get('nodes', 0):,} nodes, opset "
        f"{about.get('opset', '')}",
    ]


def _fill(folder: Path, files: dict[str, str]) -> None:
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
