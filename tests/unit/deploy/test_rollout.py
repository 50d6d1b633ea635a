"""How pods come, are asked whether they are well, and go: each of these points loses requests when it is missed."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from modelyard import __version__
from tests.unit.deploy.rendered import (
    ALL,
    JOBS,
    ROOT,
    Object,
    container_of,
    labels_of,
    name_of,
    of_kind,
    pods,
    render,
    servers,
    settings_of,
    template_of,
)
from tests.unit.deploy.server_settings import server_settings

SERVING = [folder for folder in ALL if folder not in JOBS]
GPU = "nvidia.com/gpu"
RECOMMENDED = {"name", "instance", "version", "component", "part-of", "managed-by"}
DEADLINES = [
    yaml.safe_load(path.read_text())["limits"]["deadline_seconds"] for path in ROOT.glob("models/*/model.yaml")
]


def probe_seconds(probe: Object) -> float:
    return float(probe.get("initialDelaySeconds", 0) + probe["periodSeconds"] * probe["failureThreshold"])


@pytest.mark.parametrize("folder", SERVING)
def test_a_new_pod_is_there_before_an_old_one_goes(folder: str) -> None:
    for item in servers(folder):
        spec = item["spec"]
        on_gpu = GPU in container_of(item)["resources"]["limits"]
        # a pool of one GPU for each pod has no room for a further one: components/gpu/deployment.yaml says it
        surge, missing = (0, 1) if on_gpu else (1, 0)
        assert spec["strategy"] == {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": surge, "maxUnavailable": missing},
        }
        assert spec["minReadySeconds"] >= 5
        assert 2 <= spec["revisionHistoryLimit"] <= 50
        start = probe_seconds(container_of(item)["startupProbe"])
        assert spec["progressDeadlineSeconds"] > start + spec["minReadySeconds"]
        assert item["metadata"]["annotations"]["kubernetes.io/change-cause"]


@pytest.mark.parametrize("folder", SERVING)
def test_the_three_probes_are_three(folder: str) -> None:
    for item in servers(folder):
        container = container_of(item)
        start, ready, live = (container[f"{what}Probe"] for what in ("startup", "readiness", "liveness"))
        assert live["httpGet"] == {"path": "/v2/health/live", "port": "http"}  # neither Redis, nor load, nor the model
        assert ready["httpGet"] == start["httpGet"] == {"path": "/v2/health/ready", "port": "http"}
        assert probe_seconds(start) >= 300  # a large model on a cold disk
        assert probe_seconds(ready) <= 10
        assert probe_seconds(live) >= 60  # a pod that is busy must not be killed for it


@pytest.mark.parametrize("folder", SERVING)
def test_a_pod_drains_and_has_the_time_for_it(folder: str) -> None:
    for item in servers(folder):
        container, spec = container_of(item), template_of(item)["spec"]
        assert container["lifecycle"] == {"preStop": {"httpGet": {"path": "/drain", "port": "http"}}}
        settings = server_settings(folder, item)
        assert settings.shutdown_seconds > max(DEADLINES)
        assert spec["terminationGracePeriodSeconds"] > settings.drain_seconds + settings.shutdown_seconds
        assert spec["terminationGracePeriodSeconds"] > settings.drain_seconds + max(DEADLINES)
        # readiness is seen, and endpoints forget the pod, before the drain is over; gRPC callers leave it, too
        assert settings.drain_seconds > probe_seconds(container["readinessProbe"]) + 2
        assert 0 < settings.grpc_connection_seconds < settings.drain_seconds


@pytest.mark.parametrize("folder", SERVING)
def test_pods_spread_over_nodes_and_zones(folder: str) -> None:
    for item in servers(folder):
        spread = template_of(item)["spec"]["topologySpreadConstraints"]
        assert {entry["topologyKey"] for entry in spread} == {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}
        for entry in spread:
            assert entry["labelSelector"] == item["spec"]["selector"]
            assert entry["whenUnsatisfiable"] == "ScheduleAnyway"  # a pod that waits for ever helps nobody


@pytest.mark.parametrize("folder", ALL)
def test_labels_are_the_recommended_ones_and_no_selector_has_one_that_changes(folder: str) -> None:
    for item in render(folder):
        if item["kind"] in {"Namespace", "ConfigMap", "Secret"}:
            continue
        keys = {key.removeprefix("app.kubernetes.io/") for key in labels_of(item)}
        assert {"name", "component", "part-of", "managed-by"} <= keys, (item["kind"], name_of(item))
        assert labels_of(item)["app.kubernetes.io/part-of"] == "modelyard"
        for selector in selectors(item):
            assert not {"version", "instance", "managed-by"} & {key.split("/")[-1] for key in selector}
    for item in of_kind(folder, "Deployment"):
        wanted = {f"app.kubernetes.io/{name}" for name in RECOMMENDED}
        assert wanted <= set(labels_of(item))
        assert wanted <= set(template_of(item)["metadata"]["labels"])


def selectors(value: Any) -> list[list[str]]:
    """The keys of every selector anywhere below."""
    if isinstance(value, list):
        return [keys for entry in value for keys in selectors(entry)]
    if not isinstance(value, dict):
        return []
    found = [keys for entry in value.values() for keys in selectors(entry)]
    for key, entry in value.items():
        if key in {"matchLabels", "selector"} and isinstance(entry, dict):
            found.append(list(entry))
        if key == "matchExpressions":
            found.append([term["key"] for term in entry])
    return found


@pytest.mark.parametrize("folder", SERVING)
def test_the_version_is_the_projects(folder: str) -> None:
    for item in servers(folder):
        assert labels_of(item)["app.kubernetes.io/version"] == __version__
        assert template_of(item)["metadata"]["labels"]["app.kubernetes.io/version"] == __version__


@pytest.mark.parametrize("folder", ALL)
def test_every_image_is_named_with_a_version(folder: str) -> None:
    images = {container["image"] for _, pod in pods(folder) for container in pod["spec"]["containers"]}
    assert images
    for image in images:
        name, _, tag = image.rpartition(":")
        assert re.fullmatch(r"(registry\.example\.com/)?modelyard-[a-z-]+|redis", name), image
        assert re.fullmatch(r"\d+\.\d+\.\d+(-[a-z]+)?", tag), image


@pytest.mark.parametrize("folder", ["tests/gpu", "tests/gpu-environment"])
def test_a_gpu_pod_has_a_gpu_a_node_an_image_and_a_volume_for_it(folder: str) -> None:
    chosen = [item for item in servers(folder) if GPU in container_of(item)["resources"]["limits"]]
    assert {labels_of(item)["modelyard.dev/track"] for item in chosen} == {"stable", "canary"}
    (job,) = of_kind(folder, "Job")
    (claim,) = of_kind(folder, "PersistentVolumeClaim")
    for item in [*chosen, job]:
        spec, container = template_of(item)["spec"], container_of(item)
        assert container["resources"]["limits"][GPU] == "1"
        assert {"key": GPU, "operator": "Exists", "effect": "NoSchedule"} in spec["tolerations"]
        assert set(spec["nodeSelector"]) == {"nvidia.com/gpu.product"}
        assert container["image"].endswith("-gpu")
        volumes = {volume["name"]: volume for volume in spec["volumes"]}
        assert volumes["engines"]["persistentVolumeClaim"]["claimName"] == name_of(claim)
        kind, version = settings_of(folder, item)["MODELYARD_ENGINE_FOLDER"].split("/")[4:]
        assert spec["nodeSelector"]["nvidia.com/gpu.product"] == kind
        assert version
    assert container_of(job)["command"] == ["modelyard", "engines", "build", "$(MODELYARD_MODEL)"]
    assert template_of(job)["spec"]["restartPolicy"] == "Never"


@pytest.mark.parametrize("folder", SERVING)
def test_requests_limits_and_threads_agree(folder: str) -> None:
    for item in servers(folder):
        resources = container_of(item)["resources"]
        requests, limits = resources["requests"], resources["limits"]
        assert {"cpu", "memory", "ephemeral-storage"} <= set(requests) & set(limits)
        settings = server_settings(folder, item)
        assert settings.executors * settings.workers == int(limits["cpu"])
        assert settings.cache_memory_bytes + settings.max_queue_bytes < 0.5 * mebibytes(limits["memory"]) * 2**20
        assert mebibytes(requests["memory"]) <= mebibytes(limits["memory"])


def mebibytes(quantity: str) -> float:
    number, unit = re.fullmatch(r"(\d+)(Mi|Gi)", quantity).groups()  # type: ignore[union-attr]  # else the test fails
    return int(number) * {"Mi": 1, "Gi": 1024}[unit]


@pytest.mark.parametrize("folder", ["overlays/local", "overlays/production", "tests/gpu-environment"])
def test_redis_is_a_cache_and_nothing_else(folder: str) -> None:
    (redis,) = (item for item in of_kind(folder, "Deployment") if name_of(item) == "redis")
    assert redis["spec"]["strategy"] == {"type": "Recreate"}
    (text,) = (item["data"]["redis.conf"] for item in of_kind(folder, "ConfigMap") if "redis.conf" in item["data"])
    lines = [line.split(maxsplit=1) for line in text.splitlines() if line and not line.startswith("#")]
    said = {key: value.strip('"') for key, value in lines}
    assert said["maxmemory-policy"] == "allkeys-lfu"
    assert (said["save"], said["appendonly"]) == ("", "no")
    limit = container_of(redis)["resources"]["limits"]["memory"]
    assert float(said["maxmemory"].removesuffix("mb")) <= 0.8 * mebibytes(limit)
    assert said["aclfile"].startswith("/etc/redis/users/")
