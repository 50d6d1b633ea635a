"""What an ensemble is made of: found on disk, held together by names, shapes and rows, or refused with the reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from modelyard.errors import ConfigurationError
from modelyard.members import artifact_spec, with_members
from modelyard.spec import ModelSpec, TensorSpec, read_spec

Document = dict[str, Any]


def member(name: str, **changes: Any) -> Document:
    """x FP32 [-1, 4] -> y FP32 [-1, 2], up to 32 rows."""
    document: Document = {
        "name": name,
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}],
        "backends": [{"name": "onnxruntime-cpu"}],
    }
    return document | changes


def ensemble(name: str, *members: str, **changes: Any) -> Document:
    """x FP32 [-1, 4] -> mean FP32 [-1, 2]; a member's y is the vote's <member>_y."""
    parts = [{"model": model, "inputs": {"x": "x"}, "outputs": {"y": f"{model}_y"}} for model in members]
    outputs = [{"name": "mean", "datatype": "FP32", "shape": [-1, 2]}]
    return member(name, outputs=outputs, ensemble=parts) | changes


def write(repository: Path, *documents: Document) -> Path:
    for document in documents:
        folder = repository / document["name"]
        folder.mkdir()
        (folder / "model.yaml").write_text(yaml.safe_dump(document))
    return repository


def spec_of(repository: Path, name: str) -> ModelSpec:
    return artifact_spec(repository, read_spec(repository / name))


def refusal(repository: Path, name: str = "both") -> str:
    with pytest.raises(ConfigurationError) as caught:
        spec_of(repository, name)
    return str(caught.value)


def test_an_ordinary_models_file_is_what_model_yaml_says(tmp_path: Path) -> None:
    spec = read_spec(write(tmp_path, member("a")) / "a")
    assert artifact_spec(tmp_path, spec) is spec
    assert with_members(tmp_path, ["a"]) == ["a"]


def test_the_vote_takes_what_the_members_give(tmp_path: Path) -> None:
    write(tmp_path, member("a"), member("b"), ensemble("both", "a", "b", limits={"deadline_seconds": 3.0}))
    spec = spec_of(tmp_path, "both")
    assert spec.inputs == tuple(TensorSpec(name=name, datatype="FP32", shape=(-1, 2)) for name in ("a_y", "b_y"))
    assert [tensor.name for tensor in spec.outputs] == ["mean"]
    assert spec.ensemble == ()
    assert spec.limits.deadline_seconds == 3.0, "all else is the ensemble's own"


def test_all_that_has_to_be_loaded_an_ensemble_before_its_members(tmp_path: Path) -> None:
    write(tmp_path, member("a"), member("b"), ensemble("inner", "a"), ensemble("outer", "inner", "b", "a"))
    # the outer one takes `mean`, which is what an inner one gives
    outer = ensemble("outer", "inner", "b", "a")
    outer["ensemble"][0]["outputs"] = {"mean": "inner_mean"}
    (tmp_path / "outer" / "model.yaml").write_text(yaml.safe_dump(outer))
    assert with_members(tmp_path, ["outer"]) == ["outer", "inner", "a", "b"]
    assert with_members(tmp_path, ["b", "inner"]) == ["b", "inner", "a"]
    assert [tensor.name for tensor in spec_of(tmp_path, "outer").inputs] == ["inner_mean", "b_y", "a_y"]


def test_a_member_may_take_more_than_the_ensemble_gives(tmp_path: Path) -> None:
    wide = member("a", inputs=[{"name": "x", "datatype": "FP32", "shape": [-1, -1]}])
    write(tmp_path, wide | {"batching": {"max_batch_size": 64}}, ensemble("both", "a"))
    assert spec_of(tmp_path, "both").inputs[0].shape == (-1, 2)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"outputs": [{"name": "z", "datatype": "FP32", "shape": [-1, 2]}]}, ["'a'", "no output 'y'"]),
        ({"inputs": [{"name": "w", "datatype": "FP32", "shape": [-1, 4]}]}, ["'a'", "needs the input 'w'"]),
        ({"inputs": [{"name": "x", "datatype": "FP64", "shape": [-1, 4]}]}, ["FP64 [-1, 4]", "'x' is FP32"]),
        ({"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 5]}]}, ["[-1, 5]", "FP32 [-1, 4]"]),
        ({"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4, 1]}]}, ["[-1, 4, 1]"]),
        ({"batching": {"max_batch_size": 16}}, ["up to 32 rows", "'a' 16"]),
        ({"batching": {"max_batch_size": 0}}, ["up to 32 rows", "'a' 0"]),
    ],
)
def test_a_member_that_does_not_fit_is_refused_by_name(tmp_path: Path, changes: Document, words: list[str]) -> None:
    text = refusal(write(tmp_path, member("a", **changes), ensemble("both", "a")))
    assert all(word in text for word in ["'both'", *words]), text


def test_an_input_that_the_member_does_not_have(tmp_path: Path) -> None:
    document = ensemble("both", "a")
    document["ensemble"][0]["inputs"] = {"x": "x", "more": "x"}
    assert "'a' has no input 'more'" in refusal(write(tmp_path, member("a"), document))


def test_a_member_without_a_folder_and_one_with_a_broken_model_yaml(tmp_path: Path) -> None:
    write(tmp_path, ensemble("both", "a"))
    for names in (["both"], ["a"]):
        with pytest.raises(ConfigurationError, match="there is no model 'a'"):
            with_members(tmp_path, names)
    assert "a member of 'both'" in refusal(tmp_path)
    write(tmp_path, member("a", colour="red"))
    assert "colour" in refusal(tmp_path)


def test_an_ensemble_is_not_made_of_itself(tmp_path: Path) -> None:
    write(
        tmp_path, ensemble("one", "two"), ensemble("two", "three"), ensemble("three", "one"), ensemble("self", "self")
    )
    with pytest.raises(ConfigurationError, match="one -> two -> three -> one"):
        with_members(tmp_path, ["one"])
    with pytest.raises(ConfigurationError, match=r"model.yaml:1: ensemble: 'self' cannot be a member of itself"):
        with_members(tmp_path, ["self"])


def test_a_member_in_two_places_is_loaded_once(tmp_path: Path) -> None:
    document = ensemble("both", "a", "a")
    document["ensemble"][1]["outputs"] = {"y": "again"}
    write(tmp_path, member("a"), document)
    assert with_members(tmp_path, ["both"]) == ["both", "a"]
    assert [tensor.name for tensor in spec_of(tmp_path, "both").inputs] == ["a_y", "again"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"ensemble": [{"model": "a", "inputs": {"x": "y"}, "outputs": {"y": "a_y"}}]}, "input '[xy]'"),
        ({"ensemble": [{"model": "a", "inputs": {}, "outputs": {"y": "a_y"}}]}, r"ensemble\[0\].inputs"),
        ({"ensemble": [{"model": "a", "inputs": {"x": "x"}}]}, r"ensemble\[0\].outputs: is missing"),
        ({"ensemble": [{"model": "../a", "inputs": {"x": "x"}, "outputs": {"y": "v"}}]}, r"ensemble\[0\].model"),
        ({"ensemble": [{"modell": "a", "inputs": {"x": "x"}, "outputs": {"y": "v"}}]}, "did you mean 'model'"),
        (
            {"ensemble": [{"model": m, "inputs": {"x": "x"}, "outputs": {"y": "v"}} for m in ("a", "b")]},
            "two outputs go by the same name",
        ),
        (
            {"inputs": [{"name": name, "datatype": "FP32", "shape": [-1, 4]} for name in ("x", "unused")]},
            "no member takes input 'unused'",
        ),
    ],
)
def test_what_model_yaml_alone_shows_to_be_wrong(tmp_path: Path, change: Document, words: str) -> None:
    write(tmp_path, ensemble("both", "a") | change)
    with pytest.raises(ConfigurationError, match=words):
        read_spec(tmp_path / "both")


def test_shapes_of_an_engine_are_those_of_the_votes_inputs(tmp_path: Path) -> None:
    backends: list[Document] = [
        {"name": "tensorrt", "shapes": {"a_y": {"min": [2], "opt": [2], "max": [2]}}},
        {"name": "onnxruntime-cpu"},
    ]
    write(tmp_path, member("a"), ensemble("both", "a", backends=backends))
    assert spec_of(tmp_path, "both").backends[0].shapes
    backends[0]["shapes"] = {"x": {"min": [4], "opt": [4], "max": [4]}}
    (tmp_path / "both" / "model.yaml").write_text(yaml.safe_dump(ensemble("both", "a", backends=backends)))
    assert "shapes of 'x'" in refusal(tmp_path)
