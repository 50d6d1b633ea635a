"""How good the generated digits are: recognised, true to held-out rows, and as different from each other as real ones.

The judge that decides is a support vector machine on the pixels of the training rows: another kind of model than the
one it judges, and it never saw a held-out or a generated row. Where `digits` has a version, that judges beside it.
Distances are root mean squares over an image's 64 pixels, which go from 0 to 16.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from network import DIGITS, LATENT, Decoder, Encoder
from numpy.typing import NDArray
from rows import Rows
from sklearn.svm import SVC

from modelyard.backends.onnxruntime import open_session
from modelyard.manifest import list_versions, read_manifest

DIGITS_FOLDER = Path(__file__).resolve().parents[1] / "digits"
EACH = 200
"""Generated images of each class."""
SEED = 11

Images = NDArray[np.float32]
"""[n, 1, 8, 8], 0 to 16."""
Labels = NDArray[np.int64]
Judge = Callable[[Images], Labels]


@torch.no_grad()
def measure(encoder: Encoder, decoder: Decoder, train: Rows, held_out: Rows) -> dict[str, float]:
    """Every figure, by its name in the manifest."""
    labels, latents = draw(EACH, SEED)
    images = decoder(torch.from_numpy(labels), torch.from_numpy(latents)).numpy()
    judge = _pixel_judge(train)
    figures = {
        "recognised": _share(judge(images), labels),
        "real_recognised": _share(judge(held_out.images), held_out.labels),
        **_reconstruction(encoder, decoder, train, held_out),
        "spread": _spread(images, labels),
        "real_spread": _spread(held_out.images, held_out.labels),
        "nearest": _nearest(images, train.images),
        "real_nearest": _nearest(held_out.images, train.images),
    }
    digits = _digits_judge()
    return figures | ({"recognised_by_digits": _share(digits(images), labels)} if digits else {})


def draw(each: int, seed: int) -> tuple[Labels, Images]:
    """`each` rows of every class with latent vectors from the normal distribution: labels [n], latents [n, LATENT]."""
    labels = np.repeat(np.arange(DIGITS, dtype=np.int64), each)
    latents = np.random.default_rng(seed).standard_normal((len(labels), LATENT), dtype=np.float32)
    return labels, latents


def _pixel_judge(train: Rows) -> Judge:
    machine = SVC(gamma=0.001, C=10).fit(train.images.reshape(len(train.labels), -1), train.labels)
    return lambda images: np.asarray(machine.predict(images.reshape(len(images), -1)))


def _digits_judge() -> Judge | None:
    """The newest version of `digits`; None where it has none."""
    versions = list_versions(DIGITS_FOLDER)
    if not versions:
        return None
    folder = DIGITS_FOLDER / "versions" / versions[-1]
    session = open_session(folder / read_manifest(folder).artifact)
    return lambda images: np.asarray(session.run(["probabilities"], {"image": images})[0]).argmax(axis=1)


def _share(found: Labels, labels: Labels) -> float:
    return float(np.mean(found == labels))


def _reconstruction(encoder: Encoder, decoder: Decoder, train: Rows, held_out: Rows) -> dict[str, float]:
    """Held-out rows through the narrow place and back, beside the best that their class alone would say."""
    labels = torch.from_numpy(held_out.labels)
    mean, _ = encoder(torch.from_numpy(held_out.images), labels)
    means = np.stack([train.images[train.labels == digit].mean(axis=0) for digit in range(DIGITS)])
    return {
        "reconstruction": _distance(decoder(labels, mean).numpy(), held_out.images),
        "class_mean": _distance(means[held_out.labels], held_out.images),
    }


def _distance(left: Images, right: Images) -> float:
    return float(np.mean(np.sqrt(np.mean((left - right) ** 2, axis=(1, 2, 3)))))


def _spread(images: Images, labels: Labels) -> float:
    """Mean distance between two images of one class."""
    means = []
    for digit in range(DIGITS):
        between = _distances(images[labels == digit], images[labels == digit])
        means.append(between[np.triu_indices(len(between), 1)].mean())
    return float(np.mean(means))


def _nearest(images: Images, known: Images) -> float:
    """Mean distance to the nearest known image: near zero where a model only repeats what it saw."""
    return float(_distances(images, known).min(axis=1).mean())


def _distances(left: Images, right: Images) -> NDArray[np.float32]:
    """[len(left), len(right)]"""
    a, b = left.reshape(len(left), -1), right.reshape(len(right), -1)
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
    return np.asarray(np.sqrt(np.maximum(squares, 0) / a.shape[1]), np.float32)
