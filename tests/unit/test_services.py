"""The rules of a service folder, held for every one that stands in services/: none has to be listed anywhere.

imports of ours      modelyard.app, modelyard.images, modelyard.nested, modelyard.tensors; never another service
bentoml              in service.py alone, which has 60 lines at most
model.yaml           of some model names the class: a service that nothing serves is a mistake
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path

import grimp
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
SERVICES, MODELS = ROOT / "services", ROOT / "models"
ALLOWED = frozenset({"modelyard.app", "modelyard.images", "modelyard.nested", "modelyard.tensors"})
MAX_LINES = 60


def _owned() -> frozenset[str]:
    """Third parties that one file of the library stands for."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    return frozenset(name for contract in contracts for name in contract.get("protected_modules", ()))


OWNED = _owned()


def service_folders(root: Path) -> list[str]:
    """Folders of services with code in them."""
    return sorted(folder.name for folder in root.glob("*_service") if any(folder.glob("*.py")))


def graph_of(names: Iterable[str]) -> grimp.ImportGraph:
    """Who imports whom, the library and third parties included."""
    return grimp.build_graph("modelyard", *names, include_external_packages=True, cache_dir=None)


def import_faults(graph: grimp.ImportGraph, name: str) -> list[str]:
    """Imports that a service must not have, each as 'importer -> imported'."""
    return sorted(
        f"{importer} -> {imported}"
        for importer in {name, *graph.find_descendants(name)}
        for imported in graph.find_modules_directly_imported_by(importer)
        if not _allowed(name, importer, imported)
    )


def _allowed(name: str, importer: str, imported: str) -> bool:
    package = imported.partition(".")[0]
    if package == "bentoml":
        return importer == f"{name}.service"
    if package == "modelyard":
        return imported in ALLOWED
    if package in OWNED:
        return False
    return package == name or not package.endswith("_service")


def folder_faults(root: Path, name: str) -> list[str]:
    """What is wrong with the files themselves."""
    missing = [
        f"{name}/{file} is missing" for file in ("__init__.py", "service.py") if not (root / name / file).exists()
    ]
    if missing:
        return missing
    lines = len((root / name / "service.py").read_text(encoding="utf-8").splitlines())
    return [f"{name}/service.py has {lines} lines, above {MAX_LINES}"] if lines > MAX_LINES else []


def served_classes(models: Path) -> set[str]:
    """module:class of every model.yaml."""
    specs = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in models.glob("*/model.yaml")]
    return {spec["service"] for spec in specs if spec.get("service")}


NAMES = service_folders(SERVICES)


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return graph_of(NAMES)


def test_there_are_services() -> None:
    assert "digits_service" in NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_service_keeps_the_rules(graph: grimp.ImportGraph, name: str) -> None:
    assert folder_faults(SERVICES, name) == []
    assert import_faults(graph, name) == []


@pytest.mark.parametrize("name", NAMES)
def test_some_model_is_served_by_it(name: str) -> None:
    assert any(place.startswith(f"{name}.service:") for place in served_classes(MODELS))


def test_the_library_knows_no_service(graph: grimp.ImportGraph) -> None:
    inside = {*NAMES, *(module for name in NAMES for module in graph.find_descendants(name))}
    importers = {importer for module in inside for importer in graph.find_modules_that_directly_import(module)}
    assert not [importer for importer in importers if importer.startswith("modelyard")]


def plant(root: Path, name: str, **files: str) -> None:
    (root / name).mkdir()
    for stem, text in ({"__init__": "", "service": ""} | files).items():
        (root / name / f"{stem}.py").write_text(text)


GOOD = "import bentoml\nimport numpy\nfrom modelyard.app import service\nfrom modelyard import tensors\n"
PLANTED = {
    "good": ({"service": GOOD}, []),
    "the library's inside": ({"words": "from modelyard.errors import InvalidInput"}, ["words -> modelyard.errors"]),
    "the library whole": ({"words": "import modelyard"}, ["words -> modelyard"]),
    "another service": ({"words": "from digits_service.service import Digits"}, ["words -> digits_service.service"]),
    "bentoml elsewhere": ({"words": "import bentoml"}, ["words -> bentoml"]),
    "in a function": ({"service": "def late():\n    import modelyard.cache.key"}, ["service -> modelyard.cache.key"]),
    "what the library owns": ({"words": "import onnxruntime"}, ["words -> onnxruntime"]),
    "its own": ({"words": "from planted_service import service"}, []),
}
"""Files of a folder, and the faults that have to be found in it."""


@pytest.mark.parametrize("what", PLANTED)
def test_a_planted_fault_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    files, faults = PLANTED[what]
    plant(tmp_path, "planted_service", **files)
    monkeypatch.syspath_prepend(tmp_path)
    assert service_folders(tmp_path) == ["planted_service"]
    found = import_faults(graph_of(["digits_service", "planted_service"]), "planted_service")
    assert found == [f"planted_service.{fault}" for fault in faults]


def test_a_long_or_incomplete_folder_is_found(tmp_path: Path) -> None:
    plant(tmp_path, "long_service", service="\n" * (MAX_LINES + 1))
    assert folder_faults(tmp_path, "long_service") == [f"long_service/service.py has {MAX_LINES + 1} lines, above 60"]
    (tmp_path / "long_service" / "service.py").unlink()
    assert folder_faults(tmp_path, "long_service") == ["long_service/service.py is missing"]


def test_a_service_that_no_model_names_is_found(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "model.yaml").write_text("name: one\nservice: one_service.service:One\n")
    assert served_classes(tmp_path) == {"one_service.service:One"}
