"""The card's text."""

from __future__ import annotations

from typing import Any

from modelyard.cards.latency import Latency, sizes
from modelyard.cards.page import UNSAID, Measured, page
from modelyard.manifest import Manifest
from modelyard.spec import ModelSpec

MEASURED = Measured(
    figures=[Latency(1, 900, 0.1234, 0.5), Latency(64, 300, 2.0, 3.0)],
    notes=["x FP32 [1, 4], as the golden inputs"],
    backend="onnxruntime-cpu",
    precision="fp32",
    machine="a processor, 2 cores",
    date="2026-01-02 03:04 UTC",
    picture="wine-3.png",
)


def spec(**more: Any) -> ModelSpec:
    tensors = {
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}],
        "outputs": [{"name": "y|z", "datatype": "INT64", "shape": [-1]}],
    }
    return ModelSpec.model_validate({"name": "wine", "description": "Tells wines apart.", **tensors, **more})


def manifest(**more: Any) -> Manifest:
    entry = {"sha256": "0" * 64, "bytes": 2_000_000}
    given = {"format": 1, "model": "wine", "version": "3", "artifact": "model.onnx", "files": {"model.onnx": entry}}
    return Manifest.model_validate({**given, "created": "2026-01-01T00:00:00+00:00", **more})


def test_everything_that_is_known_stands_on_it() -> None:
    known = manifest(
        metrics={"accuracy": 0.98123},
        libraries={"skl2onnx": "1.19"},
        precision="int8",
        parent="2",
        comparison={"speed": 2.5},
    )
    text = page(spec(), known, {"Data": "178 wines.", "Limits": "Italy alone."}, MEASURED)
    assert text.startswith("# wine, version 3\n\nTells wines apart.\n")
    for line in (
        "| precision | int8 |",
        "| made from | version 2 |",
        "| input | `x` | FP32 | [-1, 4] |",
        r"| output | `y\|z` | INT64 | [-1] |",
        "178 wines.",
        "Italy alone.",
        "| `accuracy` | 0.9812 |",
        "| `speed` | 2.5 |",
        "| 1 | 0.123 | 0.5 | 8,104 | 900 |",
        "| 64 | 2 | 3 | 32,000 | 300 |",
        "| model.onnx | 2.0 MB |",
        "| skl2onnx | 1.19 |",
    ):
        assert f"\n{line}\n" in text, line
    assert "a processor, 2 cores; 2026-01-02 03:04 UTC. Inputs: x FP32 [1, 4], as the golden inputs." in text
    assert "![latency and rows a second by batch size](wine-3.png)" in text


def test_what_is_not_known_is_said_to_be_unknown() -> None:
    text = page(spec(batching={"max_batch_size": 0}), manifest(), {}, MEASURED)
    assert text.count(UNSAID) == 2
    assert "No figures were recorded." in text
    assert "Without a batch dimension" in text
    assert "made from" not in text


def test_sizes_reach_from_one_row_to_the_most() -> None:
    assert sizes(spec(batching={"max_batch_size": 64})) == [1, 4, 16, 64]
    assert sizes(spec(batching={"max_batch_size": 100})) == [1, 4, 16, 64, 100]
    assert sizes(spec(batching={"max_batch_size": 1})) == [1]
    assert sizes(spec(batching={"max_batch_size": 0})) == [0]
