"""What an ONNX file is made of, and which way to INT8 that suggests. Knows onnx; reads weights only when asked to.

operators of the graph, subgraphs and functions included -> dynamic | static, or why neither
"""

from collections import Counter
from pathlib import Path
from typing import Any, Literal

import onnx

from modelyard.backends.engine.half import CannotConvert, nodes, to_half
from modelyard.errors import ConfigurationError

Method = Literal["dynamic", "static"]
CONVOLUTIONS = ("Conv", "ConvTranspose")
PRODUCTS = ("MatMul", "Gemm", "LSTM")
QUANTIZED = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "ConvInteger"})
MOST_PRODUCTS = 4
"""Matrix products for a convolution up to which a graph counts as convolutional: a vision transformer has one
convolution and dozens of products, a classifier some convolutions and a few products behind them."""


def operators(artifact: Path) -> Counter[str]:
    """How often each operator stands in the file. Raises ConfigurationError when it is none of ONNX."""
    model = _load(artifact, weights=False)
    return Counter(node.op_type for graph in (model.graph, *model.functions) for node in nodes(graph))


def choose_method(found: Counter[str]) -> Method:
    """Dynamic for products of matrices, static for convolutions. Raises ConfigurationError when INT8 cannot help.

    ONNX Runtime has no fast dynamic convolution; a product of matrices is fast with ranges found in each run, and needs
    no calibration rows.
    """
    if QUANTIZED & found.keys():
        raise ConfigurationError("the model holds quantized operators already")
    convolutions, products = (sum(found[name] for name in names) for names in (CONVOLUTIONS, PRODUCTS))
    if not convolutions and not products:
        most = ", ".join(name for name, _ in found.most_common(3))
        raise ConfigurationError(
            f"INT8 speeds up {', '.join((*CONVOLUTIONS, *PRODUCTS))}, and the model has none of them (it has {most})"
        )
    return "static" if convolutions * MOST_PRODUCTS >= products and convolutions else "dynamic"


def external_files(artifact: Path) -> set[str]:
    """Names of the files beside the artifact that hold its weights."""
    model = _load(artifact, weights=False)
    attributes = [attribute for node in nodes(model.graph) for attribute in node.attribute]
    graphs = [model.graph, *(graph for each in attributes for graph in (each.g, *each.graphs))]
    tensors = [tensor for graph in graphs for tensor in graph.initializer] + [each.t for each in attributes]
    return {entry.value for tensor in tensors for entry in tensor.external_data if entry.key == "location"}


def write_half(artifact: Path, target: Path) -> None:
    """The model in FP16, its inputs and outputs as they are. Raises ConfigurationError."""
    model = _load(artifact, weights=True)
    try:
        onnx.save_model(to_half(model), str(target))
    except CannotConvert as error:
        raise ConfigurationError(str(error)) from None


def _load(artifact: Path, *, weights: bool) -> Any:
    try:
        return onnx.load_model(str(artifact), load_external_data=weights)
    except Exception as error:  # protobuf's and onnx's errors have no base in common
        raise ConfigurationError(f"{artifact} is no ONNX model: {str(error)[:200]}") from None
