"""Export the vote as ONNX, measure the ensemble with its members' own versions, and publish it as a version.

    python models/digits_ensemble/export.py                 # the next free version
    python models/digits_ensemble/export.py --version 7

The members are asked as a server asks them: the version that each serves, by its own file. What the vote makes of it
is published only when ONNX Runtime and NumPy agree on every held-out row. The version's golden rows and its evaluation
are of the vote: what the members said of held-out rows, and the answer.
"""

import logging
import sys
from collections.abc import Mapping

import numpy as np
import onnx
import vote
from numpy.typing import NDArray

from modelyard.authoring.parity import check_parity
from modelyard.authoring.script import export_options, finish, installed
from modelyard.drift.make import Rows
from modelyard.evaluation import Evaluation
from modelyard.manifest import next_version, publish
from modelyard.repository import load_model
from modelyard.tensors import Array, Tensor

sys.path.append(str(vote.REPOSITORY / "digits"))
import dataset  # the rows and their split

ARTIFACT = vote.BUILD / "model.onnx"
TOLERANCE = 1e-6
GOLDEN_ROWS = 8
LIBRARIES = ("onnx", "onnxruntime", "numpy", "scikit-learn")


def main() -> None:
    logging.basicConfig(level=logging.ERROR)  # which backends a member has not here is no news
    version = export_options(__doc__).version or next_version(vote.FOLDER)
    shares, cross_fitted = vote.load_shares()
    _, held_out = dataset.load()
    inputs = {name: _ask(member, held_out.images) for member, name in vote.MEMBERS.items()}
    expected = vote.count(inputs, shares)
    onnx.save(vote.graph(shares), ARTIFACT)
    worst = check_parity(ARTIFACT, inputs, expected, tolerance=TOLERANCE)
    metrics = _measure(inputs, expected, held_out.labels) | {"cross_fitted_accuracy": cross_fitted}
    golden = _golden_rows(expected["agree"])
    folder = publish(
        vote.FOLDER,
        version,
        ARTIFACT,
        golden_inputs=_tensors(inputs, golden),
        golden_outputs=_tensors(expected, golden),
        metrics=metrics,
        libraries=installed(*LIBRARIES),
        evaluation=Evaluation(inputs, held_out.labels),
        rows=Rows({"image": held_out.images}, expected),
    )
    print(f"on {len(held_out.labels)} held-out rows:")
    for name, value in metrics.items():
        print(f"  {name:28} {value:.4f}")
    print(f"shares: {vote.shown(shares)}")
    print(f"ONNX opset {vote.OPSET}, parity with NumPy: within {worst:.1e} (allowed {TOLERANCE:.0e})")
    print(f"published digits_ensemble version {version}: {folder}")


def _ask(member: str, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """The probabilities [n, 10] that a member's default version gives. Raises ConfigurationError when it has none."""
    model = load_model(vote.REPOSITORY, member)
    served = model.versions[model.default]
    print(f"asking {member} version {served.version} on {served.chain.active.name}", flush=True)
    probabilities: NDArray[np.float32] = served.chain.infer([images], ["probabilities"])[0]
    return probabilities


def _measure(
    inputs: Mapping[str, vote.Probabilities], answers: Mapping[str, Array], labels: NDArray[np.int64]
) -> dict[str, float]:
    """Shares of rows: right together and each alone, of one mind, right where they are; and the log losses."""
    agree, right = answers["agree"], answers["label"] == labels
    metrics = {
        "accuracy": float(np.mean(right)),
        "agreement": float(np.mean(agree)),
        "accuracy_in_agreement": float(np.mean(right[agree])),
        "log_loss": vote.log_loss(answers["probabilities"], labels),
    }
    for place, (member, name) in enumerate(vote.MEMBERS.items()):
        metrics[f"{member}_accuracy"] = float(np.mean(answers["votes"][:, place] == labels))
        metrics[f"{member}_log_loss"] = vote.log_loss(inputs[name], labels)
    return metrics


def _golden_rows(agree: NDArray[np.bool_]) -> list[int]:
    """As many rows on which the members differ as there are, up to half; the others are the first ones."""
    differ = np.flatnonzero(~agree)[: GOLDEN_ROWS // 2].tolist()
    same = np.flatnonzero(agree)[: GOLDEN_ROWS - len(differ)].tolist()
    return [*differ, *same]


def _tensors(arrays: Mapping[str, Array], rows: list[int]) -> list[Tensor]:
    return [Tensor.from_array(name, array[rows]) for name, array in arrays.items()]


if __name__ == "__main__":
    sys.exit(finish(main))
