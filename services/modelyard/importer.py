"""`modelyard import`: an ONNX file becomes a model folder that can be served.

    read -> describe inputs and outputs -> run once on made-up input -> are rows independent? -> model.yaml, version

Whether a model may be batched cannot be read from its shapes: the rows are run together and alone, and only when the
answers agree is batching (and row-wise caching) switched on.
"""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import yaml
from google.protobuf.message import DecodeError

from modelyard.backends.base import Backend, BackendUnavailable
from modelyard.backends.onnxruntime import OnnxRuntimeBackend
from modelyard.errors import ConfigurationError
from modelyard.manifest import NAME, next_version, publish
from modelyard.spec import MODEL_YAML, BackendSpec, ModelSpec, TensorSpec, parse_spec, read_spec
from modelyard.tensors import DTYPES, FLOATING, Array, Tensor

TRIAL_ROWS = 3
MAX_BATCH_SIZE = 32
_RANDOM = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"}
)
_DATATYPES: dict[int, str] = {
    onnx.TensorProto.BOOL: "BOOL",
    onnx.TensorProto.UINT8: "UINT8",
    onnx.TensorProto.UINT16: "UINT16",
    onnx.TensorProto.UINT32: "UINT32",
    onnx.TensorProto.UINT64: "UINT64",
    onnx.TensorProto.INT8: "INT8",
    onnx.TensorProto.INT16: "INT16",
    onnx.TensorProto.INT32: "INT32",
    onnx.TensorProto.INT64: "INT64",
    onnx.TensorProto.FLOAT16: "FP16",
    onnx.TensorProto.FLOAT: "FP32",
    onnx.TensorProto.DOUBLE: "FP64",
    onnx.TensorProto.BFLOAT16: "BF16",
    onnx.TensorProto.STRING: "BYTES",
}


@dataclass(frozen=True, slots=True)
class Imported:
    """What was found and written."""

    spec: ModelSpec
    version: str
    folder: Path
    findings: list[str]


@dataclass(frozen=True, slots=True)
class _Trial:
    inputs: list[Tensor]
    outputs: list[Tensor]
    batched: bool
    repeatable: bool
    findings: list[str]


def import_onnx(source: Path, name: str, repository: Path, version: str | None = None) -> Imported:
    """Write models/<name>. Raises ConfigurationError when the file cannot be served or is no new version."""
    if not NAME.fullmatch(name):
        raise ConfigurationError(f"'{name}' cannot name a model: letters, digits, '.', '_' and '-' only")
    model = _read(source)
    folder = repository / name
    version = version or next_version(folder)
    with tempfile.TemporaryDirectory() as scratch:
        artifact = Path(scratch) / "model.onnx"
        onnx.save(model, artifact)
        spec = _describe(model, name, source)
        trial = _try(artifact, spec)
        spec = _settle(spec, trial)
        existing = (folder / MODEL_YAML).exists()
        if existing:
            spec = _same_interface(read_spec(folder), spec)
        target = publish(
            folder,
            version,
            artifact,
            golden_inputs=trial.inputs,
            golden_outputs=trial.outputs if trial.repeatable else [],
            libraries={"onnx": onnx.__version__, "producer": f"{model.producer_name} {model.producer_version}".strip()},
        )
    if not existing:
        _write_spec(folder / MODEL_YAML, spec)
    return Imported(spec, version, target, trial.findings)


def _read(source: Path) -> onnx.ModelProto:
    try:
        model = onnx.load(source, load_external_data=False)
    except FileNotFoundError:
        raise ConfigurationError(f"{source} does not exist") from None
    except (DecodeError, OSError, ValueError) as error:
        raise ConfigurationError(f"{source} is no ONNX file ({type(error).__name__})") from None
    if not model.opset_import or not model.graph.output or not model.graph.node:
        raise ConfigurationError(f"{source} is no ONNX file: it holds no graph")
    external = [tensor for tensor in _tensors(model.graph) if tensor.data_location == onnx.TensorProto.EXTERNAL]
    for tensor in external:
        _check_location(source, {entry.key: entry.value for entry in tensor.external_data}.get("location", ""))
    if external:
        try:
            onnx.load_external_data_for_model(model, str(source.parent))
        except (OSError, ValueError, onnx.checker.ValidationError) as error:
            raise ConfigurationError(f"{source}: its external data could not be read ({error})") from None
    if model.ByteSize() >= onnx.checker.MAXIMUM_PROTOBUF:
        raise ConfigurationError(f"{source} is above 2 GiB with its data: split or quantize it")
    return model


