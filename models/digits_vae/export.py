"""Export the trained decoder as ONNX and publish it as a version.

    python models/digits_vae/export.py                 # the next free version
    python models/digits_vae/export.py --version 7

The file is published only when ONNX Runtime and torch agree on generated images of every class. The version carries
its quality, the libraries that made it, some rows with their images (the golden inputs and outputs) and a larger set of
rows by which `modelyard optimize` judges a faster variant.
"""

import sys
from pathlib import Path

import network
import numpy as np
import quality
import torch

from modelyard.authoring.parity import check_parity
from modelyard.authoring.script import export_options, finish, installed
from modelyard.authoring.torch_export import OPSET, export_torch
from modelyard.evaluation import Evaluation
from modelyard.manifest import next_version, publish
from modelyard.tensors import Tensor

FOLDER = Path(__file__).resolve().parent
ARTIFACT = network.BUILD / "model.onnx"
TOLERANCE = 1e-3
"""In pixels, which go to 16."""
EACH = 40
GOLDEN_ROWS = 10
SEED, CALIBRATION_SEED = 21, 22
LIBRARIES = ("torch", "onnx", "onnxscript", "onnxruntime", "scikit-learn", "numpy")


def main() -> None:
    version = export_options(__doc__).version or next_version(FOLDER)
    decoder, report = network.load()
    inputs = _inputs(SEED)
    with torch.no_grad():
        expected = decoder(*(torch.from_numpy(array) for array in inputs.values())).numpy()
    export_torch(
        decoder,
        tuple(torch.from_numpy(array[:2]) for array in inputs.values()),
        ARTIFACT,
        inputs=list(inputs),
        outputs=["image"],
        dynamic_shapes={name: {0: torch.export.Dim("batch")} for name in inputs},
    )
    worst = check_parity(ARTIFACT, inputs, {"image": expected}, tolerance=TOLERANCE)
    folder = publish(
        FOLDER,
        version,
        ARTIFACT,
        golden_inputs=[Tensor.from_array(name, array[:GOLDEN_ROWS]) for name, array in inputs.items()],
        golden_outputs=[Tensor.from_array("image", expected[:GOLDEN_ROWS])],
        metrics=report["metrics"],
        libraries=installed(*LIBRARIES),
        evaluation=Evaluation(inputs, calibration=_inputs(CALIBRATION_SEED)),
    )
    print(f"ONNX opset {OPSET}, {ARTIFACT.stat().st_size:,} bytes, dynamic batch")
    print(f"parity with torch on {len(expected)} images: within {worst:.1e} of 16 (allowed {TOLERANCE:.0e})")
    print(f"published digits_vae version {version}: {folder}")


def _inputs(seed: int) -> dict[str, np.ndarray]:
    """Rows of every class, in turn, and one without a class in eleven."""
    labels, latents = quality.draw(EACH, seed)
    order = np.arange(len(labels)).reshape(-1, EACH).T.ravel()
    labels = labels[order]
    labels[network.DIGITS :: network.DIGITS + 1] = network.NO_CLASS
    return {"label": labels, "latent": latents}


if __name__ == "__main__":
    sys.exit(finish(main))
