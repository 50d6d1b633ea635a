"""FP32 to FP16 in an ONNX model whose inputs and outputs keep their datatypes. Pure: a model in, a model out.

    x FP32 -> Cast -> MatMul FP16 -> ReduceMean FP32, between two Casts -> Add FP16 -> Cast -> y FP32

Every FP32 value has a home, the datatype in which its node gives it; a node that wants the other one gets a Cast, one
for all that want it. Which inputs and outputs of an operator may be FP16 is what ONNX's own schemas say. Sums over many
elements and powers stay FP32, since FP16 ends at 65,504; so do operators of other domains, and bodies of loops and
branches.

TensorRT's strongly typed networks run exactly these datatypes: that is why the conversion stands here, not in a flag.
"""

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, inliner, numpy_helper, shape_inference

log = logging.getLogger("modelyard.backends")

_RANGE = {"Pow", "CumSum", "ReduceSum", "ReduceMean", "ReduceProd", "ReduceSumSquare", "ReduceL1", "ReduceL2"}
_RANGE |= {"ReduceLogSum", "ReduceLogSumExp"}
_FIXED = {"QuantizeLinear", "DequantizeLinear", "Bernoulli", "EyeLike", "Multinomial", "RandomNormal", "RandomUniform"}
_FIXED |= {"RandomNormalLike", "RandomUniformLike", "HannWindow", "HammingWindow", "BlackmanWindow"}
KEEP = frozenset(_RANGE | _FIXED)
"""Operators that stay FP32: for their range, or since an attribute fixes their datatype."""
_LARGEST = 65504.0
_SMALLEST = 2.0**-24
"""The least positive FP16: a constant above zero stays so, as an epsilon under a root must."""


_MARK = "modelyard.precision"
"""Among the metadata of a model that was converted."""


class CannotConvert(Exception):
    """The text says which value or node."""


def to_half(model: Any) -> Any:
    """The model in FP16, checked. `model` is changed. Raises CannotConvert."""
    try:
        if model.functions:
            model = inliner.inline_local_functions(model)
        types = _types(shape_inference.infer_shapes(model, strict_mode=True))
        _Conversion(model, types).run()
        model.metadata_props.add(key=_MARK, value="fp16")
        onnx.checker.check_model(model, full_check=True)
    except (ValueError, shape_inference.InferenceError, onnx.checker.ValidationError) as error:
        raise CannotConvert(f"the model cannot be converted to FP16: {str(error).strip()[:300]}") from None
    return model


def is_half(model: Any) -> bool:
    """Was it converted already?"""
    return any(entry.key == _MARK for entry in model.metadata_props)


