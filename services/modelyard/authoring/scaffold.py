"""The files of a new model beside its versions: service, test, README, deployment, each from its template.

Where they belong depends on the place: in a checkout of Modelyard a test uses what tests/integration/ has; elsewhere it
starts its server through the library.
"""

from dataclasses import dataclass
from pathlib import Path

from modelyard import __version__
from modelyard.authoring import templates
from modelyard.authoring.names import Names
from modelyard.authoring.typed import api_text, literal
from modelyard.spec import ModelSpec

_STANDARD = ("collections.abc import Iterator", "pathlib import Path", "typing import Any")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a model's files go. `repository` is the folder of models, `root` the one that holds it."""

    root: Path
    repository: Path

    @property
    def checkout(self) -> bool:
        return (self.root / "tests" / "integration" / "harness.py").is_file()

    def model(self, names: Names) -> Path:
        return self.repository / names.model

    def service(self, names: Names) -> Path:
        return self.root / "services" / names.package

    def test(self, names: Names) -> Path:
        return self.root / "tests" / "integration" / f"test_{names.package}.py"

    def deploy(self, names: Names) -> Path:
        return self.root / "deploy" / "k8s" / "services" / names.label


def place_of(repository: Path) -> Place:
    repository = repository.resolve()
    return Place(repository.parent, repository)


def service_files(names: Names, spec: ModelSpec) -> dict[str, str]:
    """Text by file name."""
    own = f"from {names.package}.api import Inputs, Outputs"
    library = "from modelyard.app import ModelService, service"
    what = (
        f"Each array has a line for each row, {spec.batching.max_batch_size} rows at the most."
        if spec.batched
        else "One request is one run: the model has no dimension for rows."
    )
    return {
        "__init__.py": templates.PACKAGE.substitute(model=names.model),
        "api.py": api_text(spec),
        "service.py": templates.SERVICE.substitute(
            model=names.model,
            class_name=names.class_name,
            imports="\n".join(sorted((own, library))),
            what=what,
        ),
    }


def written_test(names: Names, spec: ModelSpec, place: Place, *, typed: bool) -> str:
    parts = ""
    if typed:
        version = "model_version"
        while version in {tensor.name for tensor in spec.outputs}:
            version += "_"
        own = templates.CHECKOUT_TYPED if place.checkout else templates.PLAIN_TYPED
        parts = own.substitute() + templates.TYPED_TEST.substitute(version=literal(version))
    return templates.TEST.substitute(
        model=names.model,
        repository=place.repository.name,
        head=_head(place.checkout, typed),
        typed=parts,
    )


def _head(checkout: bool, typed: bool) -> str:
    """The imports of the test, in ruff's order."""
    standard = [f"from {line}" for line in _STANDARD if typed or "Any" not in line]
    others = ["import numpy as np", "import pytest"]
    library = ["from modelyard.golden import Golden, read_golden", "from modelyard.tensors import Array, Tensor"]
    if typed:
        library.insert(1, "from modelyard.nested import to_array, to_lists")
    if checkout:
        others += ["import httpx"] * typed
        library += [
            "from tests.integration.calls import PROTOCOLS, ask",
            "from tests.integration.harness import Server, serve",
        ]
    else:
        names = "PROTOCOLS, Server, ask, " + "ask_typed, " * typed + "serve"
        library.insert(0, f"from modelyard.authoring.served import {names}")
    return "\n\n".join("\n".join(lines) for lines in (standard, sorted(others), library))


def deploy_files(names: Names) -> dict[str, str]:
    text = templates.DEPLOY.substitute(model=names.model, label=names.label, version=__version__)
    return {"kustomization.yaml": text}


def readme_text(names: Names, spec: ModelSpec, known: list[str], *, trust: bool) -> str:
    rows = [
        f"| {what} | `{tensor.name.replace('|', '&#124;')}`, {tensor.datatype} {list(tensor.shape)} |"
        for what, tensors in (("input", spec.inputs), ("output", spec.outputs))
        for tensor in tensors
    ]
    batching = (
        f"Requests of up to {spec.batching.max_batch_size} rows; rows of several requests run together."
        if spec.batched
        else "Each request runs alone: there is no dimension for rows that could vary."
    )
    cache = "Equal rows are answered from the cache." if spec.cache.enabled else "Its answers are not cached."
    return templates.README.substitute(
        model=names.model,
        description=spec.description,
        tensors="\n".join(rows),
        known="\n".join(f"- {line}" for line in known),
        batching=f"{batching} {cache}",
        trust=" --trust" * trust,
    )
