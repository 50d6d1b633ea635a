"""Two clients of the Open Inference Protocol, each in a few lines: HTTP with JSON, and gRPC with raw tensors."""

import os
from types import TracebackType
from typing import NamedTuple, Self

import grpc
import httpx
import numpy as np
from dataset import Image
from numpy.typing import NDArray

from modelyard.protocol._pb import open_inference_grpc_pb2 as pb
from modelyard.protocol._pb.open_inference_grpc_pb2_grpc import GRPCInferenceServiceStub

MODEL = "digits"
TIMEOUT_SECONDS = 30


class Answer(NamedTuple):
    """The likeliest digit, how likely it is, and what the cache had to do with the answer."""

    label: int
    probability: float
    cache: str


class HttpClient:
    """POST /v2/models/digits/infer with JSON."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(
            base_url=url, headers=dict(_credentials()), timeout=TIMEOUT_SECONDS, trust_env=False
        )

    def infer(self, image: Image) -> Answer:
        """Raises httpx.HTTPError when the server is away or refuses."""
        tensor = {
            "name": "image",
            "datatype": "FP32",
            "shape": [1, *image.shape],
            "data": image.ravel().tolist(),
        }
        response = self._client.post(f"/v2/models/{MODEL}/infer", json={"inputs": [tensor]})
        response.raise_for_status()
        document = response.json()
        return _answer(np.asarray(document["outputs"][0]["data"]), document["parameters"]["cache"])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()


class GrpcClient:
    """GRPCInferenceService.ModelInfer with raw tensor contents."""

    def __init__(self, address: str) -> None:
        # A proxy of the environment has no business with a server on this machine.
        self._channel = grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)])
        self._stub = GRPCInferenceServiceStub(self._channel)

    def infer(self, image: Image) -> Answer:
        """Raises grpc.RpcError when the server is away or refuses."""
        tensor = pb.ModelInferRequest.InferInputTensor(name="image", datatype="FP32", shape=[1, *image.shape])
        request = pb.ModelInferRequest(
            model_name=MODEL, inputs=[tensor], raw_input_contents=[image.astype("<f4").tobytes()]
        )
        response = self._stub.ModelInfer(request, timeout=TIMEOUT_SECONDS, metadata=_credentials())
        probabilities = np.frombuffer(response.raw_output_contents[0], "<f4")
        return _answer(probabilities, response.parameters["cache"].string_param)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._channel.close()


def _answer(probabilities: NDArray[np.floating], cache: str) -> Answer:
    label = int(probabilities.argmax())
    return Answer(label, float(probabilities[label]), cache)


def _credentials() -> list[tuple[str, str]]:
    """The header that a server with MODELYARD_API_KEYS asks for: its first key."""
    first = os.environ.get("MODELYARD_API_KEYS", "").partition(",")[0]
    key = first.partition(":")[2].strip()
    return [("authorization", f"Bearer {key}")] if key else []
