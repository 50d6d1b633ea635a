"""`modelyard engines`: what it prints, what it refuses in one line, what it removes."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from modelyard import engines_command
from modelyard.backends.engine import maker
from modelyard.backends.engine.entry import About, EngineKey
from modelyard.backends.engine.store import EngineStore
from modelyard.errors import ConfigurationError
from modelyard.manifest import publish
from modelyard.tensors import Tensor
from tests.unit.backends.engine.fake_gpu import FakeGpu, write_model

MODEL_YAML = """
name: m
inputs: [{name: x, datatype: FP32, shape: [-1, 3]}]
outputs: [{name: y, datatype: FP32, shape: [-1, 3]}]
backends: [{name: tensorrt}, {name: onnxruntime-cpu}]
batching: {max_batch_size: 2}
"""
KEY = EngineKey("ab" * 32, "10.9.0.34", "NVIDIA Fake 10", "9.0", "fp16", "[]")


@pytest.fixture(name="repository")
def _repository(tmp_path: Path) -> Path:
    folder = tmp_path / "models" / "m"
    folder.mkdir(parents=True)
    (folder / "model.yaml").write_text(MODEL_YAML)
    publish(folder, "1", write_model(tmp_path / "made"))
    publish(folder, "2", write_model(tmp_path / "made", "Tanh"))
    return folder.parent


@pytest.fixture(name="store", autouse=True)
def _store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EngineStore:
    monkeypatch.setenv("MODELYARD_ENGINE_FOLDER", str(tmp_path / "engines"))
    return EngineStore(tmp_path / "engines", 10**9)


@pytest.fixture(name="gpu")
def _gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeGpu:
    return FakeGpu(tmp_path, monkeypatch)


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    before = logging.root.handlers[:], logging.root.level
    yield
    logging.root.handlers[:], logging.root.level = before


def run(*arguments: str | Path) -> str:
    """What it prints on stdout. Raises what the console script turns into one line and exit code 1."""
    result = CliRunner().invoke(engines_command.app, [str(argument) for argument in arguments])
    if result.exception is not None:
        raise result.exception
    return result.stdout


def keep(store: EngineStore, name: str, used: float, size: int = 2000) -> None:
    key = replace(KEY, onnx_sha256=name)
    with store.lock(key):
        store.publish(key, b"p" * size, About(name, "3", 61.25))
    os.utime(store.folder / f"{key.digest}.json", (used, used))


def test_an_engine_is_built_ahead_of_time(gpu: FakeGpu, repository: Path, store: EngineStore) -> None:
    said = run("build", "m", "--repository", repository)
    (entry,) = store.entries()
    assert (entry.about.model, entry.about.version) == ("m", "2"), "the newest"
    assert f"engine {entry.key.digest}\n" in said
    assert "m version 2, fp32" in said
    assert "NVIDIA Fake 10 (compute capability 9.0), TensorRT 10.13.3.9" in said
    assert f"size      {entry.bytes} bytes" in said
    assert "seconds " in said
    assert "was there already" in run("build", "m", "--repository", repository)
    assert gpu.count("builds") == 1
    assert "seconds " in run("build", "m", "--repository", repository, "--again")
    assert gpu.count("builds") == 2


def test_progress_goes_to_stderr(gpu: FakeGpu, repository: Path) -> None:
    result = CliRunner().invoke(engines_command.app, ["build", "m", "--repository", str(repository)])
    assert "m: building" in result.stderr
    assert "m: Computing profile costs" in result.stderr
    assert "building" not in result.stdout


def test_a_version_can_be_named(gpu: FakeGpu, repository: Path, store: EngineStore) -> None:
    run("build", "m", "--repository", repository, "--model-version", "1")
    assert [entry.about.version for entry in store.entries()] == ["1"]


def test_without_a_version_the_served_one_is_built_and_aliases_are_taken(repository: Path) -> None:
    def version(name: str | None = None) -> str:
        return engines_command._version_folder(repository / "m", name).name

    assert version() == "2"
    with pytest.raises(ConfigurationError, match=r"no version 'stable'; known are 1, 2$"):
        version("stable")
    aliases = {"format": 1, "stable": "1", "candidate": "2"}
    (repository / "m" / "aliases.json").write_text(json.dumps(aliases))
    assert (version(), version("stable"), version("candidate"), version("2")) == ("1", "1", "2", "2")
    with pytest.raises(ConfigurationError, match=r"no version '\.\./1'; known are 1, 2, stable, candidate$"):
        version("../1")
    (repository / "m" / "aliases.json").write_text(json.dumps(aliases | {"stable": "9"}))
    assert version() == "1"
    with pytest.raises(ConfigurationError, match="no version '9'"):
        version("stable")


def test_the_engine_of_a_variant_is_the_one_that_the_server_wants(
    gpu: FakeGpu, repository: Path, tmp_path: Path, store: EngineStore
) -> None:
    publish(repository / "m", "3", write_model(tmp_path / "made"), precision="fp16")
    run("build", "m", "--repository", repository)
    assert [(entry.about.version, entry.key.precision) for entry in store.entries()] == [("3", "fp16")]


def test_why_there_is_no_engine_is_one_line(gpu: FakeGpu, repository: Path) -> None:
    for faults, reason in (
        ({"driver": False}, "no engine for 'm': no NVIDIA driver"),
        ({"parser_refuses": "Tanh"}, "no engine for 'm': .*Tanh"),
        ({}, "no engine for 'm': .*Tanh"),
    ):
        gpu.set(**faults)
        with pytest.raises(ConfigurationError, match=reason) as caught:
            run("build", "m", "--repository", repository)
        assert "\n" not in str(caught.value)
    run("build", "m", "--repository", repository, "--again")


def test_without_tensorrt_the_reason_names_it(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maker, "_installed", lambda module: module != "tensorrt")
    with pytest.raises(ConfigurationError, match=r"^no engine for 'm': TensorRT is not installed$"):
        run("build", "m", "--repository", repository)


def test_what_cannot_be_built_is_said_before_the_gpu_is_asked(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maker, "ChildProcess", None)
    with pytest.raises(ConfigurationError, match="there is no model 'other'"):
        run("build", "other", "--repository", repository)
    with pytest.raises(ConfigurationError, match="has no version '9'; known are 1, 2"):
        run("build", "m", "--repository", repository, "--model-version", "9")
    (repository / "m" / "model.yaml").write_text(MODEL_YAML.replace("{name: tensorrt}, ", ""))
    with pytest.raises(ConfigurationError, match="does not list tensorrt"):
        run("build", "m", "--repository", repository)
    shutil.rmtree(repository / "m" / "versions")
    with pytest.raises(ConfigurationError, match="has no version yet"):
        run("build", "m", "--repository", repository)


def test_golden_inputs_outside_shapes_are_said_before_the_gpu_is_asked(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maker, "ChildProcess", None)
    shapes = "{name: tensorrt, shapes: {x: {min: [4], opt: [8], max: [9]}}}"
    free = MODEL_YAML.replace("{name: tensorrt}", shapes).replace("[-1, 3]", "[-1, -1]")
    (repository / "m" / "model.yaml").write_text(free)
    x, y = (Tensor(name, "FP32", np.zeros((1, 3), np.float32)) for name in "xy")
    publish(repository / "m", "3", write_model(tmp_path / "made"), golden_inputs=[x], golden_outputs=[y])
    with pytest.raises(ConfigurationError, match=r"golden input 'x' has shape \[3\].*\[4\] to \[9\]"):
        run("build", "m", "--repository", repository)


def test_the_list_has_a_line_for_each_engine(store: EngineStore) -> None:
    assert run("list") == f"0 engines with 0 bytes of 17.2 GB in {store.folder}\n"
    keep(store, "old", 0.0)
    keep(store, "new", 3600.0)
    head, first, second, total = run("list").splitlines()
    assert head.split()[:4] == ["engine", "model", "version", "precision"]
    assert first.split()[:4] == [replace(KEY, onnx_sha256="new").digest[:12], "new", "3", "fp16"]
    assert "NVIDIA Fake 10" in first
    assert "2.0 kB" in first
    assert "61.2 s" in first
    assert first.rstrip().endswith("1970-01-01 01:00")
    assert second.split()[1] == "old"
    assert total.startswith("2 engines with 4.0 kB of")


def test_the_list_says_which_engines_are_refused(store: EngineStore) -> None:
    keep(store, "good", 0.0)
    keep(store, "bad", 3600.0)
    digest = replace(KEY, onnx_sha256="bad").digest
    (plan,) = store.folder.glob(f"{digest}.*.plan")
    plan.chmod(0o666)
    *_, refused, total = run("list").splitlines()
    assert refused.startswith(f"{digest[:12]} is refused, and built anew when it is wanted: {plan} can be written by")
    assert total.startswith("1 engine with 2.0 kB (1 refused) of")


def test_prune_says_what_went(store: EngineStore) -> None:
    keep(store, "old", 0.0)
    keep(store, "new", 3600.0)
    assert run("prune") == "removed 0 engines with 0 bytes; kept 2 engines with 4.0 kB\n"
    first, total = run("prune", "--bytes", "2000").splitlines()
    assert first.endswith(": old version 3, 2.0 kB")
    assert total == "removed 1 engine with 2.0 kB; kept 1 engine with 2.0 kB"


def test_prune_all_forgets_refusals_and_timings_too(store: EngineStore) -> None:
    keep(store, "new", 3600.0)
    store.remember_refusal(KEY, "x")
    store.keep_timing_cache("10", "gpu", None, b"t")
    assert (
        run("prune", "--all").splitlines()[-1].startswith("removed 1 engine with 2.0 kB, 2 timing caches and refusals;")
    )
    assert list(store.folder.iterdir()) == []


def test_prune_takes_one_bound(store: EngineStore) -> None:
    result = CliRunner().invoke(engines_command.app, ["prune", "--all", "--bytes", "1"])
    assert result.exit_code == 2
    assert "exclude each other" in result.stderr


def test_a_folder_that_others_can_write_is_refused(store: EngineStore) -> None:
    store.folder.mkdir(mode=0o700)
    store.folder.chmod(0o777)
    for command in ("list", "prune"):
        with pytest.raises(OSError, match="can be written by others"):
            run(command)


def test_help_imports_nothing_heavy() -> None:
    script = "import sys; import modelyard.engines_command; sys.exit('numpy' in sys.modules or 'onnx' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)
