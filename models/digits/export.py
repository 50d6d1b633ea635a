"""Export the trained network as ONNX and publish it as a version.

    python models/digits/export.py                 # the next free version
    python models/digits/export.py --version 7

The file is published only when ONNX Runtime and torch agree on every held-out row, at several batch sizes.
The version carries its accuracy, the libraries that made it, and a few held-out rows with their answers (the
golden inputs and outputs) by which a server warms up and checks each backend.
"""

import argparse
import contextlib
import io
import logging
import sys
import warnings
from collections.abc import Iterator
from importlib.metadata import version as installed
from pathlib import Path

import dataset
import network
import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from modelyard.errors import ConfigurationError
from modelyard.manifest import next_version, publish
from modelyard.tensors import Tensor

FOLDER = Path(__file__).resolve().parent
ARTIFACT = network.BUILD / "model.onnx"
OPSET = 18
TOLERANCE = 1e-4
GOLDEN_ROWS = 8
LIBRARIES = ("torch", "onnx", "onnxscript", "onnxruntime", "scikit-learn", "numpy")

Images = NDArray[np.float32]


def main() -> int:
    options = _options()
    version = options.version or next_version(FOLDER)
    try:
        model, report = network.load()
        images = dataset.load()[1].images
        expected = _infer(model, images)
        _export(model, torch.from_numpy(images[:2]))
        worst = _parity(images, expected)
        folder = _publish(version, images[:GOLDEN_ROWS], expected[:GOLDEN_ROWS], report["accuracy"])
    except FileNotFoundError as error:
        print(f"error: {error.filename} is missing; run train.py first", file=sys.stderr)
        return 1
    except (ConfigurationError, ParityError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"ONNX opset {OPSET}, {ARTIFACT.stat().st_size:,} bytes, dynamic batch")
    print(f"parity with torch on {len(images)} held-out rows: within {worst:.1e} (allowed {TOLERANCE:.0e})")
    print(f"published digits version {version}: {folder}")
    return 0


class ParityError(Exception):
    """The exported file answers differently from the network that it was made of."""


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", help="name of the version (default: the next number)")
    return parser.parse_args()


@torch.no_grad()
def _infer(model: network.DigitsNetwork, images: Images) -> Images:
    probabilities: Images = model(torch.from_numpy(images)).numpy()
    return probabilities


def _export(model: network.DigitsNetwork, example: torch.Tensor) -> None:
    """Write the ONNX file. The example has two rows: one could be taken for a constant."""
    with _calm():
        torch.onnx.export(
            model,
            (example,),
            ARTIFACT,
            input_names=["image"],
            output_names=["probabilities"],
            dynamic_shapes={"image": {0: torch.export.Dim("batch")}},
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )


@contextlib.contextmanager
def _calm() -> Iterator[None]:
    """Hold back what the exporter prints of its own progress; an error still comes through."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def _parity(images: Images, expected: Images) -> float:
    """The largest difference between the file's answers and `expected`, in batches of several sizes."""
    session = onnxruntime.InferenceSession(ARTIFACT, providers=["CPUExecutionProvider"])
    worst = 0.0
    for size in (1, 7, len(images)):
        for start in range(0, len(images), size):
            (answer,) = session.run(["probabilities"], {"image": images[start : start + size]})
            worst = max(worst, float(np.max(np.abs(answer - expected[start : start + size]))))
    if not worst <= TOLERANCE:  # so that NaN fails too
        raise ParityError(f"ONNX Runtime and torch differ by {worst}, {TOLERANCE} is allowed")
    return worst


def _publish(version: str, images: Images, expected: Images, accuracy: float) -> Path:
    return publish(
        FOLDER,
        version,
        ARTIFACT,
        golden_inputs=[Tensor.from_array("image", images)],
        golden_outputs=[Tensor.from_array("probabilities", expected)],
        metrics={"accuracy": accuracy},
        libraries={name: installed(name) for name in LIBRARIES},
    )


if __name__ == "__main__":
    sys.exit(main())
