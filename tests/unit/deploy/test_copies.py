"""What is made from something else is what it would be if it were made now."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import yaml

from modelyard.authoring.names import names_of
from modelyard.authoring.scaffold import deploy_files
from tests.unit.deploy.rendered import K8S, ROOT, SERVICES, name_of, of_kind

MONITORING = K8S / "components" / "monitoring"
FOLDER = "tests/gpu-environment"


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_the_monitoring_component_is_made_from_the_files_in_monitoring(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("generate", MONITORING / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.generate(tmp_path / "generated")
    assert contents(tmp_path / "generated") == contents(MONITORING / "generated"), (
        "run python deploy/k8s/components/monitoring/generate.py"
    )


def test_every_rule_and_dashboard_comes_out_as_it_is() -> None:
    rules = {name_of(item): item["spec"] for item in of_kind(FOLDER, "PrometheusRule")}
    files = sorted((ROOT / "monitoring" / "prometheus" / "rules").glob("*.yaml"))
    assert rules == {f"modelyard-{path.stem}": yaml.safe_load(path.read_text()) for path in files}
    maps = [item for item in of_kind(FOLDER, "ConfigMap") if name_of(item).startswith("dashboard-")]
    assert all(item["metadata"]["labels"]["grafana_dashboard"] == "1" for item in maps)
    boards = {key: json.loads(text) for item in maps for key, text in item["data"].items()}
    paths = (ROOT / "monitoring" / "grafana" / "dashboards").glob("*.json")
    assert boards == {path.name: json.loads(path.read_text()) for path in paths}
    assert len(boards) >= 6


@pytest.mark.parametrize("folder", SERVICES)
def test_a_services_folder_is_what_modelyard_new_writes(folder: str) -> None:
    text = (K8S / folder / "kustomization.yaml").read_text()
    model = text.rpartition("MODELYARD_MODEL=")[2].strip()
    names = names_of(model)
    assert f"services/{names.label}" == folder
    assert deploy_files(names) == {"kustomization.yaml": text}


def test_the_longest_label_still_makes_names_that_kubernetes_takes() -> None:
    label = names_of("m" * 63).label
    assert len(f"{label}-server-pods") == 63
    assert len(names_of("a_" * 31).label) <= 51
    assert not names_of("a_" * 31).label.endswith("-")