def nodes(graph: Any) -> Iterator[Any]:
    """The nodes of a graph and of the graphs within."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
                yield from nodes(inner)


class _Conversion:
    def __init__(self, model: Any, types: dict[str, int]) -> None:
        self._graph = model.graph
        self._types = types
        self._opset = next((o.version for o in model.opset_import if o.domain in {"", "ai.onnx"}), 0)
        self._weights = {w.name: w for w in model.graph.initializer}
        given = {value.name for value in model.graph.input}
        self._constants = {name for name in self._weights if name not in given}
        """Weights of which an FP16 copy can be made; an input with a default value is an input."""
        self._outputs = {value.name for value in model.graph.output}
        self._versions: dict[str, dict[bool, str]] = {}
        """name -> {is FP16: name of that version}"""
        self._taken = {*types, *self._weights}
        self._done: list[Any] = []
        self._half_weights: list[Any] = []

    def run(self) -> None:
        for node in self._graph.node:
            self._convert(node)
        for value in self._graph.output:  # a weight or an input that is an output as it is
            if self._is_float(value.name):
                self._version(value.name, half=False)
        used = {name for node in self._done for name in _names(node)} | self._outputs
        kept = [w for w in self._graph.initializer if w.name in used or w.name not in self._constants]
        del self._graph.node[:], self._graph.value_info[:]
        self._graph.node.extend(self._done)
        del self._graph.initializer[:]
        self._graph.initializer.extend([*kept, *self._half_weights])

    def _convert(self, node: Any) -> None:
        inner = [name for name in _names(node) if name not in node.input]
        keep = node.op_type in KEEP or node.domain not in {"", "ai.onnx"} or any(True for _ in _inner_graphs(node))
        schema = None if keep else onnx.defs.get_schema(node.op_type, self._opset, "")
        for place, name in enumerate(node.input):
            if self._is_float(name):
                node.input[place] = self._version(name, half=schema is not None and _may_be_half(schema.inputs, place))
        renamed = {name: self._version(name, half=False) for name in inner if self._is_float(name)}
        _rename(node, renamed)
        self._done.append(node)
        if schema is not None:
            self._convert_outputs(node, schema)

    def _convert_outputs(self, node: Any, schema: Any) -> None:
        for place, name in enumerate(node.output):
            if not self._is_float(name) or not _may_be_half(schema.outputs, place):
                continue
            _set_type(node)
            if name in self._outputs:
                node.output[place] = self._new_name(name, half=True)
                self._versions[name] = {True: node.output[place], False: name}
                self._done.append(_cast(node.output[place], name, TensorProto.FLOAT))
            else:
                self._versions[name] = {True: name}

    def _version(self, name: str, *, half: bool) -> str:
        """The name of a value in the datatype that is wanted."""
        versions = self._versions.setdefault(name, {False: name})
        if half not in versions:
            versions[half] = self._new_name(name, half=half)
            if name in self._constants:
                self._half_weights.append(_half_tensor(self._weights[name], versions[half]))
            else:
                wanted = TensorProto.FLOAT16 if half else TensorProto.FLOAT
                self._done.append(_cast(versions[not half], versions[half], wanted))
        return versions[half]

    def _new_name(self, name: str, *, half: bool) -> str:
        new = f"{name}__{'half' if half else 'full'}"
        while new in self._taken:
            new += "_"
        self._taken.add(new)
        return new

    def _is_float(self, name: str) -> bool:
        return self._types.get(name) == TensorProto.FLOAT


def _types(model: Any) -> dict[str, int]:
    """Element type of every value. Raises CannotConvert for a value whose type is unknown."""
    graph = model.graph
    types = {weight.name: weight.data_type for weight in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        types[value.name] = value.type.tensor_type.elem_type
    for node in graph.node:
        for name in node.output:
            if name and name not in types:
                raise CannotConvert(f"the type of '{name}', which {node.op_type} gives, cannot be inferred")
    return types


def _may_be_half(parameters: Any, place: int) -> bool:
    """Does the schema let this input or output be FP16? The last parameter may stand for many."""
    return "tensor(float16)" in parameters[min(place, len(parameters) - 1)].types


def _set_type(node: Any) -> None:
    """Attributes that fix the datatype of an output."""
    if node.op_type == "Cast":
        _replace(node, "to", helper.make_attribute("to", TensorProto.FLOAT16))
    elif node.op_type in {"Constant", "ConstantOfShape"}:
        value = next((a for a in node.attribute), None)
        tensor = numpy_helper.from_array(np.zeros(1, np.float32)) if value is None else _constant(value)
        _replace(node, value.name if value else "", helper.make_attribute("value", _half_tensor(tensor, tensor.name)))


def _constant(attribute: Any) -> Any:
    """The tensor of Constant's value, value_float or value_floats."""
    value = helper.get_attribute_value(attribute)
    return value if attribute.name == "value" else numpy_helper.from_array(np.asarray(value, np.float32))


def _replace(node: Any, name: str, attribute: Any) -> None:
    kept = [old for old in node.attribute if old.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, attribute])


def _half_tensor(tensor: Any, name: str) -> Any:
    full = numpy_helper.to_array(tensor)
    finite = np.isfinite(full)
    if np.any(np.abs(full[finite]) > _LARGEST):
        log.warning("'%s' has values beyond FP16's %s: they are cut to it", tensor.name, _LARGEST)
    half = np.where(finite, np.clip(full, -_LARGEST, _LARGEST), full).astype(np.float16)
    lost = (half == 0) & (full != 0)
    return numpy_helper.from_array(
        np.where(lost, np.copysign(np.float16(_SMALLEST), full), half).astype(np.float16), name
    )


def _cast(source: str, target: str, to: int) -> Any:
    return helper.make_node("Cast", [source], [target], name=f"cast_to_{target}", to=to)


def _inner_graphs(node: Any) -> Iterator[Any]:
    for attribute in node.attribute:
        yield from attribute.graphs
        if attribute.HasField("g"):
            yield attribute.g


def _names(node: Any) -> list[str]:
    """Names that a node reads, those that the graphs within it take from outside included (and their own)."""
    inner = [name for graph in _inner_graphs(node) for each in nodes(graph) for name in each.input]
    results = [value.name for graph in _inner_graphs(node) for value in graph.output]
    return [*node.input, *inner, *results]


def _rename(node: Any, renamed: dict[str, str]) -> None:
    """Graphs within a node read values from outside by their name."""
    for graph in _inner_graphs(node):
        for each in nodes(graph):
            for place, name in enumerate(each.input):
                each.input[place] = renamed.get(name, name)
        for value in graph.output:
            value.name = renamed.get(value.name, value.name)
