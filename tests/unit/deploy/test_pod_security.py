"""Every pod holds with pod-security.kubernetes.io/enforce: restricted.

The rules are those of https://kubernetes.io/docs/concepts/security/pod-security-standards, Baseline and Restricted, one
function each; what Modelyard asks beyond them stands at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import pytest

from tests.unit.deploy.rendered import ALL, JOBS, OVERLAYS, Object, of_kind, pods, servers, settings_of, template_of

VOLUMES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected", "secret",
}  # fmt: skip
SYSCTLS: set[str] = set()
"""We need none, not even those that are allowed."""

Rule = Callable[[Object], bool]


def containers(spec: Object) -> list[Object]:
    return [*spec.get("initContainers", []), *spec["containers"], *spec.get("ephemeralContainers", [])]


def security(spec: Object) -> list[Object]:
    """The security context of each container."""
    return [container.get("securityContext", {}) for container in containers(spec)]


def effective(spec: Object, key: str) -> list[object]:
    """A field of each container, or else of the pod."""
    return [own.get(key, spec.get("securityContext", {}).get(key)) for own in security(spec)]


def profile_of(spec: Object) -> list[str]:
    return [value.get("type", "") if isinstance(value, dict) else "" for value in effective(spec, "seccompProfile")]


RULES: dict[str, Rule] = {
    # Baseline
    "HostProcess": lambda spec: not any("windowsOptions" in own for own in [*security(spec), spec["securityContext"]]),
    "Host Namespaces": lambda spec: not any(spec.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")),
    "Privileged Containers": lambda spec: not any(own.get("privileged") for own in security(spec)),
    "HostPath Volumes": lambda spec: not any("hostPath" in volume for volume in spec.get("volumes", [])),
    "Host Ports": lambda spec: (
        not any(port.get("hostPort") for one in containers(spec) for port in one.get("ports", []))
    ),
    "Host Probes and Lifecycle Hooks": lambda spec: '"host":' not in repr(containers(spec)).replace("'", '"'),
    "AppArmor": lambda spec: set(effective(spec, "appArmorProfile")) == {None},
    "SELinux": lambda spec: set(effective(spec, "seLinuxOptions")) == {None},
    "/proc Mount Type": lambda spec: {own.get("procMount", "Default") for own in security(spec)} == {"Default"},
    "Sysctls": lambda spec: {entry["name"] for entry in spec["securityContext"].get("sysctls", [])} <= SYSCTLS,
    # Restricted
    "Volume Types": lambda spec: {key for volume in spec.get("volumes", []) for key in volume} - {"name"} <= VOLUMES,
    "Privilege Escalation": lambda spec: all(own.get("allowPrivilegeEscalation") is False for own in security(spec)),
    "Running as Non-root": lambda spec: all(effective(spec, "runAsNonRoot")),
    "Running as Non-root user": lambda spec: 0 not in effective(spec, "runAsUser"),
    "Seccomp": lambda spec: set(profile_of(spec)) <= {"RuntimeDefault", "Localhost"},
    "Capabilities": lambda spec: all(
        "ALL" in own.get("capabilities", {}).get("drop", [])
        and set(own["capabilities"].get("add", [])) <= {"NET_BIND_SERVICE"}
        for own in security(spec)
    ),
    # ours
    "Read-only root": lambda spec: all(own.get("readOnlyRootFilesystem") is True for own in security(spec)),
    "No token": lambda spec: spec["automountServiceAccountToken"] is False,
    "No links": lambda spec: spec["enableServiceLinks"] is False,
    "A user by number": lambda spec: all(isinstance(user, int) for user in effective(spec, "runAsUser")),
    "Bounded emptyDir": lambda spec: all(
        "sizeLimit" in one.get("emptyDir", {"sizeLimit": 0}) for one in spec["volumes"]
    ),
}


@pytest.mark.parametrize("folder", ALL)
def test_every_pod_keeps_every_rule(folder: str) -> None:
    found = dict(pods(folder))
    assert found
    broken = [(name, rule) for name, pod in found.items() for rule, holds in RULES.items() if not holds(pod["spec"])]
    assert broken == []


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_namespace_enforces_them(overlay: str) -> None:
    (namespace,) = of_kind(overlay, "Namespace")
    for mode in ("enforce", "audit", "warn"):
        assert namespace["metadata"]["labels"][f"pod-security.kubernetes.io/{mode}"] == "restricted"


@pytest.mark.parametrize("folder", [folder for folder in ALL if folder not in JOBS])
def test_service_accounts_have_no_token_and_no_rights(folder: str) -> None:
    assert all(item["automountServiceAccountToken"] is False for item in of_kind(folder, "ServiceAccount"))
    assert of_kind(folder, "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding") == []
    names = {item["metadata"]["name"] for item in of_kind(folder, "ServiceAccount")}
    assert {pod["spec"]["serviceAccountName"] for _, pod in pods(folder)} <= names


@pytest.mark.parametrize("folder", [folder for folder in ALL if folder not in JOBS])
def test_a_server_can_write_where_it_has_to(folder: str) -> None:
    for item in servers(folder):
        spec = template_of(item)["spec"]
        (container,) = spec["containers"]
        mounts = {entry["mountPath"] for entry in container["volumeMounts"] if not entry.get("readOnly")}
        mirror = settings_of(folder, item).get("MODELYARD_MIRROR_FOLDER")
        assert mounts == {"/tmp", "/var/lib/modelyard"} | ({mirror} if mirror else set())
        assert {"name": "HOME", "value": "/tmp"} in container["env"]
        assert (spec["securityContext"]["runAsUser"], spec["securityContext"]["runAsGroup"]) == (10001, 10001)


BREAKS: dict[str, Object] = {
    "Host Namespaces": {"hostNetwork": True},
    "HostPath Volumes": {"volumes": [{"name": "x", "hostPath": {"path": "/"}}]},
    "Volume Types": {"volumes": [{"name": "x", "nfs": {"server": "x", "path": "/"}}]},
    "Running as Non-root": {"securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}},
    "Seccomp": {"securityContext": {"runAsNonRoot": True}},
    "No token": {"automountServiceAccountToken": True},
}


@pytest.mark.parametrize("rule", BREAKS)
def test_a_rule_is_broken_by_what_it_forbids(rule: str) -> None:
    spec = deepcopy(template_of(servers("services/digits")[0])["spec"])
    assert RULES[rule](spec)
    assert not RULES[rule](spec | BREAKS[rule])
    if rule == "Seccomp":
        assert not RULES["Capabilities"](spec | {"containers": [{"name": "x", "securityContext": {}}]})
        assert not RULES["Privilege Escalation"](spec | {"containers": [{"name": "x"}]})
