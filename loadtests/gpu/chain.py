"""model.yaml with the chain of backends forced to one: the same for the engine in process and for the server, so that
an engine is built once and found by both."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from loadtests.bench.ours import Edit, patient
from loadtests.gpu.subject import FOLDER
from modelyard.spec import MODEL_YAML, BackendName, ModelSpec, Precision, parse_spec


def forced(backend: BackendName, precision: Precision, batches: Sequence[int]) -> Edit:
    """An edit of model.yaml: this backend or not ready, batches up to the largest that is measured."""

    def edit(content: dict[str, Any]) -> None:
        patient(content)
        content["batching"] = {"max_batch_size": max(batches), "buckets": sorted(batches)}
        content["backends"] = [{"name": backend, "precision": precision}]
        if backend == "tensorrt":  # what the server starts on; it is not ready until the engine has taken its place
            content["backends"].append({"name": "onnxruntime-cuda"})
        content["minimum_backend"] = backend

    return edit


def edited(folder: Path, edit: Edit) -> ModelSpec:
    """The spec of a model folder as it is with the edit."""
    content = yaml.safe_load((folder / MODEL_YAML).read_text())
    edit(content)
    return parse_spec(yaml.safe_dump(content, sort_keys=False))


def engine_folder(model: str, precision: Precision) -> Path:
    """Of one model and precision alone: a build is cold when nothing else has left its timings there."""
    return FOLDER / "engines" / f"{model}-{precision}"