def _check_location(source: Path, location: str) -> None:
    """External data must be a plain file in the folder of the ONNX file."""
    folder = source.resolve().parent
    path = folder / location
    inside = location and not Path(location).is_absolute() and path.resolve().is_relative_to(folder)
    if not inside or path.is_symlink():
        raise ConfigurationError(f"{source} refers to a file outside its folder: '{location[:200]}'")
    if not path.is_file():
        raise ConfigurationError(f"{source} refers to '{location[:200]}', which does not exist")


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Every stored tensor, also those in the attributes of nodes and in subgraphs."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for subgraph in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
                yield from _tensors(subgraph)


def _operators(graph: onnx.GraphProto) -> Iterator[str]:
    for node in graph.node:
        yield node.op_type
        for attribute in node.attribute:
            for subgraph in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
                yield from _operators(subgraph)


def _describe(model: onnx.ModelProto, name: str, source: Path) -> ModelSpec:
    stored = {tensor.name for tensor in model.graph.initializer}
    inputs = [_tensor_spec(value, "input", source) for value in model.graph.input if value.name not in stored]
    outputs = [_tensor_spec(value, "output", source) for value in model.graph.output]
    if not inputs:
        raise ConfigurationError(f"{source} has no inputs")
    document: dict[str, Any] = {
        "name": name,
        "description": (model.doc_string or f"Imported from {source.name}.").strip()[:500],
        "inputs": inputs,
        "outputs": outputs,
        "batching": {"max_batch_size": 0},
        "cache": {"enabled": not _RANDOM.intersection(_operators(model.graph))},
    }
    return parse_spec(yaml.safe_dump(document), str(source))


def _tensor_spec(value: onnx.ValueInfoProto, what: str, source: Path) -> dict[str, Any]:
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        hint = " (scikit-learn: convert with zipmap=False)" if kind in ("sequence_type", "map_type") else ""
        raise ConfigurationError(f"{source}: {what} '{value.name}' is no tensor but {kind}{hint}")
    tensor = value.type.tensor_type
    datatype = _DATATYPES.get(tensor.elem_type)
    if datatype is None:
        element = onnx.TensorProto.DataType.Name(tensor.elem_type)
        raise ConfigurationError(
            f"{source}: {what} '{value.name}' holds {element}, which the protocol has no datatype for"
        )
    if not tensor.HasField("shape"):
        raise ConfigurationError(f"{source}: {what} '{value.name}' has no shape; export it with its rank")
    shape = [d.dim_value if d.HasField("dim_value") else -1 for d in tensor.shape.dim]
    return {"name": value.name, "datatype": datatype, "shape": shape}


def _try(artifact: Path, spec: ModelSpec) -> _Trial:
    """Run the model on made-up rows, together, again, and one by one."""
    try:
        backend = OnnxRuntimeBackend(artifact, spec, BackendSpec(name="onnxruntime-cpu"))
    except BackendUnavailable as error:
        raise ConfigurationError(f"ONNX Runtime cannot load it: {error}") from None
    inputs = _made_up(spec)
    names = [tensor.name for tensor in spec.outputs]
    try:
        together = backend.infer(inputs, names)
        again = backend.infer(inputs, names)
    except Exception as error:
        text = f"the trial run on made-up input failed ({type(error).__name__}); batching is off, nothing is warmed up"
        return _Trial([], [], batched=False, repeatable=False, findings=[text])
    finally:
        shapes = ", ".join(f"{t.name} {list(a.shape)}" for t, a in zip(spec.inputs, inputs, strict=True))
    repeatable = _agree(together, again)
    batched, why = _rows_independent(backend, spec, inputs, together)
    findings = [f"it runs (trial input {shapes})", why]
    if not repeatable:
        findings.append("two runs on the same input differ: the cache is off")
    golden = [Tensor(t.name, t.datatype, a) for t, a in zip(spec.inputs, inputs, strict=True)]
    results = [Tensor(t.name, t.datatype, a) for t, a in zip(spec.outputs, together, strict=True)]
    return _Trial(golden, results, batched, repeatable, findings)


