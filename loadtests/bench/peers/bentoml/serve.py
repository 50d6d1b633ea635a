"""BentoML as its documentation begins: a service with a NumPy API, and the same with adaptive batching.

Started by `bentoml serve serve:Service`. The name of the API's argument is the name in the request, so there is one
method for each kind of model; the response is the bare array. Only the access log is off, as for every peer.
"""

import os
from typing import Annotated

import bentoml
import numpy as np
from bench_model import MAX_BATCH, NAME, OnnxModel
from bentoml.validators import DType

Floats = Annotated[np.ndarray, DType("float32")]
Integers = Annotated[np.ndarray, DType("int64")]

if os.environ["BENCH_BATCHING"] == "1":
    api = bentoml.api(route="/predict", batchable=True, max_batch_size=MAX_BATCH)
else:
    api = bentoml.api(route="/predict")


class Dense:
    """Models whose input is x FP32."""

    def __init__(self) -> None:
        self.model = OnnxModel()

    @api
    def predict(self, x: Floats) -> Floats:
        """Infer all rows."""
        return self.model.infer(x)


class Encoder:
    """Models whose input is input_ids INT64."""

    def __init__(self) -> None:
        self.model = OnnxModel()

    @api
    def predict(self, input_ids: Integers) -> Floats:
        """Infer all rows."""
        return self.model.infer(input_ids)


kind = Encoder if NAME.startswith("encoder") else Dense
Service = bentoml.service(workers=1, logging={"access": {"enabled": False}})(kind)
