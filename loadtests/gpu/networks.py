"""The measured models as torch has them: the encoder and the MLP with the weights of their ONNX files.

    encoder.onnx, mlp.onnx -> weights -> torch modules        convnet: bench/convnet.py

They are written as a user of torch would write them, with torch's own attention, GELU and layer norm: taking an ONNX
graph apart into the same small steps would measure it at less than it can do.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from loadtests.bench.convnet import convnet
from loadtests.bench.models import FFN, HEADS, HIDDEN, LAYERS, TOKENS, VOCABULARY
from loadtests.bench.payloads import Array


class Layer(nn.Module):
    """One layer of the encoder, post-norm as BERT's."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.content, self.out = (nn.Linear(HIDDEN, HIDDEN) for _ in range(4))
        self.norm = nn.LayerNorm(HIDDEN)
        self.wide, self.narrow = nn.Linear(HIDDEN, FFN), nn.Linear(FFN, HIDDEN)
        self.last_norm = nn.LayerNorm(HIDDEN)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, tokens, hidden] -> the same"""
        parts = [part(x).unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in (self.query, self.key, self.content)]
        mixed = functional.scaled_dot_product_attention(*parts)
        x = self.norm(x + self.out(mixed.transpose(1, 2).flatten(2)))
        result: Tensor = self.last_norm(x + self.narrow(functional.gelu(self.wide(x))))
        return result


class Encoder(nn.Module):
    """Embedding, six layers, mean over the tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(VOCABULARY, HIDDEN)
        self.places = nn.Parameter(torch.zeros(1, TOKENS, HIDDEN))
        self.norm = nn.LayerNorm(HIDDEN)
        self.layers = nn.Sequential(*(Layer() for _ in range(LAYERS)))

    def forward(self, ids: Tensor) -> Tensor:
        """[batch, tokens] -> [batch, hidden]"""
        result: Tensor = self.layers(self.norm(self.words(ids) + self.places)).mean(dim=1)
        return result


def network(model: str, onnx: Path) -> nn.Module:
    """The network `model` with the weights of its ONNX file, for inference. ValueError when they do not fit."""
    if model == "convnet":
        return convnet()
    made = Encoder() if model == "encoder" else nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    with torch.no_grad():
        for parameter, values in zip(_in_order(made), _weights(onnx), strict=True):
            # the matrix of a linear layer is kept transposed by torch; an embedding is none
            linear = values.ndim == 2 and len(values) != VOCABULARY
            parameter.copy_(torch.from_numpy(values.T if linear else values))
    return made.eval()


def _in_order(made: nn.Module) -> Iterator[Tensor]:
    """Parameters in the order in which models.py writes them: that of their use."""
    if not isinstance(made, Encoder):
        yield from made.parameters()
        return
    yield from (made.words.weight, made.places, made.norm.weight, made.norm.bias)
    for layer in made.layers:
        yield from layer.parameters()


def _weights(onnx: Path) -> Iterator[Array]:
    """The float weights of an ONNX file in the order of their use; single numbers are part of an operator."""
    import onnx as library

    for tensor in library.load(onnx).graph.initializer:
        values = library.numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.size > 1:
            yield values.copy()
