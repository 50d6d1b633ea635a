"""What scales the pods: bounds, calm, and measures that the server really has."""

from __future__ import annotations

import re
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client import REGISTRY

from modelyard import metrics
from tests.unit.deploy.rendered import ALL, JOBS, K8S, Object, name_of, of_kind, servers

SERVING = [folder for folder in ALL if folder not in JOBS]
SCALERS = ("HorizontalPodAutoscaler", "ScaledObject")
ADAPTER = yaml.safe_load((K8S / "components" / "queue-scaling" / "prometheus-adapter.yaml").read_text())["rules"]
LABELS_OF_PROMETHEUS = {"namespace", "pod", "service"}


def known_series() -> dict[str, set[str]]:
    """Name of every series that modelyard.metrics can make, with its labels."""
    assert metrics.requests is not None  # importing it has registered them all
    found: dict[str, set[str]] = {}
    for collector in set(REGISTRY._collector_to_names):
        labels = set(getattr(collector, "_labelnames", ()))
        found |= dict.fromkeys(REGISTRY._collector_to_names[collector], labels)
    return {name: labels for name, labels in found.items() if name.startswith("modelyard_")}


SERIES = known_series()


def selected(node: Any) -> list[Any]:
    """Every vector selector below a parsed expression."""
    found = [node] if isinstance(node, promql_parser.VectorSelector) else []
    for name in ("expr", "lhs", "rhs", "vector_selector", "param"):
        if (below := getattr(node, name, None)) is not None:
            found += selected(below)
    for below in getattr(node, "args", None) or []:
        found += selected(below)
    return found


def check_query(text: str, wanted: set[str]) -> None:
    """It parses, and asks only for what there is. `wanted`: labels that each selector has to name."""
    selectors = selected(promql_parser.parse(text))
    assert selectors, text
    for selector in selectors:
        assert selector.name in SERIES, selector.name
        labels = {matcher.name for matcher in selector.matchers.matchers}
        assert wanted <= labels <= SERIES[selector.name] | LABELS_OF_PROMETHEUS


def bounds(item: Object) -> tuple[int, int, Object]:
    spec = item["spec"]
    if item["kind"] == "ScaledObject":
        behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
        return spec["minReplicaCount"], spec["maxReplicaCount"], behavior
    return spec["minReplicas"], spec["maxReplicas"], spec["behavior"]


@pytest.mark.parametrize("folder", SERVING)
def test_who_owns_the_number_of_pods(folder: str) -> None:
    owned = {item["spec"]["scaleTargetRef"]["name"] for item in of_kind(folder, *SCALERS)}
    kinds = {item["kind"] for item in of_kind(folder, *SCALERS)}
    for item in servers(folder, "stable"):
        assert ("replicas" in item["spec"]) == (name_of(item) not in owned)
    for item in servers(folder, "canary"):
        assert name_of(item) not in owned
    if "keda" in folder:
        assert {name_of(item) for item in of_kind(folder, "ScaledObject")}
    else:
        assert kinds <= {"HorizontalPodAutoscaler"}


@pytest.mark.parametrize("folder", SERVING)
def test_a_node_can_be_emptied_and_pods_do_not_flap(folder: str) -> None:
    least = {}
    for item in of_kind(folder, *SCALERS):
        low, high, behavior = bounds(item)
        least[item["spec"]["scaleTargetRef"]["name"]] = low
        assert 2 <= low < high
        down, up = behavior["scaleDown"], behavior["scaleUp"]
        assert down["stabilizationWindowSeconds"] >= 300  # longer than a quiet spell between two bursts
        assert down["policies"] == [{"type": "Pods", "value": 1, "periodSeconds": 60}]
        assert up["stabilizationWindowSeconds"] <= 60
        assert all(policy["value"] <= 100 for policy in up["policies"])
    budgets = {name_of(item): item["spec"]["minAvailable"] for item in of_kind(folder, "PodDisruptionBudget")}
    assert set(budgets) == set(least)
    for name, available in budgets.items():
        assert 1 <= available < least[name]


