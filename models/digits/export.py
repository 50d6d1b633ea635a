"""Export the trained network as ONNX and publish it as a version.

    python models/digits/export.py                 # the next free version
    python models/digits/export.py --version 7

The file is published only when ONNX Runtime and torch agree on every held-out row, at several batch sizes.
The version carries its accuracy, the libraries that made it, a few held-out rows with their answers (the golden
inputs and outputs) by which a server warms up and checks each backend, and all of them with their labels, by which
`modelyard optimize` judges a faster variant.
"""

import sys
from pathlib import Path

import dataset
import network
import numpy as np
import torch
from numpy.typing import NDArray

from modelyard.authoring.parity import check_parity
from modelyard.authoring.script import export_options, finish, installed
from modelyard.authoring.torch_export import OPSET, export_torch
from modelyard.evaluation import Evaluation
from modelyard.manifest import next_version, publish
from modelyard.tensors import Tensor

FOLDER = Path(__file__).resolve().parent
ARTIFACT = network.BUILD / "model.onnx"
TOLERANCE = 1e-4
GOLDEN_ROWS = 8
CALIBRATION_ROWS = 256
LIBRARIES = ("torch", "onnx", "onnxscript", "onnxruntime", "scikit-learn", "numpy")


def main() -> None:
    version = export_options(__doc__).version or next_version(FOLDER)
    model, report = network.load()
    train, held_out = dataset.load()
    images, expected = held_out.images, _infer(model, held_out.images)
    export_torch(
        model,
        (torch.from_numpy(images[:2]),),
        ARTIFACT,
        inputs=["image"],
        outputs=["probabilities"],
        dynamic_shapes={"image": {0: torch.export.Dim("batch")}},
    )
    worst = check_parity(ARTIFACT, {"image": images}, {"probabilities": expected}, tolerance=TOLERANCE)
    folder = publish(
        FOLDER,
        version,
        ARTIFACT,
        golden_inputs=[Tensor.from_array("image", images[:GOLDEN_ROWS])],
        golden_outputs=[Tensor.from_array("probabilities", expected[:GOLDEN_ROWS])],
        metrics={"accuracy": report["accuracy"]},
        libraries=installed(*LIBRARIES),
        evaluation=Evaluation({"image": images}, held_out.labels, {"image": train.images[:CALIBRATION_ROWS]}),
    )
    print(f"ONNX opset {OPSET}, {ARTIFACT.stat().st_size:,} bytes, dynamic batch")
    print(f"parity with torch on {len(images)} held-out rows: within {worst:.1e} (allowed {TOLERANCE:.0e})")
    print(f"published digits version {version}: {folder}")


@torch.no_grad()
def _infer(model: network.DigitsNetwork, images: NDArray[np.float32]) -> NDArray[np.float32]:
    probabilities: NDArray[np.float32] = model(torch.from_numpy(images)).numpy()
    return probabilities


if __name__ == "__main__":
    sys.exit(finish(main))
