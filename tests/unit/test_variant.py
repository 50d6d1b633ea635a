"""A version in a number format of its own: by which spec it is loaded, and that nothing converts it again."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from modelyard.backends.engine.precision import UnsupportedModel, prepare
from modelyard.manifest import publish, read_manifest
from modelyard.optimizing import graph, int8
from modelyard.parity import TOLERANCES, tolerance_of
from modelyard.spec import Precision, parse_spec
from modelyard.variant import spec_of_version
from tests.integration.optimize_models import wide

SPEC = parse_spec("""\
name: m
inputs: [{name: x, datatype: FP32, shape: [-1, 64]}]
outputs: [{name: scores, datatype: FP32, shape: [-1, 10]}]
backends:
  - {name: tensorrt, precision: fp16}
  - {name: onnxruntime-cpu, tolerance: {rtol: 1.0e-5, atol: 1.0e-5}}
""")


def published(folder: Path, precision: Precision) -> Path:
    artifact = folder / "model.onnx"
    artifact.write_bytes(b"weights")
    return publish(folder / "m", "1", artifact, precision=precision)


def test_a_full_version_is_loaded_as_model_yaml_says(tmp_path: Path) -> None:
    assert spec_of_version(SPEC, read_manifest(published(tmp_path, "fp32"))) is SPEC


@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_a_variant_runs_in_its_own_precision_on_every_link(tmp_path: Path, precision: Precision) -> None:
    spec = spec_of_version(SPEC, read_manifest(published(tmp_path, precision)))
    assert [backend.precision for backend in spec.backends] == [precision, precision]
    assert [tolerance_of(backend) for backend in spec.backends] == [TOLERANCES[precision]] * 2
    assert [backend.name for backend in spec.backends] == ["tensorrt", "onnxruntime-cpu"]
    assert SPEC.backends[0].precision == "fp16"
    assert SPEC.backends[1].precision == "fp32"


def test_a_dynamic_int8_artifact_is_none_for_tensorrt_and_is_not_converted(tmp_path: Path) -> None:
    onnx.save(wide(16), tmp_path / "full.onnx")
    int8.quantize_dynamic(tmp_path / "full.onnx", tmp_path / "int8.onnx", reduce_range=False)
    with pytest.raises(UnsupportedModel, match="QuantizeLinear"):
        prepare(tmp_path / "int8.onnx", "int8", tmp_path)
    assert not (tmp_path / "half.onnx").exists()


def test_an_fp16_artifact_is_not_converted_once_more(tmp_path: Path) -> None:
    onnx.save(wide(16), tmp_path / "full.onnx")
    graph.write_half(tmp_path / "full.onnx", tmp_path / "fp16.onnx")
    assert prepare(tmp_path / "fp16.onnx", "fp16", tmp_path) == tmp_path / "fp16.onnx"
    assert prepare(tmp_path / "full.onnx", "fp16", tmp_path) == tmp_path / "half.onnx"
