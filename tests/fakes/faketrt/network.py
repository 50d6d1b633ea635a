"""A network, and the parser that fills it from an ONNX model."""

from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto

from tests.fakes.fakegpu.machine import machine
from tests.fakes.faketrt.enums import DataType, ErrorCode, NetworkDefinitionCreationFlag, OnnxParserFlag, Severity
from tests.fakes.faketrt.foundation import Dims, ILogger, check_logger, tell
from tests.fakes.faketrt.version import LEVEL

DATATYPES = {
    TensorProto.FLOAT: DataType.FLOAT,
    TensorProto.FLOAT16: DataType.HALF,
    TensorProto.BFLOAT16: DataType.BF16,
    TensorProto.INT8: DataType.INT8,
    TensorProto.INT32: DataType.INT32,
    TensorProto.INT64: DataType.INT64,
    TensorProto.UINT8: DataType.UINT8,
    TensorProto.BOOL: DataType.BOOL,
}


class ITensor:
    def __init__(self, value: Any, is_input: bool) -> None:
        kind = value.type.tensor_type
        self.name: str = value.name
        self.dtype = DATATYPES[kind.elem_type]
        self.shape = Dims(dim.dim_value if dim.HasField("dim_value") else -1 for dim in kind.shape.dim)
        self.is_network_input = is_input
        self.is_network_output = not is_input
        self.is_shape_tensor = self.name in machine.faults.get("shape_tensors", [])
        self.is_execution_tensor = not self.is_shape_tensor


class INetworkDefinition:
    """Made by Builder.create_network()."""

    def __init__(self, flags: int) -> None:
        self.name = "Unnamed Network 0"
        self._flags = flags
        self._model: Any = None
        self._inputs: list[ITensor] = []
        self._outputs: list[ITensor] = []

    @property
    def num_inputs(self) -> int:
        return len(self._inputs)

    @property
    def num_outputs(self) -> int:
        return len(self._outputs)

    @property
    def num_layers(self) -> int:
        return len(self._model.graph.node) if self._model is not None else 0

    @property
    def flags(self) -> int:
        return self._flags

    def get_flag(self, flag: NetworkDefinitionCreationFlag) -> bool:
        strong = NetworkDefinitionCreationFlag.STRONGLY_TYPED
        return (LEVEL >= 11 and flag is strong) or bool(self._flags & 1 << int(flag))

    def get_input(self, index: int) -> ITensor | None:
        return self._inputs[index] if 0 <= index < len(self._inputs) else None

    def get_output(self, index: int) -> ITensor | None:
        return self._outputs[index] if 0 <= index < len(self._outputs) else None

    def fill(self, model: Any) -> None:
        """Not of the real interface: the parser's way in."""
        weights = {weight.name for weight in model.graph.initializer}
        self._model = model
        self._inputs = [ITensor(value, True) for value in model.graph.input if value.name not in weights]
        self._outputs = [ITensor(value, False) for value in model.graph.output]

    @property
    def model(self) -> Any:
        """Not of the real interface: what the builder puts into a plan."""
        return self._model


class ParserError:
    def __init__(
        self, code: ErrorCode, desc: str, func: str, node: int = -1, name: str = "", operator: str = ""
    ) -> None:
        self._code, self._desc, self._func = code, desc, func
        self._node, self._name, self._operator = node, name, operator

    def code(self) -> ErrorCode:
        return self._code

    def desc(self) -> str:
        return self._desc

    def file(self) -> str:
        return "ModelImporter.cpp"

    def line(self) -> int:
        return 1

    def func(self) -> str:
        return self._func

    def node(self) -> int:
        return self._node

    def node_name(self) -> str:
        return self._name

    def node_operator(self) -> str:
        return self._operator

    def local_function_stack(self) -> list[str]:
        return []

    def local_function_stack_size(self) -> int:
        return 0

    def __str__(self) -> str:
        text = f"({self._func}): {self._code}: {self._desc}"
        if self._code is ErrorCode.MODEL_DESERIALIZE_FAILED:
            return text
        return f"In node {self._node} with name: {self._name} and operator: {self._operator} {text}"


class OnnxParser:
    def __init__(self, network: INetworkDefinition, logger: ILogger) -> None:
        self._network, self._logger = network, check_logger(logger, "OnnxParser")
        self._errors: list[ParserError] = []
        self.flags = 1 << int(OnnxParserFlag.NATIVE_INSTANCENORM)

    def parse(self, model: Any, path: str | None = None) -> bool:
        """`path`: where the model's external weights lie beside."""
        try:
            loaded = onnx.load_model_from_string(bytes(memoryview(model)))
            if path is not None:
                onnx.external_data_helper.load_external_data_for_model(loaded, str(Path(path).parent))
        except Exception:  # whatever is wrong with the bytes, the real parser has one answer
            return self._fail(ErrorCode.MODEL_DESERIALIZE_FAILED, "Failed to parse the ONNX model.", "parse")
        return self._take(loaded)

    def parse_from_file(self, model: str) -> bool:
        if not isinstance(model, str):
            raise TypeError("parse_from_file(): incompatible function arguments: (self: OnnxParser, model: str)")
        try:
            loaded = onnx.load_model(model)
        except Exception:  # as above
            text = f"Failed to parse ONNX model from file: {model}"
            return self._fail(ErrorCode.MODEL_DESERIALIZE_FAILED, text, "parseFromFile")
        return self._take(loaded)

    def supports_operator(self, op_name: str) -> bool:
        return op_name not in self._refused()

    def supports_model_v2(self, model: Any, path: str | None = None) -> bool:
        return OnnxParser(INetworkDefinition(0), self._logger).parse(model, path)

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> ParserError | None:
        return self._errors[index] if 0 <= index < len(self._errors) else None

    def clear_errors(self) -> None:
        self._errors.clear()

    def set_flag(self, flag: OnnxParserFlag) -> None:
        self.flags |= 1 << int(flag)

    def clear_flag(self, flag: OnnxParserFlag) -> None:
        self.flags &= ~(1 << int(flag))

    def get_flag(self, flag: OnnxParserFlag) -> bool:
        return bool(self.flags & 1 << int(flag))

    def get_used_vc_plugin_libraries(self) -> list[str]:
        return []

    @staticmethod
    def _refused() -> list[str]:
        refused = machine.faults.get("parser_refuses", [])
        return [refused] if isinstance(refused, str) else list(refused)

    def _take(self, model: Any) -> bool:
        known = {domain.domain: domain.version for domain in model.opset_import}
        tell(self._logger, Severity.INFO, f"Parsing an ONNX model, opset {known.get('', '?')}")
        for index, node in enumerate(model.graph.node):
            if node.op_type in self._refused() or node.domain not in ("", "ai.onnx", "com.microsoft"):
                text = (
                    'Assertion failed: creator && "Plugin not found, are the plugin name, version, namespace correct?"'
                )
                return self._fail(
                    ErrorCode.UNSUPPORTED_NODE, text, "importFallbackPluginImporter", index, node.name, node.op_type
                )
        for value in [*model.graph.input, *model.graph.output]:
            if value.type.tensor_type.elem_type not in DATATYPES:
                text = f"Assertion failed: convertDtype: the datatype of {value.name} is not supported"
                return self._fail(ErrorCode.UNSUPPORTED_GRAPH, text, "importInput")
        self._network.fill(model)
        return True

    def _fail(self, code: ErrorCode, desc: str, func: str, node: int = -1, name: str = "", operator: str = "") -> bool:
        error = ParserError(code, desc, func, node, name, operator)
        self._errors.append(error)
        tell(self._logger, Severity.ERROR, str(error))
        return False
