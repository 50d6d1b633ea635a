"""compose.yaml: of the published schema, hardened, and in agreement with the files and settings that it names."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from modelyard.settings import PREFIX, Settings

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "deploy" / "docker"
FILE = FOLDER / "compose.yaml"
DOCUMENT: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
SERVICES: dict[str, Any] = DOCUMENT["services"]
MONITORING = ROOT / "monitoring"


def mounts(service: str) -> list[tuple[str, str, str]]:
    """(source, target, mode) of each."""
    parts = [text.split(":") for text in SERVICES[service].get("volumes", [])]
    return [(each[0], each[1], each[2] if len(each) > 2 else "rw") for each in parts]


def of_repository(path: str) -> Path:
    return (FOLDER / path).resolve()


def test_of_the_schema() -> None:
    """The compose specification's own, as check-jsonschema carries it."""
    program = Path(sys.executable).parent / "check-jsonschema"
    command = [str(program), "--builtin-schema", "vendor.compose-spec", str(FILE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_what_is_in_it() -> None:
    assert SERVICES.keys() == {"digits", "redis", "prometheus", "alertmanager", "grafana", "loadtest"}
    assert [name for name, service in SERVICES.items() if service.get("profiles")] == ["loadtest"]


@pytest.mark.parametrize("name", SERVICES)
def test_hardened(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"]
    assert service["pids_limit"]
    assert "privileged" not in service
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    assert ":" in service["image"]
    assert not service["image"].endswith(":latest")


@pytest.mark.parametrize("name", SERVICES)
def test_a_healthcheck(name: str) -> None:
    """The server's own is in its image; a load test ends by itself."""
    assert ("healthcheck" in SERVICES[name]) == (name not in ("digits", "loadtest"))


@pytest.mark.parametrize("name", SERVICES)
def test_what_it_mounts_is_there_and_read_only(name: str) -> None:
    for source, _, mode in mounts(name):
        if source.startswith("."):
            assert of_repository(source).exists(), source
            assert mode == "ro"
        else:
            assert source in DOCUMENT["volumes"]


def test_what_it_builds_is_there() -> None:
    for service in SERVICES.values():
        if build := service.get("build"):
            assert of_repository(build["context"]) == ROOT
            assert (ROOT / build["dockerfile"]).is_file()


def test_no_secrets() -> None:
    text = FILE.read_text(encoding="utf-8") + (FOLDER / "redis-users.acl").read_text(encoding="utf-8")
    assert not re.search(r"(?i)password|secret|token|api_key", text)
    assert not re.search(r"://[^/@\s]+:[^/@\s]+@", text)


def test_the_server_is_told_by_settings_that_there_are() -> None:
    given = {**SERVICES["digits"]["environment"]}
    assert {name.removeprefix(PREFIX).lower() for name in given} <= Settings.model_fields.keys()
    settings = Settings.from_environment(given)
    assert settings.redis_url.get_secret_value() == "redis://modelyard@redis:6379/0"
    assert {port.rpartition(":")[2] for port in SERVICES["digits"]["ports"]} == {
        str(settings.http_port),
        str(settings.grpc_port),
    }


def test_redis_is_that_of_the_cluster() -> None:
    base = yaml.safe_load((ROOT / "deploy/k8s/base/redis/kustomization.yaml").read_text(encoding="utf-8"))
    (image,) = base["images"]
    assert SERVICES["redis"]["image"] == f"redis:{image['newTag']}"
    targets = {target: of_repository(source) for source, target, _ in mounts("redis")}
    assert targets["/etc/redis/redis.conf"] == ROOT / "deploy/k8s/base/redis/redis.conf"
    aclfile = re.search(r"^aclfile (.+)$", targets["/etc/redis/redis.conf"].read_text(encoding="utf-8"), re.MULTILINE)
    assert aclfile
    assert aclfile[1] in targets
    assert DOCUMENT["networks"]["cache"] == {"internal": True}
    assert "ports" not in SERVICES["redis"]


def test_prometheus_finds_its_configuration_and_what_it_asks() -> None:
    config = yaml.safe_load((MONITORING / "prometheus" / "prometheus.yaml").read_text(encoding="utf-8"))
    assert "--config.file=/etc/prometheus/prometheus.yaml" in SERVICES["prometheus"]["command"]
    assert (of_repository(mounts("prometheus")[0][0]), mounts("prometheus")[0][1]) == (
        MONITORING / "prometheus",
        "/etc/prometheus",
    )
    targets = {
        target
        for job in config["scrape_configs"]
        for group in job.get("static_configs", [])
        for target in group["targets"]
    }
    assert "digits:3000" in targets
    for group in config["alerting"]["alertmanagers"]:
        targets |= {target for each in group["static_configs"] for target in each["targets"]}
    hosts = {target.partition(":")[0] for target in targets}
    assert hosts <= {*SERVICES, "localhost", "127.0.0.1"}
    for pattern in config["rule_files"]:
        assert not pattern.startswith("/") or pattern.startswith("/etc/prometheus/")
        assert list((MONITORING / "prometheus").glob(pattern.removeprefix("/etc/prometheus/"))), pattern


def test_grafana_finds_its_dashboards_and_prometheus() -> None:
    provisioning = MONITORING / "grafana" / "provisioning"
    targets = {target: of_repository(source) for source, target, _ in mounts("grafana") if source.startswith(".")}
    assert targets["/etc/grafana/provisioning"] == provisioning
    (providers,) = [yaml.safe_load(path.read_text("utf-8")) for path in provisioning.glob("dashboards/*.y*ml")]
    for provider in providers["providers"]:
        folder = provider["options"]["path"]
        assert folder in targets
        assert list(targets[folder].rglob("*.json"))
    (sources,) = [yaml.safe_load(path.read_text("utf-8")) for path in provisioning.glob("datasources/*.y*ml")]
    assert {source["url"] for source in sources["datasources"]} == {"http://prometheus:9090"}
