"""MLServer: a custom runtime that decodes the first input with NumpyCodec and encodes the output with it.

Started by `mlserver start FOLDER` with its settings in MLSERVER_* variables; it speaks the Open Inference Protocol.
"""

from bench_model import OnnxModel
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Runtime(MLModel):
    """The custom runtime of the documentation: load and predict."""

    async def load(self) -> bool:
        """Load the model."""
        self.onnx = OnnxModel()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Infer all rows of one request."""
        values = NumpyCodec.decode_input(payload.inputs[0])
        output = NumpyCodec.encode_output(self.onnx.output, self.onnx.infer(values))
        return InferenceResponse(model_name=self.name, model_version=self.version, outputs=[output])
