"""The network: two convolutions, one pooling, two dense layers; about 150,000 weights.

Normalisation and softmax are part of it: a client sends raw pixels and receives probabilities, and the
exported file needs no word about either.
"""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from modelyard.authoring.weights import load_weights, save_weights

BUILD = Path(__file__).resolve().parent / "build"
"""What training leaves for the export; git ignores it."""
WEIGHTS = BUILD / "weights.npz"
REPORT = BUILD / "report.json"

BRIGHTEST = 16.0


class DigitsNetwork(nn.Module):
    """Pixels [n, 1, 8, 8] from 0 to 16 -> probabilities [n, 10]."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 32, kernel_size=3, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Conv2d(32, 64, kernel_size=3, padding=1),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Dropout(0.25),
            nn.Linear(64 * 4 * 4, 128),
            nn.ReLU(),
            nn.Dropout(0.25),
            nn.Linear(128, 10),
        )

    def logits(self, image: Tensor) -> Tensor:
        """What the loss wants: [n, 10] before softmax."""
        scores: Tensor = self.features(image / BRIGHTEST)
        return scores

    def forward(self, image: Tensor) -> Tensor:
        return torch.softmax(self.logits(image), dim=1)


def save(network: DigitsNetwork, report: dict[str, Any]) -> None:
    """Write the weights and the report of how good they are."""
    save_weights(WEIGHTS, network)
    REPORT.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def load() -> tuple[DigitsNetwork, dict[str, Any]]:
    """The trained network, ready to infer, and its report. Raises FileNotFoundError when there is none."""
    report: dict[str, Any] = json.loads(REPORT.read_text(encoding="utf-8"))
    network = DigitsNetwork()
    load_weights(WEIGHTS, network)
    return network.eval(), report
