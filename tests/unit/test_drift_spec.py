"""The `drift` section of model.yaml: what it takes, and that a complaint names the line."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelyard.drift.features import plan
from modelyard.drift_spec import MAX_FEATURES
from modelyard.errors import ConfigurationError
from modelyard.spec import parse_spec, read_spec
from wine_service.measurements import WineMeasurements

YAML = """\
name: m
inputs:
  - {name: x, datatype: FP32, shape: [-1, 3]}
  - {name: image, datatype: UINT8, shape: [-1, 8, 8]}
  - {name: ids, datatype: INT64, shape: [-1, -1]}
  - {name: text, datatype: BYTES, shape: [-1, 1]}
outputs: [{name: y, datatype: FP32, shape: [-1, 2]}]
"""


def names(section: str = "{}") -> list[str]:
    return [feature.name for feature in plan(parse_spec(f"{YAML}drift: {section}\n"))]


def test_the_defaults() -> None:
    of_a_summary = ["mean", "deviation", "minimum", "maximum", "zeros"]
    assert names() == [
        *("x[0]", "x[1]", "x[2]"),
        *(f"image.{what}" for what in of_a_summary),
        *(f"ids.{what}" for what in ("length", *of_a_summary)),
        "text",
    ]


def test_names_inputs_and_padding() -> None:
    assert names("{names: {x: [a, b, c]}, inputs: [x]}") == ["a", "b", "c"]
    assert names("{inputs: [ids], padding: [ids]}") == [
        f"ids.{w}" for w in ("length", "mean", "deviation", "minimum", "maximum")
    ]


def test_the_columns_of_wine_are_called_as_in_its_typed_api() -> None:
    spec = read_spec(Path(__file__).resolve().parents[2] / "models" / "wine")
    assert list(spec.drift.names["features"]) == list(WineMeasurements.model_fields)


def test_what_does_not_fit_element_by_element_is_summed_up() -> None:
    inputs = "".join(f"  - {{name: i{n}, datatype: FP32, shape: [-1, 20]}}\n" for n in range(9))
    spec = parse_spec(f"name: m\ninputs:\n{inputs}outputs: [{{name: y, datatype: FP32, shape: [-1]}}]\n")
    found = [feature.name for feature in plan(spec)]
    assert found[:20] == [f"i0[{n}]" for n in range(20)]
    assert found[20] == "i1.mean"
    assert len(found) == MAX_FEATURES


@pytest.mark.parametrize(
    ("section", "complaint"),
    [
        ("{name: {x: [a]}}", "model.yaml:8: drift.name: unknown key; did you mean 'names'?"),
        ("{names: {x: [a, b]}}", "2 names for 'x', which has 3 elements a row"),
        ("{names: {x: [a, a, b]}}", "a name stands twice"),
        ("{names: {z: [a]}}", "there is no 'z'"),
        ("{names: {ids: [a]}}", "1 names for 'ids', which has rows of no fixed size"),
        ("{inputs: [z]}", "there is no 'z'; known are x, image, ids, text"),
        ("{prediction: z}", "prediction: there is no 'z'"),
        ("{redact: [z]}", "redact: there is no 'z'"),
        ("{padding: [z]}", "padding: there is no 'z'"),
        ("{ranges: {a: [0, 1]}}", "'a' is none of the names"),
        ("{names: {x: [a, b, c]}, ranges: {a: [2, 1]}}", "2 is above 1"),
    ],
)
def test_what_is_wrong_is_said(section: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        names(section)
    assert complaint in str(caught.value)
    assert "model.yaml:" in str(caught.value)
