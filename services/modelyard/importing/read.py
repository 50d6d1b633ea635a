"""Bytes become an ONNX ModelProto that holds all its data: parsed, and its external data checked and read.

External data is a file name inside the model: it must name a plain file beside it, and hold as much as is claimed.
"""

from collections.abc import Iterator
from math import prod
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from modelyard.errors import ConfigurationError
from modelyard.importing.bounded import one_line

_BITS: dict[int, int] = {
    onnx.TensorProto.DOUBLE: 64,
    onnx.TensorProto.INT64: 64,
    onnx.TensorProto.UINT64: 64,
    onnx.TensorProto.COMPLEX64: 64,
    onnx.TensorProto.COMPLEX128: 128,
    onnx.TensorProto.FLOAT: 32,
    onnx.TensorProto.INT32: 32,
    onnx.TensorProto.UINT32: 32,
    onnx.TensorProto.FLOAT16: 16,
    onnx.TensorProto.BFLOAT16: 16,
    onnx.TensorProto.INT16: 16,
    onnx.TensorProto.UINT16: 16,
    onnx.TensorProto.INT4: 4,
    onnx.TensorProto.UINT4: 4,
}
"""Of an element; 8 for every other type."""


def read_model(source: Path) -> tuple[onnx.ModelProto, bytes]:
    """The model with its external data inside, and the bytes to publish. Raises ConfigurationError."""
    model, raw, external = _checked(source)
    if not external:
        return model, raw
    _load_external(source, model)
    return model, model.SerializeToString()


def check_model(source: Path) -> None:
    """It is whole, and its external data lies beside it. Raises ConfigurationError."""
    _checked(source)


def _checked(source: Path) -> tuple[onnx.ModelProto, bytes, bool]:
    """The model without its external data, the file's bytes, and whether it has such data."""
    try:
        raw = source.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{source} cannot be read: {error.strerror}") from None
    try:
        model = onnx.ModelProto.FromString(raw)
        external = _external(model)
    except (DecodeError, ValueError, RecursionError) as error:  # ValueError: also text that is no UTF-8
        raise ConfigurationError(f"{source} is no ONNX file, or was cut off ({type(error).__name__})") from None
    if not model.opset_import or not model.graph.output or not model.graph.node:
        raise ConfigurationError(f"{source} is no ONNX file: it holds no graph")
    if not all(isinstance(text, str) for text in _texts(model)):
        raise ConfigurationError(f"{source} is no ONNX file: a name in it is no UTF-8")
    for tensor in external:
        _check_external(source, tensor)
    return model, raw, bool(external)


def _external(model: onnx.ModelProto) -> list[onnx.TensorProto]:
    return [tensor for tensor in _tensors(model.graph) if tensor.data_location == onnx.TensorProto.EXTERNAL]


def _load_external(source: Path, model: onnx.ModelProto) -> None:
    try:
        onnx.load_external_data_for_model(model, str(source.parent))
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        raise ConfigurationError(f"{source}: its external data could not be read ({error})") from None
    if model.ByteSize() >= onnx.checker.MAXIMUM_PROTOBUF:
        raise ConfigurationError(f"{source} is above 2 GiB with its data: split or quantize it")


def _texts(model: onnx.ModelProto) -> Iterator[object]:
    """Those that are read here; protobuf hands over as bytes what is no UTF-8."""
    yield from (model.producer_name, model.producer_version, model.doc_string)
    yield from (value.name for value in (*model.graph.input, *model.graph.output, *model.graph.initializer))
    yield from (opset.domain for opset in model.opset_import)
    for node in nodes(model.graph):
        yield from (node.op_type, node.domain)


def _check_external(source: Path, tensor: onnx.TensorProto) -> None:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    path = _check_location(source, entries.get("location", ""))
    have = path.stat().st_size
    try:
        offset = int(entries.get("offset") or 0)
        length = int(entries.get("length") or have - offset)
    except ValueError:
        raise ConfigurationError(f"{source}: the place of '{tensor.name}' in {path.name} is no number") from None
    need = (prod(tensor.dims) * _BITS.get(tensor.data_type, 8) + 7) // 8
    if min(offset, length, *tensor.dims, 0) < 0 or offset + length > have or length < need:
        raise ConfigurationError(
            f"{source}: '{tensor.name}' takes {need} bytes, {path.name} holds {max(0, min(length, have - offset))} "
            "at its place: cut off?"
        )


def _check_location(source: Path, location: str) -> Path:
    """External data must be a plain file in the folder of the ONNX file."""
    folder, shown = source.resolve().parent, one_line(location, 200)
    path = folder / location
    try:
        inside = location and not Path(location).is_absolute() and path.resolve().is_relative_to(folder)
        link, there = path.is_symlink(), path.is_file()
    except (OSError, ValueError):  # too long, or with a zero byte
        raise ConfigurationError(f"{source} refers to '{shown}', which is no file name") from None
    if not inside or link:
        raise ConfigurationError(f"{source} refers to a file outside its folder: '{shown}'")
    if not there:
        raise ConfigurationError(f"{source} refers to '{shown}', which does not exist or is no file")
    return path


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Every stored tensor, also those in the attributes of nodes and in subgraphs."""
    for part in _graphs(graph):
        yield from part.initializer
        for sparse in part.sparse_initializer:
            yield from (sparse.values, sparse.indices)
        for node in part.node:
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    yield attribute.t
                yield from attribute.tensors


def nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Every node, those of subgraphs too."""
    for part in _graphs(graph):
        yield from part.node


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """The graph and all that nodes of it hold: branches of an If, bodies of a Loop."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
                yield from _graphs(inner)
