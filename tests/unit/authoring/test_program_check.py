"""What a .pt2 file may hold, call and express; everything else is refused before torch sees it."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from modelyard.authoring.program_check import check_program
from modelyard.errors import ConfigurationError

SYMBOL = "Symbol('s37', positive=True, integer=True)"


def node(target: str) -> dict[str, Any]:
    return {"target": target, "inputs": [], "outputs": [], "metadata": {"stack_trace": "import os", "target": 1}}


def document(*nodes: dict[str, Any], expression: str = SYMBOL) -> dict[str, Any]:
    sizes = [{"as_expr": {"expr_str": expression, "hint": {"as_int": 2}}}, {"as_int": 4}]
    return {"graph_module": {"graph": {"nodes": list(nodes), "tensor_values": {"x": {"sizes": sizes}}}}}


def write(path: Path, model: Any, *more: str, method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("m/archive_format", "pt2")
        archive.writestr("m/models/model.json", model if isinstance(model, str) else json.dumps(model))
        for name in more:
            archive.writestr(name, b"\x80\x04")
    return path


def refused(path: Path) -> str:
    with pytest.raises(ConfigurationError) as caught:
        check_program(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "target",
    [
        "torch.ops.aten.linear.default",
        "torch.ops.aten._softmax.default",
        "torch.ops.aten.__and__.Tensor",
        "torch.ops.higher_order.cond",
        "torch.sym_max",
        "_operator.getitem",
        "math.ceil",
    ],
)
def test_what_a_program_calls_is_let_through(tmp_path: Path, target: str) -> None:
    entries = ("m/data/weights/weight_0", "m/data/weights/model_weights_config.json.json", "m/.data/version")
    check_program(write(tmp_path / "m.pt2", document(node(target)), entries[0], entries[2]))


@pytest.mark.parametrize(
    "target",
    [
        "torch.os.system",
        "torch.hub.load",
        "torch.load",
        "torch.ops.load_library",
        "torch.ops.aten.from_file.default",
        "torch.ops.aten.__class__.__base__",
        "torch.ops.aten.__init__.__globals__",
        "torch.ops.aten.add._op",
        "torch.ops.mine.steal.default",
        "torch.sym_max.__globals__",
        "_operator.methodcaller",
        "_operator.attrgetter",
        "math.__loader__",
        "math.ceil.__self__",
        "builtins.eval",
        "#extension:thing",
        "",
        "torch.ops.aten.add.Tensor\n",
    ],
)
def test_a_call_that_a_program_has_no_need_of_is_refused(tmp_path: Path, target: str) -> None:
    hidden = {"then": {"as_graph": {"graph": {"nodes": [node(target)]}}}}
    for model in (document(node(target)), document({**node("torch.ops.higher_order.cond"), "inputs": [hidden]})):
        assert "--trust" in refused(write(tmp_path / "m.pt2", model))


@pytest.mark.parametrize(
    "expression",
    [
        SYMBOL,
        f"2*{SYMBOL} + 1",
        "Mul(Integer(2), Symbol('s0', integer=True))",
        "Max(1, s0)",
        "FloorDiv(s0, 2) <= 7",
        "s0 // 2 + u3",
        "-1.5e-3",
        "",
    ],
)
def test_arithmetic_is_let_through(tmp_path: Path, expression: str) -> None:
    check_program(write(tmp_path / "m.pt2", document(expression=expression)))


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os')",
        "open('s0')",
        "exec('s37')",
        "eval(s0)",
        "s0.__class__",
        "Symbol.mro()",
        "[].append(1)",
        "().x",
        "(lambda: 0)()",
        "S('os.system(1)')",
        "Symbol('s0 or x')",
        'Symbol("s0")',
        "Symbol('s0');s1",
        "s0[0]",
        "{}",
        "S.x",
        "exit()",
        "\u017f0",
    ],
)
def test_an_expression_that_is_more_is_refused(tmp_path: Path, expression: str) -> None:
    assert "the expression" in refused(write(tmp_path / "m.pt2", document(expression=expression)))


@pytest.mark.parametrize(
    "entry",
    [
        "m/data/aotinductor/model/model.so",
        "m/data/constants/opaque_obj_0",
        "m/data/constants/custom_obj_0",
        "m/data.pkl",
        "m/code/thing.py",
        "../escape",
        "m/extra/../../escape",
        "/etc/passwd",
    ],
)
def test_an_entry_that_a_program_has_no_need_of_is_refused(tmp_path: Path, entry: str) -> None:
    assert "the entry" in refused(write(tmp_path / "m.pt2", document(), entry))


def test_a_zip_bomb_is_refused(tmp_path: Path) -> None:
    bomb = write(tmp_path / "m.pt2", " " * 10**7, method=zipfile.ZIP_DEFLATED)
    assert bomb.stat().st_size < 10**5
    assert "unpacks to 100000" in refused(bomb)


def test_an_entry_that_stands_twice_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "m.pt2", document())
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "a") as archive:
        archive.writestr("m/archive_format", "pt2")
    assert "twice" in refused(path)


@pytest.mark.parametrize("text", ["", "{", "\x00", "[" * 100_000], ids=["nothing", "half", "zero", "deep"])
def test_a_part_that_is_no_json_is_refused(tmp_path: Path, text: str) -> None:
    assert "no JSON" in refused(write(tmp_path / "m.pt2", text))


def test_a_file_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "m.pt2", document())
    path.write_bytes(path.read_bytes()[:-30])
    assert "cannot be read" in refused(path)
