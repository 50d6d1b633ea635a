"""Export the forest as ONNX and publish it as a version.

    python models/wine/export.py                 # the next free version
    python models/wine/export.py --version 7

The file is published only when ONNX Runtime and scikit-learn agree on every row of the data and on both sides of every
threshold of every tree: a forest answers in steps, and there a rounding to float32 would show. The version carries
its accuracy, the libraries that made it, the held-out rows, and a few of them with their answers (the golden inputs
and outputs) by which a server warms up and checks each backend.
"""

import sys
from pathlib import Path

import dataset
import forest
import numpy as np
from numpy.typing import NDArray
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.ensemble import RandomForestClassifier

from modelyard.authoring.parity import ALL, check_parity
from modelyard.authoring.script import export_options, finish, installed
from modelyard.errors import ConfigurationError
from modelyard.evaluation import Evaluation
from modelyard.manifest import next_version, publish
from modelyard.tensors import Tensor

FOLDER = Path(__file__).resolve().parent
ARTIFACT = forest.BUILD / "model.onnx"
OPSET = {"": 18, "ai.onnx.ml": 3}
TOLERANCE = 1e-5
GOLDEN_ROWS = 8
LIBRARIES = ("scikit-learn", "skl2onnx", "onnx", "onnxruntime", "numpy")
METRICS = ("accuracy", "baseline_accuracy", "cross_validated_accuracy")

Features = NDArray[np.float32]
Answers = dict[str, NDArray[np.float32] | NDArray[np.int64]]


def main() -> None:
    options = export_options(__doc__)
    version = options.version or next_version(FOLDER)
    report = forest.load_report()
    train, held_out = dataset.load()
    grown = forest.grow(train, report["seed"])
    _check_same(grown, held_out, report["accuracy"])
    ARTIFACT.write_bytes(_convert(grown))
    rows = np.concatenate([dataset.load_all().features, _at_thresholds(grown, train.features)])
    worst = check_parity(ARTIFACT, {"features": rows}, _answers(grown, rows), tolerance=TOLERANCE, batches=(ALL, 61))
    golden = held_out.features[:GOLDEN_ROWS]
    folder = publish(
        FOLDER,
        version,
        ARTIFACT,
        golden_inputs=[Tensor.from_array("features", golden)],
        golden_outputs=[Tensor.from_array(name, array) for name, array in _answers(grown, golden).items()],
        metrics={name: report[name] for name in METRICS},
        libraries=installed(*LIBRARIES),
        evaluation=Evaluation({"features": held_out.features}, held_out.labels, {"features": train.features}),
    )
    print(f"ONNX opset {OPSET['']}, {ARTIFACT.stat().st_size:,} bytes, dynamic batch")
    print(f"parity with scikit-learn on {len(rows):,} rows, thresholds included: the same labels,")
    print(f"probabilities within {worst:.1e} (allowed {TOLERANCE:.0e})")
    print(f"published wine version {version}: {folder}")


def _check_same(grown: RandomForestClassifier, held_out: dataset.Rows, accuracy: float) -> None:
    """What is exported is what was measured: other libraries may grow other trees from the same seed."""
    now = float(np.mean(grown.predict(held_out.features) == held_out.labels))
    if now != accuracy:
        raise ConfigurationError(
            f"the forest has an accuracy of {now:.4f}, train.py found {accuracy:.4f}: run it again"
        )


def _convert(grown: RandomForestClassifier) -> bytes:
    """`label` and `probabilities` as plain tensors: zipmap would make a list of dictionaries of the latter."""
    columns = FloatTensorType([None, grown.n_features_in_])
    model = to_onnx(grown, initial_types=[("features", columns)], options={"zipmap": False}, target_opset=OPSET)
    content: bytes = model.SerializeToString()
    return content


def _answers(grown: RandomForestClassifier, features: Features) -> Answers:
    """What scikit-learn says."""
    return {
        "label": grown.predict(features).astype(np.int64),
        "probabilities": grown.predict_proba(features).astype(np.float32),
    }


def _at_thresholds(grown: RandomForestClassifier, features: Features) -> Features:
    """Known wines with one measurement moved to a threshold: the nearest float32, the one below, the one above."""
    rows: list[Features] = []
    for estimator in grown.estimators_:
        tree = estimator.tree_
        for column, threshold in zip(tree.feature, tree.threshold, strict=True):
            if column < 0:  # a leaf
                continue
            nearest = np.float32(threshold)
            for value in (
                np.nextafter(nearest, np.float32(-np.inf)),
                nearest,
                np.nextafter(nearest, np.float32(np.inf)),
            ):
                row = features[len(rows) % len(features)].copy()
                row[column] = value
                rows.append(row)
    return np.stack(rows)


if __name__ == "__main__":
    sys.exit(finish(main))
