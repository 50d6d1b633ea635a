"""Grow a random forest on the rows of `digits`, measure it, export it as ONNX and publish it as a version.

    python models/digits_forest/export.py                 # the next free version; some seconds
    python models/digits_forest/export.py --version 7

Rows and split are those of models/digits/dataset.py: what one model is judged by, no other was trained on. Exits with
1, and publishes nothing, below MINIMUM_ACCURACY on the held-out rows, or when ONNX Runtime and scikit-learn disagree.
The same seed and rows grow the same forest.
"""

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.ensemble import RandomForestClassifier

from modelyard.authoring.parity import check_parity
from modelyard.authoring.script import export_options, finish, installed
from modelyard.errors import ConfigurationError
from modelyard.evaluation import Evaluation
from modelyard.manifest import next_version, publish
from modelyard.tensors import Tensor

FOLDER = Path(__file__).resolve().parent
sys.path.append(str(FOLDER.parent / "digits"))
import dataset  # noqa: E402  # stands in that folder
import trees  # noqa: E402  # asks for `dataset`

ARTIFACT = FOLDER / "build" / "model.onnx"
OPSET = {"": 18, "ai.onnx.ml": 3}
MINIMUM_ACCURACY = 0.95
TOLERANCE = 1e-5
GOLDEN_ROWS = 8
CALIBRATION_ROWS = 256
LIBRARIES = ("scikit-learn", "skl2onnx", "onnx", "onnxruntime", "numpy")


def main() -> None:
    version = export_options(__doc__).version or next_version(FOLDER)
    train, held_out = dataset.load()
    print(f"digits_forest: {len(train.labels)} training rows, {len(held_out.labels)} held out, seed {trees.SEED}")
    forest = trees.grow(train)
    expected = trees.infer(forest, held_out.images)
    wrong = int(np.sum(expected.argmax(axis=1) != held_out.labels))
    accuracy = 1 - wrong / len(held_out.labels)
    print(f"held-out accuracy {accuracy:.4f} ({wrong} of {len(held_out.labels)} wrong), {trees.TREES} trees")
    if accuracy < MINIMUM_ACCURACY:
        raise ConfigurationError(f"the accuracy is below {MINIMUM_ACCURACY}; nothing is published")
    ARTIFACT.parent.mkdir(exist_ok=True)
    onnx.save(_convert(forest), ARTIFACT)
    worst = check_parity(
        ARTIFACT, {"image": held_out.images}, {"probabilities": expected}, tolerance=TOLERANCE, batches=(1, 7, 0)
    )
    folder = publish(
        FOLDER,
        version,
        ARTIFACT,
        golden_inputs=[Tensor.from_array("image", held_out.images[:GOLDEN_ROWS])],
        golden_outputs=[Tensor.from_array("probabilities", expected[:GOLDEN_ROWS])],
        metrics={"accuracy": accuracy},
        libraries=installed(*LIBRARIES),
        evaluation=Evaluation({"image": held_out.images}, held_out.labels, {"image": train.images[:CALIBRATION_ROWS]}),
    )
    print(f"ONNX opset {OPSET['']}, {ARTIFACT.stat().st_size:,} bytes, dynamic batch")
    print(f"parity with scikit-learn on {len(expected)} held-out rows: within {worst:.1e} (allowed {TOLERANCE:.0e})")
    print(f"published digits_forest version {version}: {folder}")


def _convert(forest: RandomForestClassifier) -> onnx.ModelProto:
    """image FP32 [-1, 1, 8, 8] -> probabilities FP32 [-1, 10]: what the network of `digits` takes and gives.

    The thresholds lie halfway between two grey values: float32 holds them exactly, and no row can fall between.
    """
    columns = [("pixels", FloatTensorType([None, forest.n_features_in_]))]
    model: onnx.ModelProto = to_onnx(forest, initial_types=columns, options={"zipmap": False}, target_opset=OPSET)
    graph = model.graph
    graph.node.insert(0, helper.make_node("Flatten", ["image"], ["pixels"], axis=1))
    del graph.input[:], graph.output[:]
    graph.input.append(helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 8, 8]))
    graph.output.append(helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 10]))
    onnx.checker.check_model(model, full_check=True)
    return model


if __name__ == "__main__":
    sys.exit(finish(main))
