"""Train the autoencoder and measure what it generates.

    python models/digits_vae/train.py            # about half a minute on two cores
    python models/digits_vae/export.py           # then: ONNX and a version folder

Writes build/weights.npz and build/report.json. Exits with 1, and writes nothing, when too few generated digits are
recognised as their class, or when they are too alike. The same seed on the same machine gives the same weights.
"""

import argparse
import sys
import time
from collections.abc import Iterator

import network
import numpy as np
import quality
import rows
import torch
from torch import Tensor, nn

from modelyard.authoring.script import finish, progress
from modelyard.errors import ConfigurationError

BATCH = 128
PEAK_LEARNING_RATE = 6e-3
OPEN_CLASS = 0.1
"""Share of training rows whose class is withheld, so that a latent vector alone gives a digit too."""
BETA = 0.25
"""Weight of the divergence. With 1 the images of a class were nearly all alike; with 0.1 too few were recognised."""


def main() -> None:
    options = _options()
    torch.manual_seed(options.seed)
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)  # layers this small gain nothing by a second one, and wait for it where others work
    train, held_out = rows.load()
    print(f"digits_vae: {len(train.labels)} training rows, {len(held_out.labels)} held out, seed {options.seed}")
    started = time.monotonic()
    encoder, decoder = _fit(train, options.epochs, options.seed)
    figures = quality.measure(encoder, decoder, train, held_out)
    _show(figures, time.monotonic() - started)
    _check(figures, options)
    network.save(encoder, decoder, {"metrics": figures, "seed": options.seed, "epochs": options.epochs})
    print(f"wrote {network.WEIGHTS} and {network.REPORT.name}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=120, help="passes over the rows (default: 120)")
    parser.add_argument("--seed", type=int, default=7, help="of weights, order and draws (default: 7)")
    parser.add_argument("--minimum-recognised", type=float, default=0.95, help="below it: exit 1 (default: 0.95)")
    parser.add_argument(
        "--minimum-spread", type=float, default=0.7, help="of real rows' spread; below it: exit 1 (default: 0.7)"
    )
    return parser.parse_args()


def _fit(train: rows.Rows, epochs: int, seed: int) -> tuple[network.Encoder, network.Decoder]:
    both = nn.ModuleDict({"encoder": (encoder := network.Encoder()), "decoder": (decoder := network.Decoder())})
    optimizer = torch.optim.AdamW(both.parameters(), lr=PEAK_LEARNING_RATE, weight_decay=1e-2, fused=True)
    steps = -(-len(train.labels) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_LEARNING_RATE, epochs=epochs, steps_per_epoch=steps)
    with progress() as bar:
        task = bar.add_task("training", total=epochs, loss=float("nan"))
        for epoch in range(epochs):
            total = 0.0
            for images, labels in _batches(train, seed + epoch):
                optimizer.zero_grad()
                loss = _loss(encoder, decoder, images, labels)
                loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it unannotated
                optimizer.step()
                schedule.step()
                total += loss.item()
            bar.update(task, advance=1, loss=total / steps)
    both.eval()
    return encoder, decoder


def _loss(encoder: network.Encoder, decoder: network.Decoder, images: Tensor, labels: Tensor) -> Tensor:
    """The negative evidence lower bound: cross-entropy of the pixels as shares of ink, and the divergence."""
    mean, log_variance = encoder(images, labels)
    latent = mean + torch.randn_like(mean) * torch.exp(0.5 * log_variance)
    scores = decoder.logits(labels, latent)
    ink = images.flatten(1) / network.BRIGHTEST
    pixels = nn.functional.binary_cross_entropy_with_logits(scores, ink, reduction="none").sum(dim=1)
    divergence = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(dim=1)
    loss: Tensor = (pixels + BETA * divergence).mean()
    return loss


def _batches(train: rows.Rows, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The rows in a new order; of some the class is withheld."""
    random = np.random.default_rng(seed)
    order = random.permutation(len(train.labels))
    labels = np.where(random.random(len(order)) < OPEN_CLASS, network.NO_CLASS, train.labels)
    for start in range(0, len(order), BATCH):
        chosen = order[start : start + BATCH]
        yield torch.from_numpy(train.images[chosen]), torch.from_numpy(labels[chosen])


def _show(figures: dict[str, float], seconds: float) -> None:
    for name, value in figures.items():
        print(f"  {name:22}{value:.4f}")
    print(f"{seconds:.0f} s")


def _check(figures: dict[str, float], options: argparse.Namespace) -> None:
    recognised, spread = figures["recognised"], figures["spread"] / figures["real_spread"]
    if recognised < options.minimum_recognised:
        raise ConfigurationError(
            f"{recognised:.4f} of the generated digits are recognised, {options.minimum_recognised} is asked for; "
            "nothing is written"
        )
    if spread < options.minimum_spread:
        raise ConfigurationError(
            f"generated digits have {spread:.2f} of the spread of real ones, {options.minimum_spread} is asked for; "
            "nothing is written"
        )


if __name__ == "__main__":
    sys.exit(finish(main))
