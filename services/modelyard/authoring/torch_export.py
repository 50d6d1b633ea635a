"""A torch module becomes one ONNX file."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
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
    dynamic_shapes: Mapping[str, Any] | Sequence[Any] | None = None,
    opset: int = OPSET,
) -> None:
    """Write `artifact`. Give an example with two rows or more: one could be taken for a constant.

    `inputs` and `outputs` are the tensors' names; `dynamic_shapes` says by the names of forward's arguments which
    dimensions vary, as torch.export does. An ExportedProgram knows its own shapes.
    """
    with calm():
        torch.onnx.export(
            model,
            example,
            artifact,
            input_names=inputs,
            output_names=outputs,
            dynamic_shapes=dynamic_shapes,
            opset_version=opset,
            dynamo=True,
            external_data=False,
            verbose=False,
        )


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
