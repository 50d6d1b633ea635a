"""Every name that an object uses is that of something in the same folder, or on the list of what users make."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.deploy.rendered import (
    ALL,
    COMBINATIONS,
    OVERLAYS,
    Object,
    container_of,
    labels_of,
    name_of,
    of_kind,
    pods,
    render,
    selects,
    servers,
    template_of,
)

BY_HAND = {("Secret", "redis-users")}
"""What somebody has to make, and a pod waits for: docs/deploy.md has the command."""

REFERENCES = {
    "configMapRef": ("ConfigMap", "name"),
    "secretRef": ("Secret", "name"),
    "configMapKeyRef": ("ConfigMap", "name"),
    "secretKeyRef": ("Secret", "name"),
    "configMap": ("ConfigMap", "name"),
    "secret": ("Secret", "secretName"),
    "persistentVolumeClaim": ("PersistentVolumeClaim", "claimName"),
}
"""Kind, and where its name stands, by the key of what refers to it."""


def sources(pod: Object) -> Iterator[tuple[str, str]]:
    """Kind and name of what a pod's containers and volumes need; without what is optional it starts as well."""
    places = [*pod["spec"].get("volumes", [])]
    for container in containers(pod):
        places += container.get("envFrom", [])
        places += [entry["valueFrom"] for entry in container.get("env", []) if "valueFrom" in entry]
    for place in places:
        for key in REFERENCES.keys() & place.keys():
            kind, field = REFERENCES[key]
            if not place[key].get("optional"):
                yield kind, place[key][field]
    yield "ServiceAccount", pod["spec"]["serviceAccountName"]


