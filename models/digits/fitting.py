"""The training itself: AdamW with one cycle of the learning rate, each batch shifted by up to one pixel."""

from collections.abc import Iterator

import dataset
import network
import numpy as np
import torch
from torch import Tensor, nn

from modelyard.authoring.script import progress

BATCH = 64
PEAK_LEARNING_RATE = 4e-3


def fit(rows: dataset.Rows, epochs: int, seed: int) -> network.DigitsNetwork:
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
