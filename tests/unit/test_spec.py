"""model.yaml: what it says, and complaints that name file, line and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelyard.errors import ConfigurationError
from modelyard.spec import parse_spec, read_spec

GOOD = """\
name: digits
inputs:
  - {name: image, datatype: FP32, shape: [-1, 8, 8]}
outputs:
  - {name: probabilities, datatype: FP32, shape: [-1, 10]}
"""
ON_CPU = "backends: [{name: onnxruntime-cpu}]\n"
REVERSED = "[{name: onnxruntime-cpu}, {name: tensorrt}]"
LAST = "[{name: onnxruntime-cuda}, {name: tensorrt}]"
ENGINE = "backends: [{{name: tensorrt, shapes: {{{}}}}}, {{name: onnxruntime-cpu}}]\nname: digits"


def refused(text: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        parse_spec(text, "m/model.yaml")
    return str(caught.value)


def test_the_least_that_a_spec_says_gets_the_defaults() -> None:
    spec = parse_spec(GOOD)
    assert (spec.name, spec.batched, spec.batching.max_batch_size) == ("digits", True, 32)
    assert [backend.name for backend in spec.backends] == ["tensorrt", "onnxruntime-cuda", "onnxruntime-cpu"]
    assert (spec.cache.enabled, spec.cache.tiers, spec.cache.ttl_seconds) == (True, ("memory", "redis"), 3600)
    assert spec.inputs[0].shape == (-1, 8, 8)
    assert spec.objectives.model_dump() == {"availability": 0.999, "latency": 0.99, "latency_seconds": 0.25}


@pytest.mark.parametrize(
    ("more", "line", "place", "hint"),
    [
        ("batchin: {}\n", 6, "batchin", "did you mean 'batching'"),
        ("batching:\n  max_batch_sise: 4\n", 7, "batching.max_batch_sise", "did you mean 'max_batch_size'"),
        ("cache: {ttl: 4}\n", 6, "cache.ttl", "known are enabled, ttl_seconds, tiers"),
        ("backends:\n  - name: onnxruntime-cpu\n    precison: fp16\n", 8, "backends[0].precison", "precision"),
        ("backends: [{name: onnx}]\n", 6, "backends[0].name", "tensorrt"),
        ("batching: {max_batch_size: -1}\n", 6, "batching.max_batch_size", "greater"),
        ("limits: {queue_seconds: 0}\n", 6, "limits.queue_seconds", "greater"),
        ("cache: {ttl_seconds: .nan}\n", 6, "cache.ttl_seconds", ""),
        ("cache: {ttl_seconds: .inf}\n", 6, "cache.ttl_seconds", ""),
        ("service: nonsense\n", 6, "service", "pattern"),
        ("objectives: {availability: 1}\n", 6, "objectives.availability", "less than 1"),
        ("objectives:\n  latency: 0.99\n  latency_seconds: 0.3\n", 8, "objectives.latency_seconds", "use one of"),
        ("objectives: {latency_secons: 1}\n", 6, "objectives.latency_secons", "did you mean 'latency_seconds'"),
    ],
)
def test_a_fault_names_file_line_and_key(more: str, line: int, place: str, hint: str) -> None:
    text = refused(GOOD + more)
    assert text.startswith(f"m/model.yaml:{line}: {place}: ")
    assert hint in text


def test_every_fault_has_a_line_of_its_own() -> None:
    assert len(refused(GOOD + "one: 1\ntwo: 2\n").splitlines()) == 2


def test_a_missing_key_is_told_at_the_place_where_it_belongs() -> None:
    assert refused(GOOD.replace("name: image, ", "")).startswith("m/model.yaml:3: inputs[0].name: is missing")


@pytest.mark.parametrize(
    ("text", "line", "key"),
    [
        (GOOD + "name: again\n", 6, "name"),
        (GOOD + "cache: {enabled: true, enabled: false}\n", 6, "enabled"),
        (GOOD.replace("datatype: FP32, shape: [-1, 8, 8]", "datatype: FP32, shape: [-1, 8, 8], name: x"), 3, "name"),
    ],
)
def test_a_key_that_stands_twice_is_refused(text: str, line: int, key: str) -> None:
    assert refused(text) == f"m/model.yaml:{line}: the key '{key}' stands twice"


@pytest.mark.parametrize(
    ("old", "new", "hint"),
    [
        ("FP32, shape: [-1, 8", "FLOAT, shape: [-1, 8", "is no datatype"),
        ("[-1, 8, 8]", "[4, 8, 8]", "the first dimension"),
        ("[-1, 8, 8]", "[]", "the first dimension"),
        ("[-1, 8, 8]", "[-1, -2]", "greater"),
        ("name: digits", "name: ../digits", "pattern"),
        ("name: digits", "name: .hidden", "pattern"),
        ("name: digits", f"minimum_backend: tensorrt\n{ON_CPU}name: digits", "not among the backends"),
        ("name: digits", "backends: [{name: tensorrt}]\nname: digits", "needs an ONNX Runtime backend"),
        ("name: digits", f"backends: {REVERSED}\nname: digits", "tensorrt after onnxruntime-cpu would never be used"),
        ("name: digits", f"backends: {LAST}\nname: digits", "needs an ONNX Runtime backend after it"),
        ("name: digits", ON_CPU.replace("}]", "}, {name: onnxruntime-cpu}]") + "name: digits", "stands twice"),
        ("name: digits", ENGINE.format("other: {min: [1], opt: [1], max: [1]}"), "shapes of 'other'"),
        ("name: digits", ENGINE.format("image: {min: [1], opt: [1], max: [1]}"), "1 dimensions"),
        (
            "name: digits",
            ENGINE.format("image: {min: [2, 1], opt: [1, 1], max: [3, 3]}"),
            "min <= opt",
        ),
        (
            "name: digits",
            ENGINE.format("image: {min: [1], opt: [1, 1], max: [3]}"),
            "different numbers",
        ),
        ("image, datatype", "image, datatype: FP32, shape: [-1]}\n  - {name: image, datatype", "stands twice"),
    ],
)
def test_what_contradicts_itself_is_refused(old: str, new: str, hint: str) -> None:
    assert old in GOOD
    assert hint in refused(GOOD.replace(old, new))


@pytest.mark.parametrize(
    "text", ["", "[]", "word", "a: [", "\t", "a: b: c", "- 1", "\0", "!!python/object:os.system {}"]
)
def test_what_is_no_spec_is_refused_with_its_name(text: str) -> None:
    assert refused(text).startswith("m/model.yaml")


@pytest.mark.parametrize("value", ["&a [*a]", "2024-13-45"])
def test_yaml_that_cannot_be_built_is_refused_with_its_name(value: str) -> None:
    assert refused(GOOD + f"description: {value}\n").startswith("m/model.yaml")


def test_without_batching_any_shape_will_do() -> None:
    spec = parse_spec(GOOD.replace("[-1, 8, 8]", "[]") + "batching: {max_batch_size: 0}\n")
    assert not spec.batched


def test_a_folder_holds_the_model_of_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "digits"
    with pytest.raises(ConfigurationError, match="there is no model 'digits'"):
        read_spec(folder)
    folder.mkdir()
    (folder / "model.yaml").write_text(GOOD)
    assert read_spec(folder).name == "digits"
    with pytest.raises(ConfigurationError, match="the folder is called 'other'"):
        read_spec(folder.rename(tmp_path / "other"))


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model.yaml").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ConfigurationError, match=r"model\.yaml"):
        read_spec(tmp_path)


@pytest.mark.parametrize("batching", ["{max_batch_size: 8, merge_rows: 9}", "{max_batch_size: 0, merge_rows: 1}"])
def test_runs_are_not_merged_beyond_the_batch(batching: str) -> None:
    assert "batching: merge_rows" in refused(GOOD.replace("[-1, 8, 8]", "[-1]") + f"batching: {batching}\n")


def test_merging_and_executors_are_left_to_the_server_by_default() -> None:
    batching = parse_spec(GOOD + "batching: {max_batch_size: 8}\n").batching
    assert (batching.merge_rows, batching.executors) == (0, 0)
    batching = parse_spec(GOOD + "batching: {max_batch_size: 8, merge_rows: 8, executors: 3}\n").batching
    assert (batching.merge_rows, batching.executors) == (8, 3)