def containers(pod: Object) -> list[Object]:
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def backends(folder: str) -> Iterator[tuple[str, int | str]]:
    """Service and port of every route and ingress."""
    for route in of_kind(folder, "HTTPRoute", "GRPCRoute"):
        for rule in route["spec"]["rules"]:
            for backend in rule.get("backendRefs", []):
                yield backend["name"], backend["port"]
    for ingress in of_kind(folder, "Ingress"):
        for rule in ingress["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                yield path["backend"]["service"]["name"], path["backend"]["service"]["port"]["name"]


@pytest.mark.parametrize("folder", ALL)
def test_what_a_pod_needs_is_there(folder: str) -> None:
    there = {(item["kind"], name_of(item)) for item in render(folder)}
    for name, pod in pods(folder):
        assert {one for one in sources(pod) if one not in there | BY_HAND} == set(), name
        volumes = {volume["name"] for volume in pod["spec"].get("volumes", [])}
        assert {mount["name"] for one in containers(pod) for mount in one.get("volumeMounts", [])} == volumes, name


def test_the_local_overlay_wants_nothing_that_somebody_would_have_to_make() -> None:
    there = {(item["kind"], name_of(item)) for item in render("overlays/local")}
    for name, pod in pods("overlays/local"):
        assert {one for one in sources(pod) if one not in there} == set(), name
    urls = [entry["valueFrom"]["secretKeyRef"]["name"] for item in servers("overlays/local")
            for entry in container_of(item)["env"] if entry["name"] == "MODELYARD_REDIS_URL"]  # fmt: skip
    assert len(urls) >= 6
    assert {("Secret", name) for name in urls} <= there


@pytest.mark.parametrize("folder", ALL)
def test_a_service_finds_pods_of_one_deployment_and_their_ports(folder: str) -> None:
    deployments = of_kind(folder, "Deployment")
    for service in of_kind(folder, "Service"):
        selector = {"matchLabels": service["spec"]["selector"]}
        (found,) = (item for item in deployments if selects(selector, labels_of(template_of(item))))
        ports = {port["name"]: port["containerPort"] for port in container_of(found)["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= set(ports)
    for item in deployments:
        selector = item["spec"]["selector"]
        assert [found for found in deployments if selects(selector, labels_of(template_of(found)))] == [item]


@pytest.mark.parametrize("folder", ALL)
def test_routes_scalers_and_budgets_name_what_there_is(folder: str) -> None:
    ports = {
        (name_of(item), key) for item in of_kind(folder, "Service") for port in item["spec"]["ports"]
        for key in (port["port"], port["name"])
    }  # fmt: skip
    assert {one for one in backends(folder) if one not in ports} == set()
    deployments = {name_of(item) for item in of_kind(folder, "Deployment")}
    scalers = of_kind(folder, "HorizontalPodAutoscaler", "ScaledObject")
    targets = [item["spec"]["scaleTargetRef"] for item in scalers]
    assert all(target["kind"] == "Deployment" and target["apiVersion"] == "apps/v1" for target in targets)
    names = [target["name"] for target in targets]
    assert len(names) == len(set(names)), "never two scalers on one Deployment"
    assert set(names) <= deployments
    for budget in of_kind(folder, "PodDisruptionBudget"):
        chosen = [item for item in servers(folder) if selects(budget["spec"]["selector"], labels_of(template_of(item)))]
        assert [name_of(item) for item in chosen] == [name_of(budget)]


@pytest.mark.parametrize("folder", [*OVERLAYS, *COMBINATIONS])
def test_every_object_is_in_the_folders_namespace(folder: str) -> None:
    spaces = {item["metadata"].get("namespace") for item in render(folder) if item["kind"] != "Namespace"}
    assert len(spaces) == 1
    assert None not in spaces
    assert {name_of(item) for item in of_kind(folder, "Namespace")} <= spaces


@pytest.mark.parametrize("folder", ["overlays/production", "overlays/staging", "tests/gpu-environment"])
def test_hosts_stand_below_the_listener_and_none_is_both_http_and_grpc(folder: str) -> None:
    (gateway,) = of_kind(folder, "Gateway")
    listeners = {entry["name"]: entry for entry in gateway["spec"]["listeners"]}
    seen: list[str] = []
    for route in of_kind(folder, "HTTPRoute", "GRPCRoute"):
        (parent,) = route["spec"]["parentRefs"]
        assert parent["name"] == name_of(gateway)
        assert parent["sectionName"] in listeners
        for host in route["spec"].get("hostnames", []):
            domain = listeners[parent["sectionName"]]["hostname"].removeprefix("*.")
            assert host.partition(".")[2] == domain
            seen.append(host)
    assert len(seen) == len(set(seen)) > 1
    (certificate,) = of_kind(folder, "Certificate")
    assert certificate["spec"]["dnsNames"] == [listeners["https"]["hostname"]]
    assert listeners["https"]["tls"]["certificateRefs"][0]["name"] == certificate["spec"]["secretName"]
    assert listeners["https"]["tls"]["mode"] == "Terminate"


@pytest.mark.parametrize("folder", ["overlays/production", "tests/gpu-environment", "tests/gpu"])
def test_plain_http_is_sent_to_https_and_drain_and_metrics_go_nowhere(folder: str) -> None:
    routes = {name_of(item): item["spec"] for item in of_kind(folder, "HTTPRoute")}
    for name, spec in routes.items():
        if name == "to-https":
            (redirect,) = spec["rules"][0]["filters"]
            assert redirect["requestRedirect"]["scheme"] == "https"
            assert spec["parentRefs"][0]["sectionName"] == "http"
            continue
        closed = [rule for rule in spec["rules"] if "backendRefs" not in rule]
        paths = {match["path"]["value"] for rule in closed for match in rule["matches"]}
        assert paths == {"/drain", "/metrics"}


@pytest.mark.parametrize("folder", ["overlays/production", "tests/canary", "tests/keda", "tests/gpu"])
def test_a_canary_is_the_service_again_with_no_pod_and_no_weight(folder: str) -> None:
    candidates = servers(folder, "canary")
    assert candidates
    for item in candidates:
        label = labels_of(item)["app.kubernetes.io/name"]
        (stable,) = (one for one in servers(folder, "stable") if labels_of(one)["app.kubernetes.io/name"] == label)
        assert (name_of(item), name_of(stable)) == (f"{label}-canary", f"{label}-server")
        assert item["spec"]["replicas"] == 0
        assert container_of(item) == container_of(stable)
        for route in of_kind(folder, "HTTPRoute", "GRPCRoute"):
            if labels_of(route)["app.kubernetes.io/name"] == label:
                weights = {one["name"]: one["weight"] for one in route["spec"]["rules"][0]["backendRefs"]}
                assert weights == {f"{label}-server": 100, f"{label}-canary": 0}