def _rows_independent(
    backend: Backend, spec: ModelSpec, inputs: Sequence[Array], together: Sequence[Array]
) -> tuple[bool, str]:
    shapes = [tensor.shape for tensor in (*spec.inputs, *spec.outputs)]
    if not all(shape and shape[0] == -1 for shape in shapes):
        return False, "not every input and output has a free first dimension: batching is off"
    if any(array.shape[:1] != (TRIAL_ROWS,) for array in together):
        return False, "the outputs do not keep the number of rows: batching is off"
    names = [tensor.name for tensor in spec.outputs]
    for row in range(TRIAL_ROWS):
        try:
            alone = backend.infer([array[row : row + 1] for array in inputs], names)
        except Exception:
            return False, "it does not run on a single row: batching is off"
        if not _agree([array[row : row + 1] for array in together], alone):
            return False, "a row's answer depends on the other rows: batching is off"
    return True, f"rows are independent: batches of up to {MAX_BATCH_SIZE}"


def _agree(some: Sequence[Array], others: Sequence[Array]) -> bool:
    for one, other in zip(some, others, strict=True):
        inexact = np.issubdtype(one.dtype, np.floating)
        same_shape = one.shape == other.shape
        if not same_shape or not (
            np.allclose(one, other, 1e-3, 1e-5, equal_nan=True) if inexact else np.array_equal(one, other)
        ):
            return False
    return True


def _made_up(spec: ModelSpec) -> list[Array]:
    """Three distinct rows for a free first dimension; small numbers, which are valid indices most often."""
    random = np.random.default_rng(0)
    return [_made_up_tensor(tensor, random) for tensor in spec.inputs]


def _made_up_tensor(tensor: TensorSpec, random: np.random.Generator) -> Array:
    free = [TRIAL_ROWS if axis == 0 else 2 for axis in range(len(tensor.shape))]
    shape = [have if have >= 0 else instead for have, instead in zip(tensor.shape, free, strict=True)]
    if tensor.datatype in FLOATING:
        return np.asarray(random.standard_normal(shape), DTYPES[tensor.datatype])
    numbers = random.integers(0, 2, shape)
    if tensor.datatype == "BYTES":
        return np.asarray(np.frompyfunc(lambda number: b"ab"[number : number + 1], 1, 1)(numbers), np.object_)
    if tensor.datatype == "BF16":
        return np.asarray(numbers * 0x3F80, np.uint16)  # 0.0 and 1.0
    return np.asarray(numbers, DTYPES[tensor.datatype])


def _settle(spec: ModelSpec, trial: _Trial) -> ModelSpec:
    batching = spec.batching.model_copy(update={"max_batch_size": MAX_BATCH_SIZE if trial.batched else 0})
    cache = spec.cache.model_copy(update={"enabled": spec.cache.enabled and (trial.repeatable or not trial.inputs)})
    return spec.model_copy(update={"batching": batching, "cache": cache})


def _same_interface(old: ModelSpec, new: ModelSpec) -> ModelSpec:
    """A new version must be callable as the old ones are."""
    for what, before, after in (("inputs", old.inputs, new.inputs), ("outputs", old.outputs, new.outputs)):
        if before != after:
            raise ConfigurationError(
                f"its {what} differ from model.yaml of '{old.name}': "
                f"{_interface(after)} instead of {_interface(before)}; import it under another name"
            )
    return old


def _interface(tensors: Sequence[TensorSpec]) -> str:
    return ", ".join(f"{tensor.name} {tensor.datatype} {list(tensor.shape)}" for tensor in tensors)


def _write_spec(path: Path, spec: ModelSpec) -> None:
    document = spec.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    document["batching"] = {"max_batch_size": spec.batching.max_batch_size}
    draft = path.with_suffix(".draft")
    draft.write_text(yaml.safe_dump(document, sort_keys=False, default_flow_style=None), encoding="utf-8")
    draft.replace(path)
