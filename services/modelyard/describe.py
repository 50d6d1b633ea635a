"""Documents about a model, in the words of the protocol and of Triton's extensions.

HTTP sends them as JSON; gRPC parses the same documents into its messages: one description, two wires.
Sources: inference_rest.md; extension_model_configuration.md, extension_statistics.md of Triton.
"""

import re
from typing import Any

from modelyard.spec import ModelSpec, TensorSpec
from modelyard.statistics import DURATIONS, Duration, ModelStatistics

Document = dict[str, Any]

CONFIG_TYPES = {
    "FP16": "TYPE_FP16",
    "FP32": "TYPE_FP32",
    "FP64": "TYPE_FP64",
    "BF16": "TYPE_BF16",
    "BYTES": "TYPE_STRING",
}
"""Datatypes whose name in a model configuration is not simply TYPE_ and the datatype."""
PLATFORMS = {
    "onnxruntime-cpu": "onnxruntime_onnx",
    "onnxruntime-cuda": "onnxruntime_onnx",
    "tensorrt": "tensorrt_plan",
}

_QUOTED = re.compile(r"""(['"])~?/(?:(?!\1).)*/(?=(?:(?!\1).)*\1)""")
"""The folders of a path between quotes."""
_FOLDERS = re.compile(r"(?<![\w/])(?<!s3:)(?<!http:)(?<!https:)~?/(?:.*/|(?=[\w.]))")
"""From what begins a path to the last slash. A fraction, a unit or a URL is no path."""


def metadata(spec: ModelSpec, versions: list[str], backend: str) -> Document:
    return {
        "name": spec.name,
        "versions": versions,
        "platform": _platform(spec, backend),
        "inputs": [_tensor(tensor) for tensor in spec.inputs],
        "outputs": [_tensor(tensor) for tensor in spec.outputs],
    }


def config(spec: ModelSpec, version: str, digest: str, backend: str, precision: str, degraded: str) -> Document:
    """`digest`: the version's identity (Manifest.digest); `degraded`: why the model does not run on the first of its
    backends, empty when it does."""
    document: Document = {
        "name": spec.name,
        "platform": _platform(spec, backend),
        "backend": PLATFORMS[backend].partition("_")[0],
        "max_batch_size": spec.batching.max_batch_size,
        "input": [_config_tensor(spec, tensor) for tensor in spec.inputs],
        "output": [_config_tensor(spec, tensor) for tensor in spec.outputs],
        "response_cache": {"enable": spec.cache.enabled},
        "parameters": {
            "version": {"string_value": version},
            "digest": {"string_value": digest},
            "backend": {"string_value": backend},
            "precision": {"string_value": precision},
        },
    }
    if degraded:
        document["parameters"]["degraded"] = {"string_value": without_folders(degraded)}
    if spec.ensemble:
        document["parameters"]["members"] = {"string_value": ",".join(member.model for member in spec.ensemble)}
    if spec.batched:
        document["dynamic_batching"] = {
            "preferred_batch_size": list(spec.batching.buckets),
            "max_queue_delay_microseconds": int(spec.batching.max_queue_delay_ms * 1000),
        }
    return document


def statistics(of: ModelStatistics) -> Document:
    return {
        "name": of.name,
        "version": of.version,
        "last_inference": of.last_inference,
        "inference_count": of.inference_count,
        "execution_count": of.execution_count,
        "inference_stats": {name: _duration(getattr(of, name)) for name in DURATIONS},
        "batch_stats": [
            {"batch_size": rows, "compute_infer": _duration(duration)} for rows, duration in sorted(of.batches.items())
        ],
    }


def _platform(spec: ModelSpec, backend: str) -> str:
    """Of an ensemble, the whole's; `backend` runs its vote."""
    return "ensemble" if spec.ensemble else PLATFORMS[backend]


def _tensor(tensor: TensorSpec) -> Document:
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}


def _config_tensor(spec: ModelSpec, tensor: TensorSpec) -> Document:
    dims = tensor.shape[1:] if spec.batched else tensor.shape
    return {
        "name": tensor.name,
        "data_type": CONFIG_TYPES.get(tensor.datatype, f"TYPE_{tensor.datatype}"),
        "dims": list(dims),
    }


def _duration(duration: Duration) -> dict[str, int]:
    return {"count": duration.count, "ns": duration.ns}


def without_folders(text: str) -> str:
    """Reasons name files; a client learns the file, not where the repository lies.

    A folder's name may have spaces, and where a path without quotes ends nobody can tell: all goes up to the last
    slash of the reason, rather too much than a part of a path.
    """
    reasons = _QUOTED.sub(r"\1", text).split("; ")
    return "; ".join(_FOLDERS.sub("", reason) for reason in reasons)
