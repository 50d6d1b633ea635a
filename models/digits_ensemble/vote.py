"""The vote: how the members' probabilities become one answer, in NumPy and as ONNX."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from modelyard.errors import ConfigurationError
from modelyard.spec import read_spec
from modelyard.tensors import Array

FOLDER = Path(__file__).resolve().parent
REPOSITORY = FOLDER.parent
BUILD = FOLDER / "build"
SHARES = BUILD / "shares.json"

MEMBERS = {member.model: member.outputs["probabilities"] for member in read_spec(FOLDER).ensemble}
"""Each member, in the order of its votes, and the input of the vote that takes its probabilities."""
Probabilities = NDArray[np.float32]
CLASSES = 10
LEAST = 1e-7
OPSET = 18
IR_VERSION = 10


class Share(NamedTuple):
    """How a member counts. Its probabilities are raised to `power` and add up to 1 again: sharper above 1."""

    weight: float
    power: float


Shares = Mapping[str, Share]
"""By the member's name; the weights add up to 1."""


def save_shares(shares: Shares, accuracy: float) -> None:
    """`accuracy` is that of the vote on the training rows, cross-fitted."""
    BUILD.mkdir(exist_ok=True)
    members = {member: share._asdict() for member, share in shares.items()}
    SHARES.write_text(json.dumps({"members": members, "cross_fitted_accuracy": accuracy}, indent=1) + "\n", "utf-8")


def load_shares() -> tuple[Shares, float]:
    """The shares, and the accuracy. Raises FileNotFoundError when there was no training."""
    report = json.loads(SHARES.read_text("utf-8"))
    shares = {member: Share(**share) for member, share in report["members"].items()}
    if shares.keys() != MEMBERS.keys():
        raise ConfigurationError(f"{SHARES} has the shares of other members; run train.py again")
    return shares, float(report["cross_fitted_accuracy"])


def shown(shares: Shares) -> str:
    return ", ".join(f"{member} {share.weight:g} (power {share.power:g})" for member, share in shares.items())


def sharpen(probabilities: Probabilities, power: float) -> Probabilities:
    raised = probabilities ** np.float32(power)
    sharper: Probabilities = raised / raised.sum(axis=1, keepdims=True)
    return sharper


def log_loss(probabilities: Probabilities, labels: NDArray[np.int64]) -> float:
    """Of the true digits' probabilities. A forest may be certain and wrong: the logarithm stays finite."""
    right = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(right, LEAST)).mean())


def count(inputs: Mapping[str, Probabilities], shares: Shares) -> dict[str, Array]:
    """What the vote answers, in NumPy. `inputs` are probabilities [n, 10] by the names of the vote's inputs."""
    mean = np.zeros_like(next(iter(inputs.values())))
    for member, name in MEMBERS.items():
        mean = mean + sharpen(inputs[name], shares[member].power) * np.float32(shares[member].weight)
    votes = np.stack([inputs[name].argmax(axis=1) for name in MEMBERS.values()], axis=1)
    return {
        "probabilities": mean,
        "label": mean.argmax(axis=1),
        "votes": votes,
        "agree": votes.min(axis=1) == votes.max(axis=1),
    }


def graph(shares: Shares) -> onnx.ModelProto:
    """The same as ONNX: probabilities of each member FP32 [-1, 10] -> probabilities, label, votes, agree."""
    nodes, constants = [], [helper.make_tensor("per_row", TensorProto.INT64, [1], [1])]
    for member, name in MEMBERS.items():
        for what, number in shares[member]._asdict().items():
            constants.append(helper.make_tensor(f"{name}_{what}", TensorProto.FLOAT, [], [number]))
        nodes += [
            helper.make_node("Pow", [name, f"{name}_power"], [f"{name}_raised"]),
            helper.make_node("ReduceSum", [f"{name}_raised", "per_row"], [f"{name}_total"], keepdims=1),
            helper.make_node("Div", [f"{name}_raised", f"{name}_total"], [f"{name}_sharper"]),
            helper.make_node("Mul", [f"{name}_sharper", f"{name}_weight"], [f"{name}_part"]),
            helper.make_node("ArgMax", [name], [f"{name}_ballot"], axis=1, keepdims=1),
        ]
    nodes += [
        helper.make_node("Sum", [f"{name}_part" for name in MEMBERS.values()], ["probabilities"]),
        helper.make_node("ArgMax", ["probabilities"], ["label"], axis=1, keepdims=0),
        helper.make_node("Concat", [f"{name}_ballot" for name in MEMBERS.values()], ["votes"], axis=1),
        helper.make_node("ReduceMin", ["votes", "per_row"], ["least"], keepdims=0),
        helper.make_node("ReduceMax", ["votes", "per_row"], ["most"], keepdims=0),
        helper.make_node("Equal", ["least", "most"], ["agree"]),
    ]
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "vote",
            [_value(name, TensorProto.FLOAT, CLASSES) for name in MEMBERS.values()],
            [
                _value("probabilities", TensorProto.FLOAT, CLASSES),
                _value("label", TensorProto.INT64),
                _value("votes", TensorProto.INT64, len(MEMBERS)),
                _value("agree", TensorProto.BOOL),
            ],
            constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def _value(name: str, datatype: int, *dimensions: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, datatype, ["batch", *dimensions])
