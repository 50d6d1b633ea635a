"""Is an object what the API takes? Kubernetes' own kinds by kubernetes-validate, the others by the schemas here.

Those are made by tests/tools/crd_schemas.sh from the projects' own types. They know every key, what must be there and
of which type; bounds and patterns they do not know.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import jsonschema
import kubernetes_validate

from tests.unit.deploy.rendered import Object, name_of

KUBERNETES = "1.37"
SCHEMAS = Path(__file__).with_name("schemas")

CUSTOM = {
    ("cert-manager.io/v1", "Certificate"),
    ("gateway.networking.k8s.io/v1", "GRPCRoute"),
    ("gateway.networking.k8s.io/v1", "Gateway"),
    ("gateway.networking.k8s.io/v1", "HTTPRoute"),
    ("keda.sh/v1alpha1", "ScaledObject"),
    ("monitoring.coreos.com/v1", "PrometheusRule"),
    ("monitoring.coreos.com/v1", "ServiceMonitor"),
}
"""The written list: kubernetes-validate warns that it does not know these. Of no other kind may it say so."""


def wrong(item: Object) -> str:
    """What is wrong with an object; empty when nothing is."""
    try:
        if (item["apiVersion"], item["kind"]) in CUSTOM:
            _custom(item["kind"]).validate(item)
        else:
            kubernetes_validate.validate(item, KUBERNETES, strict=True)
    except (
        jsonschema.ValidationError,
        kubernetes_validate.ValidationError,
        kubernetes_validate.SchemaNotFoundError,
        kubernetes_validate.InvalidSchemaError,
    ) as error:
        return f"{item['kind']}/{name_of(item)}: {getattr(error, 'message', error)}"
    return ""


@cache
def _custom(kind: str) -> jsonschema.Draft7Validator:
    return jsonschema.Draft7Validator(json.loads((SCHEMAS / f"{kind}.json").read_text()))
