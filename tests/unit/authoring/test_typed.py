"""The text of api.py is clean for ruff and does what it says, whatever tensors are called."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from pydantic import ValidationError

from modelyard.authoring.names import names_of
from modelyard.authoring.scaffold import Place, deploy_files, readme_text, service_files, written_test
from modelyard.authoring.typed import fields_of, literal
from modelyard.errors import InvalidInput
from modelyard.spec import BatchingSpec, ModelSpec, TensorSpec
from modelyard.tensors import InferResponse, Tensor

ROOT = Path(__file__).resolve().parents[3]


def tensor(name: str, datatype: str = "FP32", shape: tuple[int, ...] = (-1, 2)) -> TensorSpec:
    return TensorSpec(name=name, datatype=datatype, shape=shape)


NASTY = (
    tensor("class"),
    tensor("input.1"),
    tensor("input_1", "INT64"),
    tensor("dense/kernel:0", "BOOL", (-1, 3, 4)),
    tensor('say "hello"', "BYTES", (-1, 1)),
    tensor("it's", "UINT8", (-1,)),
    tensor("\\d", "FP64", ()),
    tensor("schema"),
    tensor("model_config"),
    tensor("model_version"),
    tensor("arrays"),
    tensor("_private"),
    tensor("größe", "INT32", (-1, 1)),
    tensor("\u0441_cyrillic"),
    tensor("x" * 300),
    tensor("long and with spaces " * 10),
    tensor("y" * 90, "FP16", (-1,) + (1,) * 7),
    tensor("1st"),
    tensor("cache", "FP32", (-1,)),
    tensor("{braces} $dollar"),
    tensor("match"),
    tensor("...", "INT8", (-1,)),
)


def spec_of(inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...], rows: int = 0) -> ModelSpec:
    return ModelSpec(name="nasty.one", inputs=inputs, outputs=outputs, batching=BatchingSpec(max_batch_size=rows))


NASTY_SPEC = spec_of(NASTY, NASTY)
PLAIN_SPEC = spec_of((tensor("x"),), (tensor("y"),), 32)


def module_of(spec: ModelSpec) -> ModuleType:
    module = ModuleType("nasty_api")
    sys.modules["nasty_api"] = module
    exec(compile(service_files(names_of("nasty.one"), spec)["api.py"], "api.py", "exec"), module.__dict__)
    return module


@pytest.mark.parametrize("spec", [NASTY_SPEC, PLAIN_SPEC], ids=["nasty", "plain"])
@pytest.mark.parametrize("name", ["nasty.one", "a", "zebra", "n" * 63])
@pytest.mark.parametrize("typed", [True, False], ids=["typed", "protocol only"])
def test_every_python_file_is_clean(tmp_path: Path, spec: ModelSpec, name: str, typed: bool) -> None:
    """Formatted, sorted and free of complaints under the rules of this project."""
    names = names_of(name)
    spec = spec.model_copy(update={"name": name})
    package = tmp_path / "services" / names.package
    package.mkdir(parents=True)
    for file, text in service_files(names, spec).items():
        (package / file).write_text(text)
        assert len(text.splitlines()) < 60 or file == "api.py"
    for checkout in (True, False):
        tests = tmp_path / "tests" / ("integration" if checkout else "outside")
        tests.mkdir(parents=True)
        if checkout:
            (tests / "harness.py").touch()
        place = Place(tmp_path, tmp_path / "models")
        assert place.checkout
        place = place if checkout else Place(tests, tests / "models")
        (tests / f"test_{names.package}.py").write_text(written_test(names, spec, place, typed=typed))
        (tests / "__init__.py").touch()
    for module in ("__init__", "app", "golden", "nested", "tensors", "authoring/__init__", "authoring/served"):
        path = tmp_path / "services" / "modelyard" / f"{module}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('"""Of the library."""\n')
    for module in ("calls", "harness"):
        (tmp_path / "tests" / "integration" / f"{module}.py").write_text('"""Of the tests."""\n')
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    for arguments in (["check", "--no-cache"], ["format", "--check", "--no-cache"]):
        command = [sys.executable, "-m", "ruff", *arguments, "."]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_tensor_has_a_field_of_its_own() -> None:
    fields = fields_of(NASTY)
    assert len(set(fields)) == len(NASTY)
    assert all(field.isidentifier() and field.isascii() for field in fields)
    assert fields[:3] == ["class_", "input_1", "input_1_"]


@pytest.mark.parametrize("name", [each.name for each in NASTY])
def test_a_name_is_written_as_it_is(name: str) -> None:
    assert eval(literal(name)) == name
    assert literal(name).isascii()


def test_inputs_go_in_and_outputs_come_out_by_their_own_names() -> None:
    api = module_of(NASTY_SPEC)
    values = {"BOOL": True, "BYTES": "ä"}
    body = {}
    for each in NASTY:
        value = values.get(each.datatype, 1)
        for size in reversed(each.shape):
            value = [value] * abs(size)
        body[each.name] = value
    arrays = api.Inputs.model_validate(body).arrays()
    assert list(arrays) == [each.name for each in NASTY]
    assert arrays["y" * 90].dtype == np.float16
    assert arrays['say "hello"'].tolist() == [["ä".encode()]]
    tensors = [Tensor(each.name, each.datatype, arrays[each.name]) for each in NASTY]
    response = InferResponse("nasty.one", "7", tensors, parameters={"cache": "miss"})
    answer = api.Outputs.of(response).model_dump(by_alias=True)
    assert answer == {**body, "cache_": "miss", "model_version_": "7"}


def test_what_is_wrong_is_named() -> None:
    api = module_of(PLAIN_SPEC)
    for body in (
        {},
        {"x": [[1, 2]], "z": 1},
        {"x": [["1", 2]]},
        {"x": [[True, 2]]},
        {"x": 1},
        {"x": [[float("nan"), 1]]},
    ):
        with pytest.raises(ValidationError):
            api.Inputs.model_validate(body)
    with pytest.raises(InvalidInput, match="x: shape"):
        api.Inputs.model_validate({"x": [[1, 2, 3]]}).arrays()


def test_the_other_files_carry_the_names() -> None:
    names = names_of("Fraud.v2")
    assert "MODELYARD_MODEL=Fraud.v2" in deploy_files(names)["kustomization.yaml"]
    assert "../../base/service" in deploy_files(names)["kustomization.yaml"]
    text = readme_text(names, PLAIN_SPEC, ["one thing"], trust=True)
    for word in ("# Fraud.v2", "`x`, FP32 [-1, 2]", "- one thing", "--name Fraud.v2 --trust"):
        assert word in text
