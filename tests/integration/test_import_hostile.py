"""`modelyard import` of files that are wrong, missing or hostile: one clear line, in bounded time, nothing written."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.integration.harness import CommandResult, modelyard
from tests.integration.onnx_models import build, identity, loop, value

MEMORY = str(2 * 2**30)


def bring(source: Path, repository: Path, seconds: str = "60") -> CommandResult:
    settings = {"MODELYARD_IMPORT_SECONDS": seconds, "MODELYARD_IMPORT_MEMORY_BYTES": MEMORY}
    return modelyard("import", source, "--name", "m", "--repository", repository, env=settings)


def allocating(elements: int) -> onnx.ModelProto:
    """y = x + 0 * (the sum of as many zeros)."""
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["some"], keepdims=0),
        helper.make_node("Mul", ["some", "nothing"], ["none"]),
        helper.make_node("Cast", ["none"], ["whole"], to=TensorProto.INT64),
        helper.make_node("Add", ["size", "whole"], ["shape"]),
        helper.make_node("ConstantOfShape", ["shape"], ["zeros"]),
        helper.make_node("ReduceSum", ["zeros"], ["sum"], keepdims=0),
        helper.make_node("Add", ["x", "sum"], ["y"]),
    ]
    sides = [value(name, "FP32", (-1, 4)) for name in "xy"]
    return build(nodes, sides[:1], sides[1:], {"size": np.array([elements]), "nothing": np.array(0.0, np.float32)})


def raw_model(*nodes: onnx.NodeProto, opset: int = 17, dims: tuple[int, ...] = (1, 4)) -> onnx.ModelProto:
    """Without a check: x -> y."""
    sides = [helper.make_tensor_value_info(name, TensorProto.FLOAT, dims) for name in "xy"]
    graph = helper.make_graph(list(nodes), "g", sides[:1], sides[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def changed(change: Callable[[onnx.ModelProto], None]) -> onnx.ModelProto:
    model = raw_model(helper.make_node("Identity", ["x"], ["y"]))
    change(model)
    return model


def part(number: int, content: bytes) -> bytes:
    """A field of a protobuf message."""
    size, length = b"", len(content)
    while length > 127:
        size, length = size + bytes([length % 128 + 128]), length // 128
    return bytes([number * 8 + 2]) + size + bytes([length]) + content


def nested(depth: int) -> bytes:
    """A graph in an attribute of a node of a graph in an attribute."""
    graph = b""
    for _ in range(depth):
        graph = part(1, part(5, part(6, graph)))
    return b"\x08\x08" + part(8, b"\x10\x11") + part(7, graph)


def name_of(text: str) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        model.graph.input[0].name = model.graph.node[0].input[0] = text

    return change


def not_utf_8(text: str = "abcdefgh") -> bytes:
    whole: bytes = changed(name_of(text)).SerializeToString()
    return whole.replace(text.encode(), b"\xff\xfe\xfd\xfc\x80\x81\x82\x83")


def zip_bomb() -> bytes:
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr("m/archive_format", "pt2")
        archive.writestr("m/models/model.json", b" " * (64 * 2**20))
    return raw.getvalue()


def external(**entries: str) -> onnx.ModelProto:
    def change(model: onnx.ModelProto) -> None:
        weight = model.graph.initializer.add(name="w", dims=[1, 4], data_type=1, data_location=TensorProto.EXTERNAL)
        for key, text in entries.items():
            weight.external_data.add(key=key, value=text)
        model.graph.node[0].CopyFrom(helper.make_node("Add", ["x", "w"], ["y"]))

    return changed(change)


FILES: dict[str, tuple[onnx.ModelProto | bytes, str]] = {
    "no bytes": (b"", "is empty"),
    "cut off": (identity().SerializeToString()[:50], "no ONNX file"),
    "words": (b"this is no model", "none of the kinds"),
    "zeros": (bytes(1000), "none of the kinds"),
    "tags without end": (b"\x08\x07" + b"\x3a\xff\xff\xff\xff\x7f" * 20, "no ONNX file"),
    "a graph of nothing": (b"\x08\x07\x3a\x00", "no graph"),
    "a zip bomb": (zip_bomb(), "unpacks to"),
    "a pickle": (b"\x80\x04\x95\x00\x00\x00.", "--trust"),
    "a web page": (b"<!doctype html><p>404", "web page"),
    "a huge dimension": (raw_model(helper.make_node("Relu", ["x"], ["y"]), dims=(2**60, 4)), "declares the shape"),
    "huge dimensions": (raw_model(helper.make_node("Relu", ["x"], ["y"]), dims=(2**30, 2**30)), "no request could"),
    "an unknown operator": (raw_model(helper.make_node("Conjure", ["x"], ["y"])), "Conjure"),
    "a custom domain": (raw_model(helper.make_node("Relu", ["x"], ["y"], domain="com.acme")), "com.acme"),
    "a circle": (
        raw_model(helper.make_node("Add", ["x", "y"], ["z"]), helper.make_node("Relu", ["z"], ["y"])),
        "cannot load it",
    ),
    "an opset of the future": (raw_model(helper.make_node("Relu", ["x"], ["y"]), opset=999), "cannot load it"),
    "nothing makes y": (raw_model(helper.make_node("Relu", ["x"], ["z"])), "cannot load it"),
    "graphs in graphs": (nested(2000), "no ONNX file"),
    "an output twice": (changed(lambda model: model.graph.output.extend(list(model.graph.output))), "two outputs"),
    "a name with control characters": (changed(name_of("x\x1b[2J\x07")), "control characters"),
    "a name of markup": (changed(name_of("[/bold]" * 100)), "longer than 512"),
    "a name without end": (changed(name_of("x" * 10**6)), "longer than 512"),
    "no UTF-8": (not_utf_8(), "no ONNX file"),
    "a type of the future": (
        changed(lambda model: setattr(model.graph.input[0].type.tensor_type, "elem_type", 77)),
        "type 77",
    ),
    "sparse input": (
        changed(
            lambda model: model.graph.input[0].CopyFrom(
                helper.make_sparse_tensor_value_info("x", TensorProto.FLOAT, [2, 2])
            )
        ),
        "sparse_tensor_type",
    ),
    "NaN": (
        raw_model(helper.make_node("Sub", ["x", "x"], ["zero"]), helper.make_node("Div", ["zero", "zero"], ["y"])),
        "hold NaN",
    ),
    "data outside": (external(location="../secret"), "outside its folder"),
    "data in /dev": (external(location="/dev/zero"), "outside its folder"),
    "data cut off": (external(location="short.bin"), "cut off?"),
    "data far away": (external(location="short.bin", offset="99999999999999"), "cut off?"),
    "a loop without end": (loop(2**62), "longer than 5 s"),
    "a hundred gigabytes": (allocating(25 * 10**9), "GiB of memory"),
}


def refused(result: CommandResult, words: str) -> None:
    assert result.code == 1, result
    lines = [line for line in result.err.splitlines() if line.strip()]
    assert len(lines) == 1, result.err
    assert lines[0].startswith("error: "), result.err
    assert words in lines[0], lines[0]
    assert lines[0].isprintable()
    assert len(lines[0]) < 1500


@pytest.mark.parametrize("what", FILES)
def test_a_file_is_refused_in_one_line(tmp_path: Path, what: str) -> None:
    content, words = FILES[what]
    source, repository = tmp_path / "m.onnx", tmp_path / "models"
    (tmp_path / "short.bin").write_bytes(b"1234567")
    source.write_bytes(content if isinstance(content, bytes) else content.SerializeToString())
    refused(bring(source, repository, "5" if words == "longer than 5 s" else "60"), words)
    assert not repository.exists()


@pytest.mark.parametrize("what", ["folder", "absent", "device", "fifo", "too large", "a link to itself"])
def test_only_a_plain_file_is_read(tmp_path: Path, what: str) -> None:
    source = tmp_path / "m.onnx"
    if what == "folder":
        source.mkdir()
    elif what == "device":
        source = Path("/dev/zero")
    elif what == "fifo":
        os.mkfifo(source)
    elif what == "too large":
        with source.open("wb") as file:
            file.truncate(2**40)
    elif what == "a link to itself":
        source.symlink_to(source)
    refused(bring(source, tmp_path / "models"), source.name)


def test_a_name_of_markup_is_printed_as_it_is(tmp_path: Path) -> None:
    source = tmp_path / "m.onnx"
    onnx.save(changed(name_of("[/x] [red]")), source)
    done = bring(source, tmp_path / "models")
    assert done.code == 0, done.err
    assert "[/x] [red]" in done.out
    for command in (("list",), ("inspect", "m")):
        shown = modelyard(*command, "--repository", tmp_path / "models")
        assert (shown.code, "Traceback" in shown.err) == (0, False), shown.err


def test_a_loop_that_ends_is_brought(tmp_path: Path) -> None:
    source = tmp_path / "m.onnx"
    onnx.save(loop(1000), source)
    done = bring(source, tmp_path / "models")
    assert done.code == 0, done.err
    assert (tmp_path / "models" / "m" / "versions" / "1" / "manifest.json").exists()
