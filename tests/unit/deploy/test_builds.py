"""Every service, overlay and combination renders, and what comes out is what the API takes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.tools import kubectl
from tests.unit.deploy.rendered import (
    ALL,
    COMBINATIONS,
    K8S,
    OVERLAYS,
    ROOT,
    SERVICES,
    Object,
    name_of,
    of_kind,
    render,
)
from tests.unit.deploy.schemas import CUSTOM, wrong

MODELS = ROOT / "models"
_checked: set[str] = set()


def components_in(folder: Path) -> set[Path]:
    """Everything that a folder's kustomization is made of, at any depth."""
    text = yaml.safe_load((folder / "kustomization.yaml").read_text())
    below = [(folder / entry).resolve() for entry in [*text.get("resources", []), *text.get("components", [])]]
    found = {path for path in below if path.is_dir()}
    return found.union(*(components_in(path) for path in found))


@pytest.mark.parametrize("folder", ALL)
def test_every_folder_renders_to_objects_that_the_api_takes(folder: str) -> None:
    new = {json.dumps(item, sort_keys=True): item for item in render(folder)}
    assert [text for key, item in new.items() if key not in _checked and (text := wrong(item))] == []
    _checked.update(new)  # what another folder has as well is looked at once


@pytest.mark.parametrize("folder", ALL)
def test_no_two_objects_have_one_name(folder: str) -> None:
    names = [(item["kind"], item["metadata"].get("namespace"), name_of(item)) for item in render(folder)]
    assert len(names) == len(set(names))


def test_every_component_is_part_of_a_combination_and_every_model_has_a_folder() -> None:
    built = set().union(*(components_in(K8S / folder) for folder in COMBINATIONS))
    every = {path.parent for path in (K8S / "components").rglob("kustomization.yaml")}
    # `laptop` is the local overlay's own
    assert every - built == {K8S / "components" / "laptop"}
    specs = {path.parent.name: yaml.safe_load(path.read_text()) for path in MODELS.glob("*/model.yaml")}
    served = {name for name, spec in specs.items() if "service" in spec}
    labels = {"services/" + name.replace("_", "-") for name in served}
    assert labels <= set(SERVICES)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_has_every_service_of_ours_and_redis(overlay: str) -> None:
    """A model that somebody brought with `modelyard new` has no export.py; whether to list it is theirs to say."""
    ours = [path.parent.name.replace("_", "-") for path in MODELS.glob("*/export.py")]
    wanted = {f"{label}-server" for label in ours if f"services/{label}" in SERVICES} | {"redis"}
    assert len(wanted) > 6
    assert wanted <= {name_of(item) for item in of_kind(overlay, "Deployment")}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kind": "Deploymnt"}, "schema"),
        ({"apiVersion": "extensions/v1beta1"}, "schema"),
        ({"apiVersion": "policy/v1beta1", "kind": "PodDisruptionBudget"}, "schema"),
        ({"spce": {}}, "spce"),
        ({"spec": {"replicas": "two"}}, "not of type"),
    ],
)
def test_the_schemas_find_what_is_wrong(change: Object, said: str) -> None:
    deployment = next(item for item in render("services/digits") if item["kind"] == "Deployment")
    assert said in wrong(deployment | change).lower()


@pytest.mark.parametrize(("version", "kind"), sorted(CUSTOM))
def test_a_custom_kind_has_a_strict_schema_and_is_rendered_somewhere(version: str, kind: str) -> None:
    found = [item for folder in ALL for item in of_kind(folder, kind)]
    assert found, f"no combination has a {kind}"
    assert {item["apiVersion"] for item in found} == {version}
    item = found[0]
    assert wrong(item) == ""
    assert "unknown" in wrong(item | {"spec": item["spec"] | {"unknown": 1}})


def test_kustomize_of_2022_renders_the_same() -> None:
    """Where it can be had: whoever has an older kubectl than ours gets the same objects."""
    try:
        program = kubectl.fetched()
    except RuntimeError as error:
        pytest.fail(str(error))
    for folder in ["overlays/production", "tests/gpu-environment", "tests/keda-environment"]:
        done = subprocess.run([program, "build", K8S / folder], capture_output=True, text=True, timeout=60, check=True)
        assert list(yaml.load_all(done.stdout, Loader=yaml.CSafeLoader)) == list(render(folder))
