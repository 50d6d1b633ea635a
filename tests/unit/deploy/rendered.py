"""The manifests as `kubectl apply -k` would send them: each folder rendered once for all tests of a run."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.tools.kubectl import command

ROOT = Path(__file__).resolve().parents[3]
K8S = ROOT / "deploy" / "k8s"

Object = dict[str, Any]


def is_whole(folder: Path) -> bool:
    """Can it be rendered by itself? A Component is part of another folder."""
    return bool(yaml.safe_load((folder / "kustomization.yaml").read_text())["kind"] == "Kustomization")


def folders(*parts: str) -> list[str]:
    """Whole folders one level below deploy/k8s/<part>, as paths from there."""
    found = [path.parent for part in parts for path in sorted((K8S / part).glob("*/kustomization.yaml"))]
    return [str(folder.relative_to(K8S)) for folder in found if is_whole(folder)]


SERVICES = folders("services")
OVERLAYS = folders("overlays")
COMBINATIONS = folders("tests")
JOBS = folders("jobs")
ALL = SERVICES + OVERLAYS + COMBINATIONS + JOBS


@cache
def render(folder: str) -> tuple[Object, ...]:
    """The objects of a folder below deploy/k8s. Fails with what kustomize says."""
    done = subprocess.run([*command(), K8S / folder], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{folder}: {done.stderr}"
    return tuple(yaml.load_all(done.stdout, Loader=yaml.CSafeLoader))


def of_kind(folder: str, *kinds: str) -> list[Object]:
    return [item for item in render(folder) if item["kind"] in kinds]


def name_of(item: Object) -> str:
    return str(item["metadata"]["name"])


def labels_of(item: Object) -> dict[str, str]:
    return dict(item["metadata"].get("labels") or {})


def is_server(item: Object) -> bool:
    return labels_of(item).get("app.kubernetes.io/component") == "server"


def servers(folder: str, track: str = "") -> list[Object]:
    """Deployments of model servers, of one track if it is given."""
    found = [item for item in of_kind(folder, "Deployment") if is_server(item)]
    return [item for item in found if track in ("", labels_of(item)["modelyard.dev/track"])]


def template_of(item: Object) -> Object:
    template: Object = item["spec"]["template"]
    return template


def pods(folder: str) -> Iterator[tuple[str, Object]]:
    """Name and template of everything that makes pods."""
    for item in of_kind(folder, "Deployment", "Job", "StatefulSet", "DaemonSet"):
        yield f"{item['kind']}/{name_of(item)}", template_of(item)


def container_of(item: Object) -> Object:
    (container,) = template_of(item)["spec"]["containers"]
    return dict(container)


def settings_of(folder: str, item: Object) -> dict[str, str]:
    """The environment that a server gets from its ConfigMaps, without what stands in Secrets."""
    maps = {name_of(found): found["data"] for found in of_kind(folder, "ConfigMap")}
    container = container_of(item)
    values: dict[str, str] = {}
    for source in container["envFrom"]:
        values |= maps[source["configMapRef"]["name"]] if "configMapRef" in source else {}
    return values | {entry["name"]: entry["value"] for entry in container["env"] if "value" in entry}


def selects(selector: Object | None, labels: dict[str, str]) -> bool:
    """A label selector, as Kubernetes reads it: an empty one selects everything, none selects nothing."""
    if selector is None:
        return False
    equal = all(labels.get(key) == value for key, value in (selector.get("matchLabels") or {}).items())
    return equal and all(_expression(term, labels) for term in selector.get("matchExpressions") or [])


def _expression(term: Object, labels: dict[str, str]) -> bool:
    there = labels.get(term["key"])
    match term["operator"]:
        case "In":
            return there in term["values"]
        case "NotIn":
            return there not in term["values"]
        case "Exists":
            return there is not None
        case _:
            return there is None