@pytest.mark.parametrize("folder", SERVING)
def test_an_autoscaler_asks_for_cpu_and_for_what_the_adapter_gives(folder: str) -> None:
    given = {rule["name"]["as"] for rule in ADAPTER["custom"]}
    for item in of_kind(folder, "HorizontalPodAutoscaler"):
        cpu, *others = item["spec"]["metrics"]
        assert cpu["resource"]["name"] == "cpu"
        assert cpu["resource"]["target"]["averageUtilization"] <= 80
        names = {entry["pods"]["metric"]["name"] for entry in others}
        assert names in (set(), given)
        assert all(entry["pods"]["target"]["type"] == "AverageValue" for entry in others)


def test_the_sizes_reach_the_autoscaler() -> None:
    wanted = {}
    for folder in ("overlays/production", "tests/gpu"):
        for item in of_kind(folder, "HorizontalPodAutoscaler"):
            (entry,) = (
                e["pods"] for e in item["spec"]["metrics"][1:] if e["pods"]["metric"]["name"] == "modelyard_in_flight"
            )
            wanted[name_of(item)] = entry["target"]["averageValue"]
    assert wanted["embed-server"] == "4"
    assert {value for name, value in wanted.items() if name != "embed-server"} == {"16"}
    (scaled,) = of_kind("tests/keda-environment", "ScaledObject")
    assert scaled["spec"]["triggers"][1]["metadata"]["threshold"] == "4"


@pytest.mark.parametrize("rule", ADAPTER["custom"], ids=lambda rule: rule["name"]["as"])
def test_the_adapters_rules_ask_for_what_the_server_counts(rule: Object) -> None:
    check_query(rule["seriesQuery"], {"namespace", "pod"})
    matchers = 'namespace="a",pod=~"x|y"'
    text = rule["metricsQuery"].replace("<<.LabelMatchers>>", matchers).replace("<<.GroupBy>>", "pod")
    check_query(text, {"namespace", "pod"})
    assert not re.search(r"<<|>>", text)
    assert rule["resources"]["overrides"] == {"namespace": {"resource": "namespace"}, "pod": {"resource": "pod"}}


@pytest.mark.parametrize("folder", ["tests/keda", "tests/keda-environment"])
def test_keda_asks_for_its_own_service_in_its_own_namespace(folder: str) -> None:
    (item,) = of_kind(folder, "ScaledObject")
    cpu, *prometheus = item["spec"]["triggers"]
    assert (cpu["type"], cpu["metricType"], int(cpu["metadata"]["value"]) <= 80) == ("cpu", "Utilization", True)
    assert [trigger["type"] for trigger in prometheus] == ["prometheus", "prometheus"]
    for trigger in prometheus:
        query = trigger["metadata"]["query"]
        check_query(query, {"namespace", "service"})
        assert set(re.findall(r'service="([^"]*)"', query)) == {name_of(item)}
        if "environment" in folder:
            assert set(re.findall(r'namespace="([^"]*)"', query)) == {item["metadata"]["namespace"]}
            assert trigger["metadata"]["serverAddress"] == "http://some-prometheus:9090"
        assert float(trigger["metadata"]["threshold"]) > 0


def test_both_ways_ask_the_same() -> None:
    """The adapter's rule and KEDA's query differ in how they are summed up, not in what they measure."""
    (scaled,) = of_kind("tests/keda", "ScaledObject")
    theirs = [trigger["metadata"]["query"] for trigger in scaled["spec"]["triggers"][1:]]
    for rule, query in zip(ADAPTER["custom"], theirs, strict=True):
        names = [set(re.findall(r"modelyard_\w+", text)) for text in (rule["metricsQuery"], query)]
        assert names[0] == names[1]
