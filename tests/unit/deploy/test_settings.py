"""What the ConfigMaps say is what the server understands."""

from __future__ import annotations

import ipaddress
import re

import pytest
import yaml

from modelyard.drain import may_drain
from modelyard.settings import PREFIX, Settings, unknown_variables
from tests.unit.deploy.rendered import (
    ALL,
    JOBS,
    K8S,
    ROOT,
    container_of,
    labels_of,
    of_kind,
    render,
    servers,
    settings_of,
    template_of,
)
from tests.unit.deploy.server_settings import server_settings

SERVING = [folder for folder in ALL if folder not in JOBS]
SHARED = ipaddress.ip_network("100.64.0.0/10")
"""Of providers for their own inside (RFC 6598): some clusters have their nodes there."""
NAMES = {PREFIX + name.upper() for name in Settings.model_fields}


@pytest.mark.parametrize("folder", SERVING)
def test_every_variable_is_a_setting_with_a_value_that_it_takes(folder: str) -> None:
    for item in servers(folder):
        values = {key: value for key, value in settings_of(folder, item).items() if key.startswith(PREFIX)}
        assert set(values) <= NAMES
        assert all(isinstance(value, str) for value in values.values())
        assert unknown_variables(values) == []
        server_settings(folder, item)
        secrets = {entry["name"] for entry in container_of(item)["env"] if "valueFrom" in entry}
        assert secrets == {"MODELYARD_REDIS_URL", "MODELYARD_API_KEYS"}
        assert not secrets & set(values), "no secret stands in a ConfigMap"


@pytest.mark.parametrize("folder", SERVING)
def test_the_server_listens_where_its_pod_says(folder: str) -> None:
    for item in servers(folder):
        settings = server_settings(folder, item)
        ports = {port["name"]: port["containerPort"] for port in container_of(item)["ports"]}
        assert ports == {"http": settings.http_port, "grpc": settings.grpc_port} == {"http": 3000, "grpc": 3001}
        assert settings.host == "0.0.0.0"
        repository = settings_of(folder, item)["MODELYARD_REPOSITORY"]
        if repository != "/models":
            assert repository == "s3://some-bucket/some-prefix"
            volumes = {volume["name"]: volume for volume in template_of(item)["spec"]["volumes"]}
            mounts = {entry["mountPath"]: entry["name"] for entry in container_of(item)["volumeMounts"]}
            assert volumes[mounts[str(settings.mirror_folder)]].keys() == {"name", "emptyDir"}, "the pod's own"
        assert settings.engine_folder.is_relative_to("/var/lib/modelyard/")
        assert not settings.admin
        label = labels_of(item)["app.kubernetes.io/name"]
        assert settings.model.replace("_", "-") == label
        assert container_of(item)["image"].partition(":")[0].endswith(f"modelyard-{label}")


def test_every_service_serves_a_model_of_the_repository() -> None:
    models = {path.parent.name for path in ROOT.glob("models/*/model.yaml")}
    served = {settings_of("overlays/local", item)["MODELYARD_MODEL"] for item in servers("overlays/local")}
    assert served >= {"digits", "wine", "next_item", "embed", "digits_vae", "digits_ensemble"}
    assert served <= models


@pytest.mark.parametrize("folder", SERVING)
def test_drain_is_obeyed_from_nodes_and_from_no_public_address(folder: str) -> None:
    for item in servers(folder):
        allowed = server_settings(folder, item).drain_from
        assert may_drain(allowed, "127.0.0.1")
        assert not may_drain(allowed, "8.8.8.8")
        assert not may_drain(allowed, "2001:4860:4860::8888")
        networks = [ipaddress.ip_network(text) for text in allowed.split(",")]
        assert all(network.is_private or network == SHARED for network in networks)
        if folder.endswith("environment") and labels_of(item)["app.kubernetes.io/name"] != "wine":
            assert may_drain(allowed, "192.0.2.7")
            assert not may_drain(allowed, "10.0.0.1")


