"""`modelyard optimize`: a variant that passes the gate becomes a version and serves; any other is never published.

Timing is no test: where speed is not what is asked about, `--speedup` is so low that any machine holds it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import yaml

from tests.integration.calls import PROTOCOLS, ask
from tests.integration.harness import CommandResult, modelyard, serve
from tests.integration.optimize_models import convolutional, overshadowed, publish_model, wide

QUICK = ("--rounds", "1", "--speedup", "0.01", "--batch-sizes", "1,32")
IMPOSSIBLE = ("--rounds", "1", "--speedup", "900")


def optimize(model: Path, *arguments: str | Path) -> CommandResult:
    return modelyard("optimize", model.name, "--repository", model.parent, *arguments)


def refused(result: CommandResult, *words: str) -> None:
    """Exit code 1 and one clear line, the last on stderr (progress comes before it)."""
    assert result.code == 1, result
    assert "Traceback" not in result.err
    last = result.err.splitlines()[-1]
    assert last.startswith("error: "), result.err
    assert result.err.count("error: ") == 1
    for word in words:
        assert word in last, last


def versions(model: Path) -> list[str]:
    """Everything in the versions folder, drafts too."""
    return sorted(path.name for path in (model / "versions").iterdir())


def manifest(model: Path, version: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((model / "versions" / version / "manifest.json").read_text())
    return document


def rows(model: Path) -> tuple[np.ndarray, np.ndarray]:
    """The evaluation rows and their classes."""
    with np.load(model / "versions" / "1" / "evaluation.npz") as arrays:
        return arrays["input:x"], arrays["truth"]


@pytest.fixture(scope="module")
def products(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of wide matrix products, with its INT8 variant as version 2."""
    model = publish_model(tmp_path_factory.mktemp("models"), "products", wide())
    result = optimize(model, "--int8", *QUICK)
    assert result.code == 0, result.err
    assert "published products version 2 (int8), made from 1" in result.out
    for words in (
        "dynamic",
        "top1, 60 rows",
        "agreement (top1)",
        "rows/s in batches of 32",
        "geometric mean",
        "artifact",
    ):
        assert words in result.out
    for step in ("quantizing", "measuring quality", "measuring speed"):
        assert step in result.err, "progress is said on stderr"
    return model


def test_the_manifest_keeps_what_was_measured(products: Path) -> None:
    kept = manifest(products, "2")
    assert (kept["precision"], kept["parent"], kept["model"]) == ("int8", "1", "products")
    comparison = kept["comparison"]
    assert comparison["quality_of_parent"] == 1.0
    assert comparison["quality"] >= 0.99
    assert comparison["agreement"] >= 0.99
    assert comparison["bytes"] < comparison["bytes_of_parent"] / 2
    assert all(comparison[name] > 0 for name in ("speedup", "speedup_at_1", "speedup_at_32", "rows_per_second_at_32"))
    assert kept["metrics"] == {"accuracy": comparison["quality"]}
    assert kept["interface"] == manifest(products, "1")["interface"]
    assert {"evaluation.npz", "golden.json"} < set(kept["files"])
    assert "onnxruntime" in kept["libraries"]


def test_the_variant_serves_and_says_what_it_is(products: Path) -> None:
    x, truth = rows(products)
    with serve(products.parent, "products") as server:
        for protocol in PROTOCOLS:
            answer = ask(server, {"x": x[:32]}, protocol)
            assert answer.version == "2", "the newest is served until one is promoted"
            assert np.mean(answer.only.argmax(axis=1) == truth[:32]) >= 0.95
            first = ask(server, {"x": x[:32]}, protocol, version="1")
            assert np.mean(first.only.argmax(axis=1) == truth[:32]) == 1.0
        for version, precision in (("1", "fp32"), ("2", "int8")):
            config = httpx.get(f"{server.url}/v2/models/products/versions/{version}/config", timeout=10).json()
            assert config["parameters"]["precision"] == {"string_value": precision}
        assert server.metric("modelyard_model_info", model="products", version="2", precision="int8") == 1
    shown = modelyard("inspect", "products", "--repository", products.parent)
    assert shown.code == 0, shown.err
    assert "onnxruntime-cpu, int8" in shown.out
    assert "onnxruntime-cpu, fp32" in shown.out


def test_a_variant_is_no_source_of_another(products: Path) -> None:
    refused(optimize(products, "--int8", "--model-version", "2"), "version 2", "int8 already")


def test_too_slow_is_not_published_and_the_table_is_shown(products: Path) -> None:
    before = versions(products)
    result = optimize(products, "--int8", *IMPOSSIBLE)
    refused(result, "no version is published", "speedup", "below 900")
    assert "agreement" not in result.err.splitlines()[-1], "only what failed is named"
    assert "FAILS" in result.out
    assert "geometric mean" in result.out
    assert versions(products) == before


