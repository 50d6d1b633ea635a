"""The convolutional network that is measured: made by torch, seeded, and exported to ONNX by it.

torch module, seeded -> convnet.onnx
"""

from __future__ import annotations

import contextlib
import io
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

OPSET = 18
SEED = 20240601
CHANNELS, SIZE, CLASSES = 3, 64, 1000
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
        self.head = nn.Linear(channels, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, pixels] -> [batch, classes]"""
        features = self.blocks(self.stem(x.reshape(-1, CHANNELS, SIZE, SIZE)))
        scores: Tensor = self.head(features.mean(dim=(2, 3)))
        return scores


def convnet() -> nn.Module:
    """The network, for inference: always the same weights."""
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
    batch = torch.export.Dim("batch", min=1, max=1024)
    # the exporter talks to stdout and warns about its own parts
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            convnet(),
            (torch.zeros(2, CHANNELS * SIZE * SIZE),),
            path,
            input_names=["x"],
            output_names=["y"],
            dynamic_shapes=({0: batch},),
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
        )