def test_a_changed_setting_rolls_the_pods() -> None:
    """The name has a digest of the content; `values` is for people, and has none."""
    for item in of_kind("overlays/production", "ConfigMap"):
        name = item["metadata"]["name"]
        if "MODELYARD_MODEL" in item["data"]:
            assert re.fullmatch(r"[a-z-]+-settings-[a-z0-9]{10}", name)


ENVIRONMENTS = ["overlays/production", "overlays/staging"]
ENVIRONMENTS += ["tests/gpu-environment", "tests/keda-environment", "tests/object-store", "tests/gpu-object-store"]
TEMPLATES = {"domain", "class", "issuer", "address", "namespace", "gateway", "monitoring", "release", "gpu", "tensorrt"}
"""What stands in the components where a value belongs."""


@pytest.mark.parametrize("folder", ENVIRONMENTS)
def test_every_value_is_put_in_and_no_template_is_left(folder: str) -> None:
    (values,) = (item["data"] for item in of_kind(folder, "ConfigMap") if item["metadata"]["name"] == "values")
    for item in of_kind(folder, "Gateway", "HTTPRoute", "GRPCRoute", "Certificate", "Ingress", "PersistentVolumeClaim"):
        spec = yaml.safe_dump(item["spec"])
        assert not TEMPLATES & set(re.findall(r"(?<=: )[a-z]+$", spec, flags=re.MULTILINE))
        assert "domain" not in spec.replace(values["DOMAIN"], "")
    every = {"tests/gpu-environment", "tests/keda-environment", "tests/object-store"}
    if folder in every:
        whole = "".join(
            yaml.safe_dump_all(item for item in render(one) if item["metadata"]["name"] != "values") for one in every
        )
        assert {key for key, value in values.items() if value not in whole} == set()


def test_both_environments_have_the_same_values_and_the_documentation_has_each() -> None:
    keys = [
        set(yaml.safe_load((K8S / folder / "values.yaml").read_text())["data"])
        for folder in ("overlays/production", "overlays/staging", "tests/environment")
    ]
    assert keys[0] == keys[1] == keys[2]
    used = {
        entry["source"]["fieldPath"].removeprefix("data.")
        for path in (K8S / "components" / "values").glob("*.yaml") if path.name != "kustomization.yaml"
        for entry in yaml.safe_load(path.read_text()) if entry["source"]["kind"] == "ConfigMap"
    }  # fmt: skip
    assert used == keys[0]
    text = (ROOT / "docs" / "deploy.md").read_text()
    assert {key for key in keys[0] if f"`{key}`" not in text} == set()


def test_the_documentation_has_each_value_of_the_load_test_and_its_secret() -> None:
    text = (ROOT / "docs" / "deploy.md").read_text().partition("## Load test")[2].partition("\n## ")[0]
    lines = (K8S / "jobs" / "loadtest" / "kustomization.yaml").read_text().splitlines()
    marked = [line for line in lines if "# VALUE" in line]
    names = [re.search(r"- \{name: ([a-z-]+)|([A-Z_]+)=|^(namespace):", line) for line in marked]
    found = [next(filter(None, name.groups())) for name in names if name]
    assert len(found) == len(marked) > 4
    assert {name for name in found if f"`{name}`" not in text} == set()
    assert "create secret generic loadtest" in text


def test_where_prometheus_is_stands_in_one_place() -> None:
    text = (K8S / "components" / "queue-scaling" / "prometheus-adapter.yaml").read_text()
    assert "PROMETHEUS_URL" in text
    assert "://" not in text


def test_the_documentation_makes_the_namespace_before_the_secrets_and_these_before_the_rest() -> None:
    text = (ROOT / "docs" / "deploy.md").read_text()
    steps = [
        "apply -f deploy/k8s/overlays/production/namespace.yaml",
        "create secret",
        "apply -k deploy/k8s/overlays/prod",
    ]
    places = [text.index(step) for step in steps]
    assert places == sorted(places)
