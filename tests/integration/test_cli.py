"""The command line: what it prints, what it refuses, and with which exit code."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto, helper

from tests.integration import pair_model
from tests.integration.harness import CommandResult, free_port, modelyard, start
from tests.integration.onnx_models import affine, build, identity, random_normal, value

COMMANDS: tuple[str, ...] = ("serve", "list", "inspect", "infer", "tune", "settings", "engines")
COMMANDS += ("new", "import", "remove", "optimize", "card", "drift", "build")
COMMANDS += ("export", "check", "promote", "rollback", "history", "diff", "pack", "unpack", "push", "pull")


def refused(result: CommandResult, *words: str) -> None:
    """Exit code 1, one clear line on stderr, no traceback."""
    assert result.code == 1, result
    lines = [line for line in result.err.splitlines() if line.strip()]
    assert len(lines) == 1, result.err
    assert lines[0].startswith("error: "), result.err
    for word in words:
        assert word in lines[0], lines[0]


def modelyard_each(calls: Sequence[Sequence[str | Path]]) -> list[CommandResult]:
    """Each call to its end, several at a time: most of a call is the start of Python."""
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(lambda arguments: modelyard(*arguments), calls))


def save(model: onnx.ModelProto, path: Path) -> Path:
    onnx.save(model, path)
    return path


def test_help() -> None:
    general, *others = modelyard_each([["--help"], *([command, "--help"] for command in COMMANDS)])
    assert general.code == 0, general.err
    assert all(word in general.out for word in COMMANDS)
    for result in others:
        assert result.code == 0, result.err
        assert "--help" in result.out


def test_wrong_usage() -> None:
    wrong = ["dance", "inspect", "serve x --port high", "infer x", "list --nope", "import"]
    for result in modelyard_each([line.split() for line in wrong]):
        assert result.code == 2, result
        assert "Traceback" not in result.err


def test_list_and_inspect(pair_repository: Path) -> None:
    listed = modelyard("list", "--repository", pair_repository)
    assert listed.code == 0, listed.err
    assert pair_model.NAME in listed.out
    inspected = modelyard("inspect", pair_model.NAME, "--repository", pair_repository)
    assert inspected.code == 0, inspected.err
    manifest = json.loads((pair_repository / pair_model.NAME / "versions" / "1" / "manifest.json").read_text())
    digest = manifest["files"][manifest["artifact"]]["sha256"]
    for word in ("FP32", "INT32", "sum", "twice", "onnxruntime-cpu", digest[:12]):
        assert word in inspected.out, inspected.out


def test_the_repository_is_a_setting_too(pair_repository: Path) -> None:
    listed = modelyard("list", env={"MODELYARD_REPOSITORY": str(pair_repository)})
    assert pair_model.NAME in listed.out


def test_infer(pair_repository: Path, tmp_path: Path) -> None:
    question = tmp_path / "question.json"
    question.write_text(json.dumps(pair_model.document()))
    arguments = ("infer", pair_model.NAME, "--repository", pair_repository, "--json", question)
    result = modelyard(*arguments)
    assert result.code == 0, result.err
    outputs = {output["name"]: output["data"] for output in json.loads(result.out)["outputs"]}
    assert outputs == {"sum": pair_model.SUM_ROW, "twice": pair_model.TWICE_ROW}
    (tmp_path / "shape.json").write_text(json.dumps(pair_model.changed(("inputs", 0, "shape"), [2, 2])))
    (tmp_path / "broken.json").write_text("{broken")
    names = ("shape.json", "broken.json", "absent.json")
    wrong_shape, broken, absent = modelyard_each([(*arguments[:-1], tmp_path / name) for name in names])
    refused(wrong_shape)
    refused(broken)
    refused(absent, "absent.json")


def test_settings() -> None:
    result = modelyard("settings", env={"MODELYARD_HTTP_PORT": "4567", "MODELYARD_API_KEYS": "alice:secret-key"})
    assert result.code == 0, result.err
    for word in ("MODELYARD_REDIS_URL", "MODELYARD_MAX_BODY_BYTES", "MODELYARD_DRAIN_SECONDS", "4567"):
        assert word in result.out
    assert "secret-key" not in result.out


@pytest.mark.parametrize(
    ("name", "text"), [("MODELYARD_HTTP_PORT", "high"), ("MODELYARD_WORKERS", "-1"), ("MODELYARD_ADMIN", "perhaps")]
)
def test_a_wrong_setting_is_named(pair_repository: Path, name: str, text: str) -> None:
    refused(modelyard("serve", "pair", "--repository", pair_repository, env={name: text}), name)


def test_unknown_model(pair_repository: Path, tmp_path: Path) -> None:
    here, absent = ("--repository", pair_repository), ("--repository", tmp_path / "absent")
    calls = [("serve", "nobody", *here), ("inspect", "nobody", *here), ("serve", "../pair", *here)]
    for result, word in zip(
        modelyard_each([*calls, ("list", *absent)]), ("nobody", "nobody", "pair", "absent"), strict=True
    ):
        refused(result, word)


@pytest.mark.parametrize("option", ["--port", "--grpc-port"])
def test_a_port_in_use(pair_repository: Path, option: str) -> None:
    other = "--grpc-port" if option == "--port" else "--port"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        arguments = ("--repository", pair_repository, option, port, other, str(free_port()))
        result = modelyard("serve", pair_model.NAME, *arguments, timeout=60)
    assert result.code == 1, result
    assert port in result.err
    assert "Traceback" not in result.err


def test_a_wrong_key_in_the_spec_is_named_with_its_line(tmp_path: Path) -> None:
    source = save(identity(), tmp_path / "m.onnx")
    assert modelyard("import", source, "--name", "echo", "--repository", tmp_path / "r").code == 0
    spec = tmp_path / "r" / "echo" / "model.yaml"
    lines = spec.read_text().rstrip().splitlines()
    spec.write_text("\n".join([*lines, "colour: green", ""]))
    refused(modelyard("inspect", "echo", "--repository", tmp_path / "r"), "colour", str(len(lines) + 1))


def test_import(tmp_path: Path) -> None:
    """Rows that do not depend on each other may be batched; noise may not."""
    repository = tmp_path / "r"
    source = save(affine(np.eye(3, 2, dtype=np.float32), np.ones(2, np.float32)), tmp_path / "affine.onnx")
    result = modelyard("import", source, "--name", "affine", "--repository", repository)
    assert result.code == 0, result.err
    assert "affine" in result.out
    spec = yaml.safe_load((repository / "affine" / "model.yaml").read_text())
    assert spec["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}]
    assert spec["outputs"] == [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}]
    assert spec["batching"]["max_batch_size"] == 32
    assert (repository / "affine" / "versions" / "1" / "manifest.json").is_file()

    noise = save(random_normal(), tmp_path / "noise.onnx")
    assert modelyard("import", noise, "--name", "noise", "--repository", repository).code == 0
    spec = yaml.safe_load((repository / "noise" / "model.yaml").read_text())
    assert spec["batching"]["max_batch_size"] == 0


def test_import_of_versions(tmp_path: Path) -> None:
    repository = tmp_path / "r"
    ones = save(affine(np.ones((3, 2), np.float32), np.zeros(2, np.float32)), tmp_path / "ones.onnx")
    twos = save(affine(np.full((3, 2), 2, np.float32), np.zeros(2, np.float32)), tmp_path / "twos.onnx")
    other = save(affine(np.ones((4, 2), np.float32), np.zeros(2, np.float32)), tmp_path / "other.onnx")
    arguments = ("--name", "m", "--repository", repository)
    assert modelyard("import", ones, *arguments).code == 0
    assert modelyard("import", twos, *arguments).code == 0
    versions = repository / "m" / "versions"
    first = (versions / "1" / "model.onnx").read_bytes()
    assert (versions / "2" / "model.onnx").read_bytes() != first
    refused(modelyard("import", twos, *arguments, "--version", "1"), "1")
    assert (versions / "1" / "model.onnx").read_bytes() == first
    refused(modelyard("import", other, *arguments, "--version", "3"), "x")
    versions_wrong = ("../3", ".hidden")
    for result in modelyard_each([("import", ones, *arguments, "--version", wrong) for wrong in versions_wrong]):
        refused(result)
    assert sorted(path.name for path in versions.iterdir()) == ["1", "2"]


def test_import_of_what_is_no_model(tmp_path: Path) -> None:
    repository = tmp_path / "r"
    wrong = tmp_path / "wrong.onnx"
    wrong.write_bytes(b"this is no ONNX file" * 10)
    whole = save(identity(), tmp_path / "whole.onnx").read_bytes()
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(whole[: len(whole) // 2])
    empty = tmp_path / "empty.onnx"
    empty.write_bytes(b"")
    paths = (wrong, cut, empty, tmp_path / "absent.onnx", tmp_path)
    calls = [("import", path, "--name", "m", "--repository", repository) for path in paths]
    for path, result in zip(paths, modelyard_each(calls), strict=True):
        refused(result, path.name)
    names = ("../m", "", ".m", "m\n")
    whole_file = tmp_path / "whole.onnx"
    for result in modelyard_each(
        [("import", whole_file, "--name", name, "--repository", repository) for name in names]
    ):
        refused(result)
    assert not repository.exists() or not list(repository.iterdir())
    assert not (tmp_path / "m").exists()


def with_external_data(location: str) -> onnx.ModelProto:
    """y = x + weight, the weight in a file of its own."""
    node = helper.make_node("Add", ["x", "weight"], ["y"])
    constants = {"weight": np.zeros(4, np.float32)}
    model = build([node], [value("x", "FP32", (-1, 4))], [value("y", "FP32", (-1, 4))], constants)
    (weight,) = model.graph.initializer
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value=location)
    return model


def test_import_with_external_data(tmp_path: Path) -> None:
    folder, repository = tmp_path / "source", tmp_path / "r"
    folder.mkdir()
    numbers = np.array([1, 2, 3, 4], "<f4").tobytes()
    (tmp_path / "secret.bin").write_bytes(numbers)
    (folder / "weight.bin").write_bytes(numbers)
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    calls = []
    for number, location in enumerate(("../secret.bin", str(tmp_path / "secret.bin"), "link.bin", "absent.bin")):
        source = folder / f"{number}.onnx"
        source.write_bytes(with_external_data(location).SerializeToString())
        calls.append(("import", source, "--name", "m", "--repository", repository))
    for result in modelyard_each(calls):
        refused(result)
    assert not (repository / "m").exists()
    source.write_bytes(with_external_data("weight.bin").SerializeToString())
    result = modelyard("import", source, "--name", "m", "--repository", repository)
    assert result.code == 0, result.err
    question = tmp_path / "question.json"
    row = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [0, 0, 0, 0]}
    question.write_text(json.dumps({"inputs": [row]}))
    answer = modelyard("infer", "m", "--repository", repository, "--json", question)
    assert json.loads(answer.out)["outputs"][0]["data"] == [1, 2, 3, 4]


def test_interrupt_ends_a_server_cleanly(pair_repository: Path, tmp_path: Path) -> None:
    server = start(pair_repository, pair_model.NAME, tmp_path / "log")
    try:
        server.wait_ready()
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(20) == 0
        assert "Traceback" not in server.log()
    finally:
        server.stop()
