"""A payload log's lines as events of one model. What cannot be read is counted, and the rest goes on."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import orjson

from modelyard.observing.events import FEEDBACK, REFUSED, REQUEST, RESPONSE
from modelyard.tensors import DTYPES, Array

TYPES = (REQUEST, RESPONSE, FEEDBACK, REFUSED)
BROKEN, OTHERS = "broken", "others"

Event = dict[str, Any]


def events(lines: Iterable[bytes], model: str, counts: Counter[str]) -> Iterator[Event]:
    """Those of `model`; `counts` says how many there were by type, how many were of others, and how many broken."""
    for line in lines:
        if not line.strip():
            continue
        try:
            event = orjson.loads(line)
            kind, name = event["type"], event["inferenceservicename"]
            known = isinstance(event["data"], dict) and isinstance(kind, str)
        except (orjson.JSONDecodeError, KeyError, TypeError):
            known = False
        if not known:
            counts[BROKEN] += 1
        elif name != model or kind not in TYPES:
            counts[OTHERS] += 1
        else:
            counts[kind] += 1
            yield event


def arrays_of(tensors: Any) -> dict[str, Array]:
    """By name, those whose data were not left out. Raises ValueError, TypeError, KeyError or ArithmeticError for
    what is no tensor."""
    found: dict[str, Array] = {}
    for tensor in tensors:
        if "data" not in tensor:
            continue
        datatype, data = tensor["datatype"], tensor["data"]
        if datatype == "BYTES":
            array = np.empty(len(data), np.object_)
            array[:] = [text.encode() for text in data]
        else:
            with np.errstate(over="raise"):  # no such number was ever sent as this datatype
                array = np.array(data, np.float32 if datatype == "BF16" else DTYPES[datatype])
        found[tensor["name"]] = array.reshape(tensor["shape"])
    return found
