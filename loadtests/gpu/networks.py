"""The measured models as torch has them: the encoder and the MLP with the weights of their ONNX files, and the
convolutional network, whose ONNX file torch exports.

    encoder.onnx, mlp.onnx -> weights -> torch modules        convnet: torch module, seeded -> convnet.onnx

They are written as a user of torch would write them, with torch's own attention, GELU and layer norm: taking an ONNX
graph apart into the same small steps would measure it at less than it can do.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from loadtests.bench.models import FFN, HEADS, HIDDEN, INFO, LAYERS, SEED, TOKENS, VOCABULARY
from loadtests.bench.payloads import Array

OPSET = 18
CHANNELS, SIZE = 3, 64
WIDTHS, BLOCKS = (64, 128, 256, 512), 2


class Block(nn.Module):
    """Two convolutions and the way around them."""

    def __init__(self, channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, out_channels, 3, stride, 1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
            nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False),
            nn.BatchNorm2d(out_channels),
        )
        same = stride == 1 and channels == out_channels
        self.around = nn.Identity() if same else nn.Conv2d(channels, out_channels, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Sum and ReLU."""
        return functional.relu(self.body(x) + self.around(x))


class ConvNet(nn.Module):
    """The layers of a ResNet-18 for images of 64x64. The image comes as a flat row, as the load generator sends it."""

    def __init__(self) -> None:
        super().__init__()
        blocks, channels = list[nn.Module](), WIDTHS[0]
        for stage, width in enumerate(WIDTHS):
            for index in range(BLOCKS):
                blocks.append(Block(channels, width, 2 if stage and not index else 1))
                channels = width
        self.stem = nn.Sequential(
            nn.Conv2d(CHANNELS, WIDTHS[0], 3, 1, 1, bias=False), nn.BatchNorm2d(WIDTHS[0]), nn.ReLU(), nn.MaxPool2d(2)
        )
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(channels, INFO["convnet"].out_columns)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, pixels] -> [batch, classes]"""
        features = self.blocks(self.stem(x.reshape(-1, CHANNELS, SIZE, SIZE)))
        scores: Tensor = self.head(features.mean(dim=(2, 3)))
        return scores


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
        return _convnet()
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


# --- the convolutional network -------------------------------------------------------------------------------------


def _convnet() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        made = ConvNet().eval()
        for part in made.modules():
            if isinstance(part, nn.Conv2d):  # He's: the answer depends on the image, not on the biases alone
                nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
            # as after training: nothing may be folded away as if it were not there
            if isinstance(part, nn.BatchNorm2d) and part.running_mean is not None and part.running_var is not None:
                part.running_mean.normal_(0.0, 0.1)
                part.running_var.uniform_(0.8, 1.2)
    return made


def export_convnet(path: Path) -> None:
    """Write the convolutional network as ONNX, with a batch of any size."""
    info = INFO["convnet"]
    batch = torch.export.Dim("batch", min=1, max=1024)
    # the exporter talks to stdout and warns about its own parts
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _convnet(),
            (torch.zeros(2, info.columns),),
            path,
            input_names=[info.input],
            output_names=[info.output],
            dynamic_shapes=({0: batch},),
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
        )
