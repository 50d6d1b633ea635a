"""What one pod says of itself: it runs inside, sent by `kubectl exec -i POD -- python3 -`, with nothing but Python.

    main("metrics")          the exposition, as it is
    main("rows")             the golden rows of the version that it serves, as one word; nothing when there are none
    main("answers", rows)    name=value lines: model, version, digest, ready; `golden`: are its golden rows answered as
                             when it was exported; `others`: are `rows`, another version's, answered in the same form

Over HTTP on the loopback address, as a caller with the first of the pod's own keys, past the cache. Exit 1 and one line
on stderr when the server cannot be asked.
"""

import base64
import json
import math
import os
import struct
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

SECONDS = 20
MAX_ROWS_BYTES = 256 * 1024
"""Of golden rows that are carried to another pod."""
FORMATS = {"BOOL": "?", "UINT8": "B", "UINT16": "H", "UINT32": "I", "UINT64": "Q", "FP16": "e", "FP32": "f"}
FORMATS |= {"INT8": "b", "INT16": "h", "INT32": "i", "INT64": "q", "FP64": "d"}
TOLERANCES = {"fp32": 1e-2, "fp16": 2e-2, "int8": 2e-1}
"""Wide: the server itself has compared closely when it loaded. This is for what lies between model and caller."""

Tensor = dict[str, Any]


def main(what: str, rows: str = "") -> None:
    try:
        sys.stdout.write(METHODS[what](rows))
    except (OSError, ValueError, KeyError, LookupError) as error:
        raise SystemExit(f"error: the pod cannot be asked: {error}") from None


def metrics(_: str) -> str:
    return fetch("/metrics")[1].decode()


def golden_rows(_: str) -> str:
    golden = golden_of(config())
    word = base64.b64encode(json.dumps(golden).encode()).decode() if golden else ""
    return word if len(word) <= MAX_ROWS_BYTES else ""


def answers(rows: str) -> str:
    about = config()
    parameters = {name: value["string_value"] for name, value in about["parameters"].items()}
    lines = [
        f"model={about['name']}",
        f"version={parameters.get('version', '')}",
        f"digest={parameters.get('digest', '')}",
        f"ready={'yes' if fetch('/v2/health/ready')[0] == 200 else 'no'}",
        f"golden={own_rows(about, parameters['precision'])}",
        f"others={other_rows(about, rows)}",
    ]
    return "\n".join(lines) + "\n"


def own_rows(about: Tensor, precision: str) -> str:
    golden = golden_of(about)
    if not golden:
        return "none"
    try:
        given = {tensor["name"]: tensor for tensor in infer(about, golden["inputs"])}
    except ValueError as error:
        return f"fail: {error}"
    tolerance = TOLERANCES.get(precision, max(TOLERANCES.values()))
    for wanted in golden["outputs"]:
        found = given.get(wanted["name"])
        if found is None or form(found) != form(wanted) or not agree(found, wanted, tolerance):
            return f"differ: output '{wanted['name']}' is not what the model gave when it was exported"
    return "agree"


def other_rows(about: Tensor, rows: str) -> str:
    if not rows:
        return "none"
    others = json.loads(base64.b64decode(rows))
    try:
        given = {tensor["name"]: tensor for tensor in infer(about, others["inputs"])}
    except ValueError as error:
        return f"fail: {error}"
    for wanted in others["outputs"]:
        found = given.get(wanted["name"])
        if found is None or form(found) != form(wanted):
            return f"differ: output '{wanted['name']}' does not come as {wanted['datatype']} {wanted['shape']}"
    return "agree"


def config() -> Tensor:
    """Of the default version, the one that callers get."""
    status, body = fetch(f"/v2/models/{os.environ['MODELYARD_MODEL']}/config")
    if status != 200:
        raise ValueError(f"/config answers {status}: {body[:200].decode(errors='replace')}")
    document: Tensor = json.loads(body)
    return document


def golden_of(about: Tensor) -> Tensor:
    """Inputs and outputs with their bytes in base64; empty where none lie in this pod, or they are not a caller's."""
    version = about["parameters"].get("version", {}).get("string_value", "")
    folder = Path(os.environ.get("MODELYARD_REPOSITORY", "models")) / about["name"] / "versions" / version
    try:
        golden: Tensor = json.loads((folder / "golden.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    same = {tensor["name"] for tensor in golden["inputs"]} == {tensor["name"] for tensor in about["input"]}
    return golden if same and golden["inputs"] else {}


def infer(about: Tensor, inputs: list[Tensor]) -> list[Tensor]:
    """The outputs for the inputs, all of them binary. Raises ValueError with what the server says."""
    parts = [base64.b64decode(tensor["base64"]) for tensor in inputs]
    heads = [
        {**{key: tensor[key] for key in ("name", "datatype", "shape")}, "parameters": {"binary_data_size": len(part)}}
        for tensor, part in zip(inputs, parts, strict=True)
    ]
    head = json.dumps({"inputs": heads, "parameters": {"binary_data_output": True, "cache": False}}).encode()
    status, body, length = ask(f"/v2/models/{about['name']}/infer", b"".join([head, *parts]), len(head))
    if status != 200:
        raise ValueError(f"infer answers {status}: {body[:200].decode(errors='replace')}")
    outputs: list[Tensor] = json.loads(body[:length] if length else body)["outputs"]
    place = length
    for tensor in outputs:
        size = tensor["parameters"]["binary_data_size"]
        tensor["base64"] = base64.b64encode(body[place : place + size]).decode()
        place += size
    return outputs


def form(tensor: Tensor) -> tuple[str, list[int]]:
    return tensor["datatype"], tensor["shape"]


def agree(found: Tensor, wanted: Tensor, tolerance: float) -> bool:
    """|a - b| <= tolerance * (|b| + 0.1), NaN equal to NaN; bytes and BF16 bit for bit."""
    a, b = base64.b64decode(found["base64"]), base64.b64decode(wanted["base64"])
    letter = FORMATS.get(wanted["datatype"])
    if a == b or letter is None or len(a) != len(b):
        return a == b
    both = zip(struct.iter_unpack("<" + letter, a), struct.iter_unpack("<" + letter, b), strict=True)
    return all(close(float(x), float(y), tolerance) for (x,), (y,) in both)


def close(x: float, y: float, tolerance: float) -> bool:
    return x == y or (math.isnan(x) and math.isnan(y)) or abs(x - y) <= tolerance * (abs(y) + 0.1)


def fetch(path: str) -> tuple[int, bytes]:
    return ask(path)[:2]


def ask(path: str, body: bytes | None = None, length: int = 0) -> tuple[int, bytes, int]:
    """Status, body, and the length of its JSON part where binary tensors follow."""
    url = f"http://127.0.0.1:{os.environ.get('MODELYARD_HTTP_PORT', '3000')}{path}"
    request = urllib.request.Request(url, body)
    if body is not None:
        request.add_header("Content-Type", "application/octet-stream")
        request.add_header("Inference-Header-Content-Length", str(length))
    key = os.environ.get("MODELYARD_API_KEYS", "").split(",")[0].partition(":")[2]
    if key:
        request.add_header("Authorization", f"Bearer {key}")
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(request, timeout=SECONDS) as response:
            return response.status, response.read(), int(response.headers.get("Inference-Header-Content-Length", 0))
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(), 0


METHODS = {"metrics": metrics, "rows": golden_rows, "answers": answers}
