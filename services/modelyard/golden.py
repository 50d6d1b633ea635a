"""Golden tensors: inputs with the outputs that the model gave when it was exported, kept beside the artifact.

They warm the model up, measure its cost and prove parity between backends. The file is JSON; each tensor's data is the
protocol's binary form in base64, so that every datatype is kept bit for bit.
"""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelyard.errors import ConfigurationError, InvalidInput
from modelyard.tensors import Tensor, from_bytes, to_bytes


@dataclass(frozen=True, slots=True)
class Golden:
    inputs: list[Tensor]
    outputs: list[Tensor]


def write_golden(path: Path, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
    document = {"inputs": [_dump(tensor) for tensor in inputs], "outputs": [_dump(tensor) for tensor in outputs]}
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def read_golden(path: Path) -> Golden:
    """Raises ConfigurationError when the file is no golden file."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return Golden([_load(item) for item in document["inputs"]], [_load(item) for item in document["outputs"]])
    except (OSError, ValueError, KeyError, TypeError, RecursionError, InvalidInput) as error:
        raise ConfigurationError(f"{path}: no golden file ({error})") from error


def _dump(tensor: Tensor) -> dict[str, Any]:
    raw = base64.b64encode(to_bytes(tensor.datatype, tensor.array)).decode("ascii")
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape), "base64": raw}


def _load(item: dict[str, Any]) -> Tensor:
    raw = base64.b64decode(item["base64"], validate=True)
    array = from_bytes(item["datatype"], item["shape"], raw, item["name"])
    return Tensor(item["name"], item["datatype"], array)
