"""What component `ingress` shows to callers: each path that they use, and none that asks for no key."""

from __future__ import annotations

import re

import pytest

from modelyard.protocol.rest_routes import OPEN_PATHS
from tests.unit.deploy.rendered import ROOT, name_of, of_kind

FOLDERS = ["tests/ingress", "tests/keda-environment"]
SOURCES = [*sorted(ROOT.glob("services/*_service/service.py")), ROOT / "services/modelyard/authoring/templates.py"]
TYPED = {path for source in SOURCES for path in re.findall(r'route="([^"]+)"', source.read_text())}
"""Of each typed API, those that `modelyard new` writes included."""
CALLED = ["/v2", "/v2/", "/v2/health/ready", "/v2/models/wine", "/v2/models/wine/versions/1/infer", "/v2/models/stats"]
CALLED += ["/v2/repository/index", "/feedback", "/", "/docs.json", "/static_content/swagger-ui.css", "/schema.json"]


def served(folder: str) -> list[tuple[str, str]]:
    """Type and path of every rule; each leads to the service's port for HTTP."""
    (item,) = of_kind(folder, "Ingress")
    (rule,) = item["spec"]["rules"]
    service = f"{name_of(item)}-server"
    for entry in rule["http"]["paths"]:
        assert entry["backend"] == {"service": {"name": service, "port": {"name": "http"}}}
    return [(entry["pathType"], entry["path"]) for entry in rule["http"]["paths"]]


def leads(rules: list[tuple[str, str]], path: str) -> bool:
    """By the rules of Kubernetes: a prefix is one of whole segments."""
    return any(
        path == shown or (kind == "Prefix" and path.startswith(shown.rstrip("/") + "/")) for kind, shown in rules
    )


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_path_that_callers_use_is_served(folder: str) -> None:
    rules = served(folder)
    assert len(TYPED) > 5
    hidden = [path for path in [*CALLED, *sorted(TYPED)] if not leads(rules, path)]
    assert hidden == [], "deploy/k8s/components/ingress/ingress.yaml has no line for it"


@pytest.mark.parametrize("folder", FOLDERS)
def test_what_is_for_the_cluster_is_not(folder: str) -> None:
    rules = served(folder)
    inside = [path.decode() for path in OPEN_PATHS if not path.startswith(b"/v2/")]
    assert {"/metrics", "/drain"} <= set(inside)
    for path in inside:
        assert not leads(rules, path)
        assert not leads(rules, f"{path}/")
