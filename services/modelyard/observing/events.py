"""Events of the payload log, in the form of KServe's inference logger.

Source: kserve/pkg/logger/worker.go: the types, `id` (the request's, the same for request and response), and the
extensions inferenceservicename, namespace, component and endpoint. `modelversion` and `protocol` are our own, and so
are two types that KServe has not: feedback, and requests that were refused for what they carry (the reason alone).
"""

import secrets
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np

from modelyard.tensors import Array, Tensor

REQUEST = "org.kubeflow.serving.inference.request"
RESPONSE = "org.kubeflow.serving.inference.response"
REFUSED = "dev.modelyard.inference.refused"
FEEDBACK = "dev.modelyard.feedback"
MOST_TENSOR_BYTES = 2**20
"""A larger one is named, with its shape, and its data left out."""

Event = dict[str, Any]
Copied = tuple[str, str, tuple[int, ...], Array | None]
"""Name, datatype, shape, and a copy of the data; None where it is left out."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What is copied in the event loop; the event is made of it later."""

    type: str
    id: str
    model: str
    version: str
    protocol: str
    tensors: Sequence[Copied] = ()
    more: dict[str, Any] = field(default_factory=dict)
    seconds: float = field(default_factory=time.time)

    @property
    def nbytes(self) -> int:
        return 512 + sum(_bytes(array) for *_, array in self.tensors if array is not None)


def new_id() -> str:
    return secrets.token_hex(16)


def copies_of(tensors: Sequence[Tensor], redacted: Collection[str]) -> list[Copied]:
    """Never a view: it would keep a whole body alive."""
    return [
        (
            tensor.name,
            tensor.datatype,
            tensor.shape,
            None if tensor.name in redacted or _bytes(tensor.array) > MOST_TENSOR_BYTES else tensor.array.copy(),
        )
        for tensor in tensors
    ]


def event_of(entry: Entry, source: str, namespace: str) -> Event:
    """A CloudEvent 1.0; its data are those of the Open Inference Protocol."""
    return {
        "specversion": "1.0",
        "id": entry.id,
        "source": source,
        "type": entry.type,
        "time": datetime.fromtimestamp(entry.seconds, UTC).isoformat(timespec="milliseconds"),
        "datacontenttype": "application/json",
        "inferenceservicename": entry.model,
        "namespace": namespace,
        "component": "predictor",
        "endpoint": "default",
        "modelversion": entry.version,
        "protocol": entry.protocol,
        "data": _data(entry),
    }


def _data(entry: Entry) -> dict[str, Any]:
    if entry.type in (REFUSED, FEEDBACK):
        return entry.more
    tensors = [_tensor(*tensor) for tensor in entry.tensors]
    if entry.type == REQUEST:
        return {"id": entry.id, "inputs": tensors}
    return {"model_name": entry.model, "model_version": entry.version, "id": entry.id, **entry.more, "outputs": tensors}


def _tensor(name: str, datatype: str, shape: tuple[int, ...], array: Array | None) -> dict[str, Any]:
    """Flat data; what is no number becomes null, texts that are no UTF-8 lose what cannot be read."""
    tensor: dict[str, Any] = {"name": name, "datatype": datatype, "shape": list(shape)}
    if array is None:
        return tensor | {"parameters": {"redacted": True}}
    if datatype == "BYTES":
        return tensor | {"data": [element.decode("utf-8", "replace") for element in array.ravel()]}
    if datatype == "BF16":
        array = (array.astype(np.uint32) << 16).view(np.float32)
    return tensor | {"data": array.ravel().tolist()}


def _bytes(array: Array) -> int:
    return sum(map(len, array.ravel())) if array.dtype.hasobject else array.nbytes
