"""Train the digits network and measure it on rows that it has never seen.

    python models/digits/train.py            # about 20 seconds on two cores
    python models/digits/export.py           # then: ONNX and a version folder

Writes build/weights.npz and build/report.json. Exits with 1, and writes nothing, when the accuracy on the
held-out rows is below --minimum-accuracy. The same seed on the same machine gives the same weights.
"""

import argparse
import sys
import time
from collections.abc import Iterator

import dataset
import network
import numpy as np
import torch
from torch import Tensor, nn

from modelyard.authoring.script import progress

BATCH = 64
PEAK_LEARNING_RATE = 4e-3


def main() -> int:
    options = _options()
    torch.manual_seed(options.seed)
    torch.use_deterministic_algorithms(True)
    train, held_out = dataset.load()
    print(f"digits: {len(train.labels)} training rows, {len(held_out.labels)} held out, seed {options.seed}")
    started = time.monotonic()
    trained = _fit(train, options.epochs, options.seed)
    labels = _labels(trained, held_out.images)
    accuracy = float(np.mean(labels == held_out.labels))
    wrong = int(np.sum(labels != held_out.labels))
    seconds = time.monotonic() - started
    print(f"held-out accuracy {accuracy:.4f} ({wrong} of {len(labels)} wrong), {seconds:.0f} s")
    if accuracy < options.minimum_accuracy:
        print(f"error: below the {options.minimum_accuracy} asked for; nothing is written", file=sys.stderr)
        return 1
    report = {
        "accuracy": accuracy,
        "held_out_rows": len(labels),
        "recall": _recall(labels, held_out.labels),
        "seed": options.seed,
        "epochs": options.epochs,
    }
    network.save(trained, report)
    print(f"wrote {network.WEIGHTS} and {network.REPORT.name}")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=30, help="passes over the rows (default: 30)")
    parser.add_argument("--seed", type=int, default=7, help="of weights, order and shifts (default: 7)")
    parser.add_argument("--minimum-accuracy", type=float, default=0.98, help="below it: exit 1 (default: 0.98)")
    return parser.parse_args()


def _fit(rows: dataset.Rows, epochs: int, seed: int) -> network.DigitsNetwork:
    model = network.DigitsNetwork()
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_LEARNING_RATE, weight_decay=1e-2)
    steps = -(-len(rows.labels) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_LEARNING_RATE, epochs=epochs, steps_per_epoch=steps)
    loss_of = nn.CrossEntropyLoss(label_smoothing=0.05)
    with progress() as bar:
        task = bar.add_task("training", total=epochs, loss=float("nan"))
        for epoch in range(epochs):
            total = 0.0
            for images, labels in _batches(rows, seed + epoch):
                optimizer.zero_grad()
                loss = loss_of(model.logits(images), labels)
                loss.backward()
                optimizer.step()
                schedule.step()
                total += loss.item()
            bar.update(task, advance=1, loss=total / steps)
    return model.eval()


def _batches(rows: dataset.Rows, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The rows in a new order, each image shifted by up to one pixel: a stroke's place carries no meaning."""
    random = np.random.default_rng(seed)
    order = random.permutation(len(rows.labels))
    padded = np.pad(rows.images, ((0, 0), (0, 0), (1, 1), (1, 1)))
    for start in range(0, len(order), BATCH):
        chosen = order[start : start + BATCH]
        top, left = random.integers(0, 3, size=2)
        images = padded[chosen, :, top : top + 8, left : left + 8]
        yield torch.from_numpy(images), torch.from_numpy(rows.labels[chosen])


@torch.no_grad()
def _labels(model: network.DigitsNetwork, images: np.ndarray) -> np.ndarray:
    labels: np.ndarray = model(torch.from_numpy(images)).argmax(dim=1).numpy()
    return labels


def _recall(labels: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Share of each digit's held-out rows that were recognised."""
    return {str(digit): float(np.mean(labels[truth == digit] == digit)) for digit in range(10)}


if __name__ == "__main__":
    sys.exit(main())