def test_too_bad_is_not_published_and_the_table_is_shown(tmp_path: Path) -> None:
    model = publish_model(tmp_path, "shadow", overshadowed(), large_first=True)
    result = optimize(model, "--int8", *QUICK)
    refused(result, "no version is published", "quality (top1)", "agreement (top1)", "is below 0.99")
    assert "FAILS" in result.out
    assert versions(model) == ["1"]


def test_a_looser_model_yaml_lets_it_pass(tmp_path: Path) -> None:
    """The bounds are those of model.yaml, not of the command."""
    quality = {"output": "scores", "measure": "top1", "loss": 1.0, "agreement": 0.0}
    model = publish_model(tmp_path, "shadow", overshadowed(), large_first=True, quality=quality)
    assert optimize(model, "--int8", "--version", "loose", *QUICK).code == 0
    assert versions(model) == ["1", "loose"]


def test_convolutions_are_calibrated_and_served(tmp_path: Path) -> None:
    model = publish_model(tmp_path, "picture", convolutional())
    result = optimize(model, "--int8", *QUICK)
    assert result.code == 0, result.err
    assert "static" in result.out
    assert "60 calibration rows" in result.out
    x, truth = rows(model)
    with serve(tmp_path, "picture") as server:
        answer = ask(server, {"x": x[:20]})
    assert answer.version == "2"
    assert np.mean(answer.only.argmax(axis=1) == truth[:20]) >= 0.95


def test_the_method_can_be_said(tmp_path: Path) -> None:
    model = publish_model(tmp_path, "products", wide(64), calibration=False)
    refused(optimize(model, "--int8", "--method", "static", *QUICK), "no calibration rows")
    assert versions(model) == ["1"]


def test_fp16_is_published_only_if_it_is_faster_here(tmp_path: Path) -> None:
    model = publish_model(tmp_path, "products", wide(64))
    refused(optimize(model, "--fp16", *IMPOSSIBLE), "speedup")
    result = optimize(model, "--fp16", "--version", "half", *QUICK)
    assert result.code == 0, result.err
    assert manifest(model, "half")["precision"] == "fp16"
    assert versions(model) == ["1", "half"]
    shown = modelyard("inspect", "products", "--repository", tmp_path)
    assert "fp16" in shown.out, shown.out
    assert "is refused" not in shown.out


def test_vectors_are_judged_by_their_cosine(tmp_path: Path) -> None:
    model = publish_model(tmp_path, "vectors", wide(64), quality={"output": "scores", "measure": "cosine"})
    result = optimize(model, "--int8", *QUICK)
    assert result.code == 0, result.err
    assert "agreement (cosine)" in result.out
    assert "of the worst row" in result.out
    assert manifest(model, "2")["metrics"]["cosine"] >= 0.99


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    model = publish_model(tmp_path, "bare", wide(8), evaluation=False)
    refused(optimize(model, "--int8"), "version 1 of 'bare' carries no evaluation rows")
    spec = yaml.safe_load((model / "model.yaml").read_text())
    del spec["quality"]
    (model / "model.yaml").write_text(yaml.safe_dump(spec))
    refused(optimize(model, "--int8"), "has no `quality`", "model.yaml")
    refused(modelyard("optimize", "nobody", "--repository", tmp_path, "--int8"), "nobody")
    assert versions(model) == ["1"]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--int8", "--version", "1"], "stands already"),
        (["--int8", "--version", "../x"], "cannot name a version"),
        (["--int8", "--model-version", "7"], "no version '7'"),
        (["--int8", "--batch-sizes", "1,two"], "--batch-sizes"),
        (["--int8", "--batch-sizes", "64"], "32 rows"),
        (["--int8", "--speedup", "0"], "--speedup"),
        (["--int8", "--speedup", "nan"], "--speedup"),
        (["--int8", "--backend", "onnxruntime-cuda"], "onnxruntime-cuda"),
    ],
)
def test_a_bad_option_is_one_clear_line(small: Path, arguments: list[str], word: str) -> None:
    refused(optimize(small, *arguments), word)
    assert versions(small) == ["1"]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that nothing is ever made of."""
    return publish_model(tmp_path_factory.mktemp("models"), "small", wide(8))


@pytest.mark.parametrize(
    "arguments",
    [[], ["--int8", "--fp16"], ["--fp16", "--method", "static"], ["--int8", "--method", "some"], ["--force", "--int8"]],
)
def test_wrong_usage(small: Path, arguments: list[str]) -> None:
    result = optimize(small, *arguments)
    assert result.code == 2, result
    assert "Traceback" not in result.err
