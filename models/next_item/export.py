"""Export the trained network as ONNX and publish it as a version.

    python models/next_item/export.py                 # the next free version
    python models/next_item/export.py --version 7

The file is published only when ONNX Runtime and torch agree on every held-out row, and on some of them padded to every
bucket, at several batch sizes. The version carries its recall beside that of the baselines and of the generator.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import dataset
import network
import numpy as np
import torch
from generator import ITEMS

from modelyard.authoring.parity import check_parity
from modelyard.authoring.script import export_options, finish, installed
from modelyard.authoring.torch_export import OPSET, export_torch
from modelyard.authoring.weights import load_weights
from modelyard.evaluation import Evaluation
from modelyard.manifest import next_version, publish
from modelyard.tensors import Array, Tensor

FOLDER = Path(__file__).resolve().parent
ARTIFACT = network.BUILD / "model.onnx"
INPUTS = ("items", "timestamps")
OUTPUTS = ("next_items", "scores", "new_items", "new_scores")
BUCKETS = (8, 16, 32, 64, 100)
"""Lengths that rows are padded to for the comparison; the last is longer than any that counts."""
PADDED_ROWS = 300
"""Of those that fit into a length."""
TOLERANCE = 1e-4
CLEAR = 1e-5
"""Ids are compared where all neighbours in a ranking differ by this share: below, rounding decides their order."""
GOLDEN_ROWS = 8
CALIBRATION_ROWS = 256
FIGURES = ("recall_at_10", "popularity", "first_order", "second_order", "oracle_without_drift", "oracle")
LIBRARIES = ("torch", "onnx", "onnxscript", "onnxruntime", "numpy")


def main() -> None:
    options = export_options(__doc__)
    version = options.version or next_version(FOLDER)
    report = json.loads(network.REPORT.read_text(encoding="utf-8"))
    model = network.NextItemNetwork(ITEMS).eval()
    load_weights(network.WEIGHTS, model)
    data = dataset.load()
    shown = dataset.rows(data.held_out, data.cuts)
    inputs = dict(zip(INPUTS, (shown.items, shown.timestamps), strict=True))
    _export(model, inputs)
    expected = network.answers(model, shown.items, shown.timestamps)
    worst = _check(inputs, dict(zip(OUTPUTS, expected, strict=True)))
    print(f"ONNX opset {OPSET}, {ARTIFACT.stat().st_size:,} bytes, free batch and length")
    print(f"parity with torch on {len(shown.truth):,} held-out rows: within {worst:.1e}")
    print(f"{PADDED_ROWS} of them padded to each of {BUCKETS}")
    golden = np.argsort(-_clearness(expected[1], expected[3]))[:GOLDEN_ROWS]
    folder = publish(
        FOLDER,
        version,
        ARTIFACT,
        golden_inputs=[Tensor.from_array(name, array[golden]) for name, array in inputs.items()],
        golden_outputs=[Tensor.from_array(n, a[golden]) for n, a in zip(OUTPUTS, expected, strict=True)],
        metrics={name: report[name] for name in FIGURES},
        libraries=installed(*LIBRARIES),
        evaluation=Evaluation(inputs, shown.truth, _calibration(data)),
    )
    print(f"published next_item version {version}: {folder}")


def _export(model: network.NextItemNetwork, inputs: Mapping[str, Array]) -> None:
    sizes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length")}
    example = tuple(torch.from_numpy(array[:3, :9]) for array in inputs.values())
    export_torch(model, example, ARTIFACT, inputs=INPUTS, outputs=OUTPUTS, dynamic_shapes=dict.fromkeys(INPUTS, sizes))


def _check(inputs: Mapping[str, Array], expected: Mapping[str, Array]) -> float:
    """The largest difference of a score: all rows as they are, some padded to every length. Clear ids are the same."""
    scores = {name: array for name, array in expected.items() if array.dtype == np.float32}
    clear = _clearness(*scores.values()) > CLEAR
    worst = check_parity(ARTIFACT, inputs, scores, tolerance=TOLERANCE, batches=(64,))
    lengths = (inputs["items"] > 0).sum(axis=1)
    for bucket in BUCKETS:
        chosen = np.flatnonzero(clear & (lengths <= bucket))[:PADDED_ROWS]
        padded = {name: _padded(array[chosen], bucket) for name, array in inputs.items()}
        answers = {name: array[chosen] for name, array in expected.items()}
        worst = max(worst, check_parity(ARTIFACT, padded, answers, tolerance=TOLERANCE))
    return worst


def _padded(array: Array, length: int) -> Array:
    """Cut, or filled with 0 on the right, to `length`."""
    more = max(length - array.shape[1], 0)
    return np.pad(array[:, :length], ((0, 0), (0, more)))


def _clearness(*scores: Array) -> Array:
    """[n]: the least relative distance of two neighbours in any of the rankings [n, TOP]."""
    least = [(-np.diff(part, axis=1) / part[:, :-1]).min(axis=1) for part in scores]
    clearness: Array = np.min(least, axis=0)
    return clearness


def _calibration(data: dataset.Data) -> dict[str, Array]:
    """Training rows, to find the ranges of an INT8 variant."""
    sessions = data.train.take(np.arange(CALIBRATION_ROWS))
    shown = dataset.rows(sessions, dataset.random_cuts(sessions, seed=0))
    return dict(zip(INPUTS, (shown.items, shown.timestamps), strict=True))


if __name__ == "__main__":
    sys.exit(finish(main))
