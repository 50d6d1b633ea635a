"""FastAPI + ONNX Runtime: a typed body, a plain `def` (FastAPI runs it in its thread pool), a typed response.

Started by `uvicorn serve:app --loop uvloop --http httptools`. A blocking call belongs into a plain `def`, says its
documentation; so two requests of a slow model run at once.
"""

import numpy as np
from bench_model import NAME, OnnxModel
from fastapi import FastAPI
from pydantic import BaseModel

model = OnnxModel()
app = FastAPI()


class Rows(BaseModel):
    """A request to models whose input is x FP32."""

    x: list[list[float]]


class Outputs(BaseModel):
    """What they answer."""

    y: list[list[float]]


class Texts(BaseModel):
    """A request to models whose input is input_ids INT64."""

    input_ids: list[list[int]]


class Embeddings(BaseModel):
    """What they answer."""

    embedding: list[list[float]]


def predict(rows: Rows) -> Outputs:
    """Infer all rows of one request."""
    return Outputs(y=model.infer(np.asarray(rows.x, np.float32)).tolist())


def embed(texts: Texts) -> Embeddings:
    """Infer all rows of one request."""
    return Embeddings(embedding=model.infer(np.asarray(texts.input_ids, np.int64)).tolist())


app.post("/predict")(embed if NAME.startswith("encoder") else predict)
