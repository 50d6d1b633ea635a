"""`python -m modelyard.importing.child`: one ONNX file on trial, with an end in time and memory (bounded.py).

{"source", "called", "rows", "name", "scratch"} -> scratch/model.onnx, scratch/golden.json, and what was found
"""

from pathlib import Path
from typing import Any

import onnx

from modelyard.golden import write_golden
from modelyard.importing.bounded import Answer, answer
from modelyard.importing.describe import about, complete_shapes, describe, foreign_domains
from modelyard.importing.read import read_model
from modelyard.importing.trial import MAX_BATCH_SIZE, Trial, try_model
from modelyard.spec import ModelSpec

ARTIFACT = "model.onnx"
GOLDEN = "golden.json"


def examine(request: Answer) -> Answer:
    """Raises ConfigurationError when the file cannot be served."""
    source, scratch = Path(request["source"]), Path(request["scratch"])
    rows = Path(request["rows"]) if request["rows"] else None
    model, raw = read_model(source)
    (scratch / ARTIFACT).write_bytes(raw)
    del raw
    complete_shapes(model)
    spec = describe(model, request["name"], Path(request["called"]))
    found, foreign = about(model), foreign_domains(model)
    model.Clear()  # ONNX Runtime reads the file by itself
    trial = try_model(scratch / ARTIFACT, spec, rows, foreign)
    if trial.inputs:
        write_golden(scratch / GOLDEN, trial.inputs, trial.outputs)
    return {
        "spec": _document(spec, trial),
        "findings": trial.findings,
        "about": found,
        "onnx": onnx.__version__,
    }


def _document(spec: ModelSpec, trial: Trial) -> dict[str, Any]:
    """As model.yaml says it."""
    document = spec.model_dump(mode="json", exclude_defaults=True, exclude_none=True)
    document["batching"] = {"max_batch_size": MAX_BATCH_SIZE if trial.batched else 0}
    document["cache"] = {"enabled": spec.cache.enabled and (trial.repeatable or not trial.inputs)}
    return document


if __name__ == "__main__":
    answer(examine)
