"""Prometheus rules and Grafana dashboards as Kubernetes wants them, from the very files in monitoring/.

    monitoring/prometheus/rules/*.yaml    -> generated/rules.yaml: a PrometheusRule for each
    monitoring/grafana/dashboards/*.json  -> generated/dashboards/*.json, and in kustomization.yaml a ConfigMap for each

kustomize reads no file above its own folder, hence the copies; a test holds them equal. Run it after a change:
`python deploy/k8s/components/monitoring/generate.py`.
"""

import shutil
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
MONITORING = HERE.parents[3] / "monitoring"
HEAD = "# Made by ../generate.py from monitoring/: edit nothing here.\n"


def labels(component: str) -> dict[str, str]:
    return {
        "app.kubernetes.io/name": "modelyard",
        "app.kubernetes.io/component": component,
        "app.kubernetes.io/part-of": "modelyard",
        "app.kubernetes.io/managed-by": "kustomize",
    }


def rules(source: Path) -> dict[str, object]:
    """One file of Prometheus rules as an object of its operator; `release` is put in from the environment's values."""
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": f"modelyard-{source.stem}", "labels": labels("monitoring") | {"release": "release"}},
        "spec": yaml.safe_load(source.read_text()),
    }


def component(dashboards: list[Path]) -> dict[str, object]:
    """What kustomize makes of the copies: Grafana's sidecar looks for the label."""
    options = {
        "disableNameSuffixHash": True,
        "labels": labels("dashboard") | {"grafana_dashboard": "1"},
        "annotations": {"grafana_folder": "Modelyard"},
    }
    maps = [{"name": f"dashboard-{path.stem}", "files": [f"dashboards/{path.name}"]} for path in dashboards]
    return {
        "apiVersion": "kustomize.config.k8s.io/v1alpha1",
        "kind": "Component",
        "resources": ["rules.yaml"],
        "configMapGenerator": [item | {"options": options} for item in maps],
    }


class _Plain(yaml.SafeDumper):
    """Without anchors: `options` stands as often as it is used."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002  (the library's own signature)
        return True


def generate(target: Path) -> None:
    """Write everything anew below `target`."""
    dashboards = sorted((MONITORING / "grafana" / "dashboards").glob("*.json"))
    objects = [rules(path) for path in sorted((MONITORING / "prometheus" / "rules").glob("*.yaml"))]
    shutil.rmtree(target, ignore_errors=True)
    (target / "dashboards").mkdir(parents=True)
    for path in dashboards:
        shutil.copyfile(path, target / "dashboards" / path.name)
    dump = {"Dumper": _Plain, "sort_keys": False, "width": 120, "allow_unicode": True}
    (target / "rules.yaml").write_text(HEAD + yaml.dump_all(objects, **dump))
    (target / "kustomization.yaml").write_text(HEAD + yaml.dump(component(dashboards), **dump))


if __name__ == "__main__":
    generate(HERE / "generated")
