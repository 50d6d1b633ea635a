"""A conditional variational autoencoder: an image and its class to a distribution of latent vectors, and back.

    train    image [n, 1, 8, 8], label [n] -> Encoder -> mean, log variance [n, L] -> a draw -> Decoder -> image
    serve    label [n], latent [n, L] -> Decoder -> image [n, 1, 8, 8]

Only the decoder is exported. Scaling is part of it: pixels go from 0 to 16, as everywhere in `digits`.
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
DIGITS = 10
NO_CLASS = -1
"""The label that leaves the class open: the latent vector alone decides."""
LATENT = 8
HIDDEN = 256


class Encoder(nn.Module):
    """Pixels [n, 1, 8, 8] from 0 to 16 and labels [n] -> mean and log variance [n, LATENT] of the latent vector."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(64 + DIGITS, HIDDEN),
            nn.GELU(),
            nn.Linear(HIDDEN, HIDDEN),
            nn.GELU(),
            nn.Linear(HIDDEN, 2 * LATENT),
        )

    def forward(self, image: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.layers(torch.cat((image.flatten(1) / BRIGHTEST, _one_hot(label)), 1)).chunk(2, dim=1)
        return mean, log_variance


class Decoder(nn.Module):
    """Labels [n] and latent vectors [n, LATENT] -> pixels [n, 1, 8, 8] from 0 to 16."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(LATENT + DIGITS, HIDDEN),
            nn.GELU(),
            nn.Linear(HIDDEN, HIDDEN),
            nn.GELU(),
            nn.Linear(HIDDEN, 64),
        )

    def logits(self, label: Tensor, latent: Tensor) -> Tensor:
        """What the loss wants: [n, 64] before the sigmoid."""
        scores: Tensor = self.layers(torch.cat((latent, _one_hot(label)), 1))
        return scores

    def forward(self, label: Tensor, latent: Tensor) -> Tensor:
        return BRIGHTEST * torch.sigmoid(self.logits(label, latent)).reshape(-1, 1, 8, 8)


def _one_hot(label: Tensor) -> Tensor:
    """[n, 10]; all zeros for NO_CLASS. A comparison takes any label: one bad row cannot fail a whole batch."""
    return (label.unsqueeze(1) == torch.arange(DIGITS)).float()


def save(encoder: Encoder, decoder: Decoder, report: dict[str, Any]) -> None:
    """Write the weights and the report of how good they are."""
    save_weights(WEIGHTS, nn.ModuleDict({"encoder": encoder, "decoder": decoder}))
    REPORT.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def load() -> tuple[Decoder, dict[str, Any]]:
    """The trained decoder and the report. Raises FileNotFoundError when there is none."""
    report: dict[str, Any] = json.loads(REPORT.read_text(encoding="utf-8"))
    both = nn.ModuleDict({"encoder": Encoder(), "decoder": (decoder := Decoder())})
    load_weights(WEIGHTS, both)
    return decoder.eval(), report
