"""Patches as an API server applies them: JSON patch (RFC 6902), and Kubernetes' own merge: containers by name."""

from __future__ import annotations

import copy
from typing import Any


class Conflict(Exception):
    """A `test` of a JSON patch did not hold."""


def merge(before: Any, patch: Any) -> Any:
    """Objects are merged, null removes; lists of things with names are merged by name, others are replaced."""
    if isinstance(patch, dict):
        base = dict(before) if isinstance(before, dict) else {}
        for key, value in patch.items():
            if value is None:
                base.pop(key, None)
            else:
                base[key] = merge(base.get(key), value)
        return base
    if isinstance(patch, list) and isinstance(before, list) and all("name" in item for item in [*patch, *before]):
        by_name = {item["name"]: item for item in patch}
        kept = [merge(item, by_name.pop(item["name"], {})) for item in before]
        return [*kept, *by_name.values()]
    return copy.deepcopy(patch)


def apply_json_patch(before: Any, operations: list[dict[str, Any]]) -> Any:
    document = copy.deepcopy(before)
    for operation in operations:
        *way, last = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
        place = document
        for part in way:
            place = place[int(part)] if isinstance(place, list) else place[part]
        if operation["op"] == "test":
            if place[last] != operation["value"]:
                raise Conflict(operation["path"])
        elif operation["op"] == "remove":
            del place[last]
        else:
            place[last] = operation["value"]
    return document
