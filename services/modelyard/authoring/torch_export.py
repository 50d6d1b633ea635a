"""A torch module becomes one ONNX file."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

OPSET = 18


def export_torch(
    model: torch.nn.Module | torch.export.ExportedProgram,
    example: tuple[torch.Tensor, ...],
    artifact: Path,
    *,
    inputs: Sequence[str] | None = None,
    outputs: Sequence[str] | None = None,
    dynamic_shapes: dict[str, Any] | tuple[Any, ...] | list[Any] | None = None,
    opset: int = OPSET,
) -> None:
    """Write `artifact`. Give an example with two rows or more: one could be taken for a constant.

    `inputs` and `outputs` are the tensors' names; `dynamic_shapes` says by the names of forward's arguments which
    dimensions vary, as torch.export does. An ExportedProgram knows its own shapes.
    """
    with calm():
        program = torch.onnx.export(
            model,
            example,
            input_names=inputs,
            output_names=outputs,
            dynamic_shapes=dynamic_shapes,
            opset_version=opset,
            dynamo=True,
            verbose=False,
        )
        if program is not None:  # it is a program with dynamo
            _free_names(program)
            program.save(artifact, external_data=False)


def _free_names(program: torch.onnx.ONNXProgram) -> None:
    """A value inside may have an output's name: torch calls it after its operator, `embedding` or `softmax`.

    The exporter (2.13) writes such a file without a word, and ONNX Runtime refuses it: "duplicate definition of name".
    """
    graph = program.model.graph
    names = {value.name for value in (*graph.inputs, *graph.outputs)}
    for node in graph:
        for value in node.outputs:
            if value.name in names and not value.is_graph_output():
                value.name = f"{value.name}_inside"


@contextlib.contextmanager
def calm() -> Iterator[None]:
    """Hold back what an exporter prints of its own progress; an error still comes through."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
