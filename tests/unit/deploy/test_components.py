"""Components of one service, listed in any order: the same pods, or no rendering at all."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.tools.kubectl import command
from tests.unit.deploy.rendered import (
    K8S,
    OVERLAYS,
    container_of,
    labels_of,
    name_of,
    of_kind,
    servers,
    settings_of,
    template_of,
)

BOTH = "tests/gpu-object-store"
"""Components gpu and object-store."""


def build(folder: Path, *components: str) -> subprocess.CompletedProcess[str]:
    """A service with these components, in this order."""
    text = yaml.safe_dump(
        {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": [os.path.relpath(K8S / "services" / "digits", folder.resolve())],
            "components": [os.path.relpath(K8S / "components" / name, folder.resolve()) for name in components],
        }
    )
    (folder / "kustomization.yaml").write_text(text)
    return subprocess.run([*command(), folder], capture_output=True, text=True, timeout=60, check=False)


def unordered(value: Any) -> Any:
    """The same for lists that differ in their order alone."""
    if isinstance(value, dict):
        return {key: unordered(entry) for key, entry in value.items()}
    return sorted(map(unordered, value), key=repr) if isinstance(value, list) else value


@pytest.mark.parametrize("scaler", ["queue-scaling", "keda"])
def test_the_order_of_components_that_change_pods_changes_nothing(tmp_path: Path, scaler: str) -> None:
    wanted = ("sizes/heavy", "gpu", "object-store", scaler)
    found = [
        build(tmp_path, *names)
        for names in (wanted, wanted[::-1], ("object-store", scaler, "sizes/heavy", "gpu"))
    ]  # fmt: skip
    assert [done.stderr for done in found] == ["", "", ""]
    first, *others = (unordered(list(yaml.safe_load_all(done.stdout))) for done in found)
    assert others == [first, first]
    (item,) = (one for one in first if one["kind"] == "Deployment")
    limits = container_of(item)["resources"]["limits"]
    assert limits == {"cpu": "4", "memory": "8Gi", "ephemeral-storage": "9Gi", "nvidia.com/gpu": "1"}
    text = yaml.safe_dump([one["spec"] for one in first if one["kind"] in {"HorizontalPodAutoscaler", "ScaledObject"}])
    assert "averageValue: '4'" in text or "threshold: '4'" in text


@pytest.mark.parametrize(
    ("components", "said"),
    [
        (("canary", "sizes/light"), "sizes~1light comes before engine-build and canary"),
        (("canary", "sizes/heavy"), "sizes~1heavy comes before engine-build and canary"),
        (("canary", "gpu"), "gpu comes before engine-build and canary"),
        (("canary", "object-store"), "object-store comes before canary"),
        (("canary", "gateway"), "gateway comes before canary"),
        (("gpu", "engine-build", "sizes/heavy"), "sizes~1heavy comes before engine-build and canary"),
        (("gpu", "engine-build", "object-store"), "object-store and engine-build exclude each other"),
        (("gpu", "object-store", "engine-build"), "object-store and engine-build exclude each other"),
    ],
)
def test_what_would_come_too_late_is_refused_by_name(tmp_path: Path, components: tuple[str, ...], said: str) -> None:
    done = build(tmp_path, *components)
    assert done.returncode != 0
    assert said in done.stderr


def test_a_gpu_and_an_object_store_have_a_volume_each() -> None:
    chosen = [item for item in servers(BOTH) if labels_of(item)["app.kubernetes.io/name"] == "digits"]
    assert {labels_of(item)["modelyard.dev/track"] for item in chosen} == {"stable", "canary"}
    for item in chosen:
        volumes = {volume["name"]: volume for volume in template_of(item)["spec"]["volumes"]}
        assert volumes["tmp"]["emptyDir"] == {"medium": "Memory", "sizeLimit": "64Mi"}
        assert volumes["mirror"]["emptyDir"] == {"sizeLimit": "8Gi"}
        assert set(volumes["engines"]) == {"name", "persistentVolumeClaim"}
        mounts = {entry["mountPath"]: entry["name"] for entry in container_of(item)["volumeMounts"]}
        assert mounts == {"/tmp": "tmp", "/var/lib/modelyard": "engines", "/mirror": "mirror"}
        settings = settings_of(BOTH, item)
        assert settings["MODELYARD_MIRROR_FOLDER"] == "/mirror"
        assert settings["MODELYARD_REPOSITORY"] == "s3://some-bucket/some-prefix"
        assert settings["MODELYARD_ENGINE_FOLDER"] == "/var/lib/modelyard/Some-GPU/some-tensorrt"
        secrets = [one["secretRef"]["name"] for one in container_of(item)["envFrom"] if "secretRef" in one]
        assert secrets == ["object-store"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_namespace_made_beforehand_is_the_one_that_the_overlay_applies(overlay: str) -> None:
    """Secrets want it first: `kubectl apply -f namespace.yaml`; `kubectl apply -k` adds a label and takes nothing."""
    (namespace,) = of_kind(overlay, "Namespace")
    before = yaml.safe_load((K8S / overlay / "namespace.yaml").read_text())
    assert name_of(before) == name_of(namespace)
    assert labels_of(before) | {"app.kubernetes.io/instance": overlay.split("/")[1]} == labels_of(namespace)
    assert before.keys() == namespace.keys() == {"apiVersion", "kind", "metadata"}
    kustomization = yaml.safe_load((K8S / overlay / "kustomization.yaml").read_text())
    assert kustomization["namespace"] == name_of(namespace)
