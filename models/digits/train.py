"""Train the digits network and measure it on rows that it has never seen.

    python models/digits/train.py            # about 20 seconds on two cores
    python models/digits/export.py           # then: ONNX and a version folder

Writes build/weights.npz and build/report.json. Exits with 1, and writes nothing, when the accuracy on the
held-out rows is below --minimum-accuracy. The same seed on the same machine gives the same weights.
"""

import argparse
import sys
import time

import dataset
import network
import numpy as np
import torch
from fitting import fit


def main() -> int:
    options = _options()
    torch.manual_seed(options.seed)
    torch.use_deterministic_algorithms(True)
    train, held_out = dataset.load()
    print(f"digits: {len(train.labels)} training rows, {len(held_out.labels)} held out, seed {options.seed}")
    started = time.monotonic()
    trained = fit(train, options.epochs, options.seed)
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


@torch.no_grad()
def _labels(model: network.DigitsNetwork, images: np.ndarray) -> np.ndarray:
    labels: np.ndarray = model(torch.from_numpy(images)).argmax(dim=1).numpy()
    return labels


def _recall(labels: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Share of each digit's held-out rows that were recognised."""
    return {str(digit): float(np.mean(labels[truth == digit] == digit)) for digit in range(10)}


if __name__ == "__main__":
    sys.exit(main())
