"""Who may speak to whom, worked out from the policies as a network plug-in does it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import pytest

from tests.unit.deploy.rendered import Object, container_of, labels_of, of_kind, selects, servers, template_of

CLOSED = ["overlays/production", "overlays/staging", "tests/gpu-environment", "tests/keda-environment"]
"""With component network-policy."""
NAMED = {
    "overlays/production": ("envoy-gateway-system", "monitoring"),
    "overlays/staging": ("envoy-gateway-system", "monitoring"),
    "tests/gpu-environment": ("some-gateways", "some-monitoring"),
    "tests/keda-environment": ("some-gateways", "some-monitoring"),
}


class Pod(NamedTuple):
    """One end of a connection; the namespace is "" for the folder's own."""

    labels: dict[str, str]
    space: str = ""
    ports: Mapping[str, int] = MappingProxyType({})


def server_of(folder: str, track: str = "stable") -> Pod:
    item = servers(folder, track)[0]
    ports = {port["name"]: port["containerPort"] for port in container_of(item)["ports"]}
    return Pod(labels_of(template_of(item)), ports=ports)


REDIS = Pod({"app.kubernetes.io/component": "redis", "app.kubernetes.io/part-of": "modelyard",
             "app.kubernetes.io/name": "redis"}, ports={"redis": 6379})  # fmt: skip
DNS = Pod({"k8s-app": "kube-dns"}, "kube-system")
STRANGER = Pod({"app": "stranger"})
ELSEWHERE = Pod({"app": "stranger"}, "elsewhere")
LOAD = Pod({"app.kubernetes.io/part-of": "modelyard", "app.kubernetes.io/component": "loadtest"})


def matches(peer: Object, pod: Pod) -> bool:
    if "ipBlock" in peer:
        return False
    if "namespaceSelector" in peer:
        if not selects(peer["namespaceSelector"], {"kubernetes.io/metadata.name": pod.space or "own"}):
            return False
        return selects(peer.get("podSelector", {}), pod.labels)
    return pod.space == "" and selects(peer["podSelector"], pod.labels)


def allows(rule: Object, side: str, peer: Pod, port: int, ports: Mapping[str, int]) -> bool:
    """Does a rule let `peer` through to `port`? `ports`: names of the ports at the end that is asked."""
    numbers = {ports.get(entry["port"], entry["port"]) for entry in rule.get("ports", [{"port": port}])}
    return port in numbers and (side not in rule or any(matches(one, peer) for one in rule[side]))


def open_at(folder: str, end: Pod, other: Pod, port: int, direction: str) -> bool:
    if end.space:
        return True  # not ours to say
    policies = [
        item["spec"] for item in of_kind(folder, "NetworkPolicy")
        if selects(item["spec"]["podSelector"], end.labels) and direction in item["spec"]["policyTypes"]
    ]  # fmt: skip
    side, ports = ("from", end.ports) if direction == "Ingress" else ("to", other.ports)
    rules = [rule for spec in policies for rule in spec.get(direction.lower(), [])]
    return not policies or any(allows(rule, side, other, port, ports) for rule in rules)


def reaches(folder: str, one: Pod, other: Pod, port: int) -> bool:
    return open_at(folder, one, other, port, "Egress") and open_at(folder, other, one, port, "Ingress")


@pytest.mark.parametrize("folder", ["overlays/local", *CLOSED])
def test_servers_reach_redis_and_dns_and_nothing_else(folder: str) -> None:
    server = server_of(folder)
    assert reaches(folder, server, REDIS, 6379)
    assert reaches(folder, server, DNS, 53)
    assert not reaches(folder, server, Pod({}, "elsewhere"), 443)
    assert not reaches(folder, server, ELSEWHERE, 6379)


@pytest.mark.parametrize("folder", ["overlays/local", *CLOSED])
def test_redis_is_asked_by_servers_alone_and_asks_nobody(folder: str) -> None:
    for other in (STRANGER, ELSEWHERE, LOAD, REDIS):
        assert not reaches(folder, other, REDIS, 6379)
    for port in (53, 443, 6379):
        assert (folder in CLOSED and port == 53) or not reaches(folder, REDIS, DNS, port)


@pytest.mark.parametrize("folder", CLOSED)
def test_servers_are_asked_by_the_gateway_by_prometheus_and_by_our_own_pods(folder: str) -> None:
    server = server_of(folder)
    gateways, monitoring = NAMED[folder]
    for port in (3000, 3001):
        assert reaches(folder, Pod({"any": "pod"}, gateways), server, port)
        assert open_at(folder, server, LOAD, port, "Ingress")
        assert not reaches(folder, STRANGER, server, port)
        assert not reaches(folder, ELSEWHERE, server, port)
    assert reaches(folder, Pod({"app": "prometheus"}, monitoring), server, 3000)
    assert not reaches(folder, Pod({"app": "prometheus"}, monitoring), server, 3001)
    assert not reaches(folder, Pod({}, gateways), server, 6379)


@pytest.mark.parametrize("folder", ["overlays/production", "tests/gpu-environment"])
def test_a_canary_may_what_its_service_may(folder: str) -> None:
    canary = server_of(folder, "canary")
    assert reaches(folder, canary, REDIS, 6379)
    assert reaches(folder, Pod({}, NAMED[folder][0]), canary, 3000)
    assert not reaches(folder, STRANGER, canary, 3000)


@pytest.mark.parametrize(
    ("folder", "own"), [("tests/object-store", "digits-vae"), ("tests/gpu-object-store", "digits")]
)
def test_a_server_with_an_object_store_may_ask_for_it_and_the_others_may_not(folder: str, own: str) -> None:
    chosen = {labels_of(item)["app.kubernetes.io/name"]: item for item in servers(folder, "stable")}
    store = Pod({}, "elsewhere")
    for label, port, may in ((own, 443, True), (own, 80, False), ("wine", 443, False)):
        assert reaches(folder, Pod(labels_of(template_of(chosen[label]))), store, port) is may


@pytest.mark.parametrize("folder", CLOSED)
def test_what_no_policy_names_is_closed(folder: str) -> None:
    assert reaches(folder, STRANGER, DNS, 53)
    assert not reaches(folder, STRANGER, ELSEWHERE, 443)
    assert not reaches(folder, ELSEWHERE, STRANGER, 80)
