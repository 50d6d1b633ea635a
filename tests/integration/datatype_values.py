"""Values at the edges of every datatype, as bits, and requests that carry them to a model of many datatypes.

Such a model has an input `<datatype>_in` and an equal output `<datatype>_out` for each datatype. A request fills
the input under test and gives all others no elements.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from tritonclient.grpc import service_pb2

DTYPES = {
    "BOOL": "?",
    "UINT8": "<u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "<i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}
DATATYPES = [*DTYPES, "BF16", "BYTES"]
IN_JSON = [name for name in DATATYPES if name not in {"FP16", "BF16"}]
#: The two halves have no form in JSON and no typed contents in gRPC: they have a model of their own.
MODELS = {"datatypes": IN_JSON, "halves": ["FP16", "BF16"]}

#: Bits of 0, -0, the least and greatest subnormal, 1, the greatest finite, infinities, NaNs with a payload.
FLOAT_BITS = {
    "FP16": [0, 0x8000, 1, 0x03FF, 0x3C00, 0x7BFF, 0xFBFF, 0x7C00, 0xFC00, 0x7E00, 0x7E55, 0xFE01],
    "BF16": [0, 0x8000, 1, 0x007F, 0x3F80, 0x7F7F, 0xFF7F, 0x7F80, 0xFF80, 0x7FC0, 0x7FD5, 0xFFC1],
    "FP32": [
        *(0, 0x8000_0000, 1, 0x007F_FFFF, 0x3F80_0000, 0x7F7F_FFFF),
        *(0xFF7F_FFFF, 0x7F80_0000, 0xFF80_0000, 0x7FC0_0000, 0x7FC5_5555, 0xFFC0_0001),
    ],
    "FP64": [
        *(0, 1 << 63, 1, (1 << 52) - 1, 0x3FF << 52, 0x7FEF_FFFF_FFFF_FFFF, 0xFFEF_FFFF_FFFF_FFFF),
        *(0x7FF << 52, 0xFFF << 52, 0x7FF8 << 48, 0x7FF8_5555_5555_5555, 0xFFF8_0000_0000_0001),
    ],
}
#: Finite numbers whose shortest text is not short.
FINITE = {
    "FP32": np.array([0.1, -0.0, 1e-45, 3.4028235e38, 1 / 3, 16777217, 1.17549435e-38, -2.5e-7], np.float32),
    "FP64": np.array([0.1, -0.0, 5e-324, 1.7976931348623157e308, 1 / 3, 9007199254740993, 2.2e-308, -2.5e-7]),
}
STRINGS = ["", "plain", "ä€😀", "\0", "a\0b", "\0\0", 'quote " and \\ and \n', "long " * 5_000]


def bytes_tensor(elements: Sequence[bytes]) -> bytes:
    """BYTES on the wire: each element's length as uint32, then the element."""
    return b"".join(struct.pack("<I", len(element)) + element for element in elements)


def integers(datatype: str) -> list[int]:
    """Eight values of an integer datatype with its least and greatest."""
    limits = np.iinfo(np.dtype(DTYPES[datatype]))
    return [limits.min, limits.max, 0, 1, limits.min + 1, limits.max - 1, 2, limits.max // 2]


def edge_bits(datatype: str) -> tuple[list[int], bytes]:
    """(shape, raw bytes) of the values at the datatype's edges."""
    if datatype == "BYTES":
        return [2, 4], bytes_tensor([text.encode() for text in STRINGS])
    if datatype == "BOOL":
        return [2, 3], bytes([1, 0, 0, 1, 1, 0])
    if datatype in FLOAT_BITS:
        size = {"FP16": 2, "BF16": 2, "FP32": 4, "FP64": 8}[datatype]
        return [3, 4], b"".join(bits.to_bytes(size, "little") for bits in FLOAT_BITS[datatype])
    return [4, 2], np.array(integers(datatype), DTYPES[datatype]).tobytes()


def json_values(datatype: str) -> list[Any]:
    """Eight values that JSON can carry without loss."""
    if datatype == "BYTES":
        return list(STRINGS)
    if datatype == "BOOL":
        return [True, False, False, True, True, True, False, False]
    if datatype in FINITE:
        return [float(number) for number in FINITE[datatype]]
    return integers(datatype)


def model_of(datatype: str) -> str:
    """The model whose input of this datatype is tested."""
    return "halves" if datatype in MODELS["halves"] else "datatypes"


def element_count(shape: Sequence[int]) -> int:
    """How many elements a shape has."""
    return int(np.prod(shape, dtype=object))


def http_document(
    datatype: str,
    shape: Sequence[int],
    raw: bytes,
    data: Any = None,
    *,
    binary: bool = True,
    binary_output: bool = True,
) -> tuple[dict[str, Any], bytes]:
    """(JSON, tensors) of a request for one datatype. `binary` False sends `data` (or nothing) in JSON."""
    inputs: list[dict[str, Any]] = []
    for name in MODELS[model_of(datatype)]:
        tensor: dict[str, Any] = {"name": f"{name.lower()}_in", "datatype": name, "shape": [shape[0], 0]}
        tensor["parameters"] = {"binary_data_size": 0}
        if name == datatype:
            tensor["shape"] = list(shape)
            tensor["parameters"]["binary_data_size"] = len(raw)
            if not binary:
                del tensor["parameters"]
                tensor["data"] = [] if data is None else data
        inputs.append(tensor)
    asked = {"name": f"{datatype.lower()}_out", "parameters": {"binary_data": binary and binary_output}}
    return {"inputs": inputs, "outputs": [asked]}, raw if binary else b""


def grpc_document(datatype: str, shape: Sequence[int], raw: bytes) -> Any:
    """The same request as a gRPC message with raw contents."""
    request = service_pb2.ModelInferRequest(model_name=model_of(datatype))
    for name in MODELS[request.model_name]:
        chosen = name == datatype
        request.inputs.add(name=f"{name.lower()}_in", datatype=name, shape=list(shape) if chosen else [shape[0], 0])
        request.raw_input_contents.append(raw if chosen else b"")
    request.outputs.add(name=f"{datatype.lower()}_out")
    return request


#: Datatype -> the field of InferTensorContents that carries it.
CONTENTS = {
    "BOOL": "bool_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


def typed_grpc_document(datatype: str, shape: Sequence[int], values: Sequence[Any]) -> Any:
    """The same request with typed contents in every input; those of the others are empty."""
    request = grpc_document(datatype, shape, b"")
    del request.raw_input_contents[:]
    for tensor in request.inputs:
        if tensor.datatype == datatype:
            getattr(tensor.contents, CONTENTS[datatype]).extend(values)
    return request
