"""`python -m modelyard.authoring.program`: a torch.export program (.pt2) becomes an ONNX file, in a child process.

torch.export.load runs code that a hostile file brings: so program_check.py reads the file first, and the child has an
end in time and memory and none of the shell's variables.

check -> load -> ONNX -> does it answer as the program does on its own example? -> converted.onnx, rows.npz
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils import _pytree as pytree

from modelyard.authoring.converted import ARTIFACT, ROWS
from modelyard.authoring.program_check import check_program
from modelyard.authoring.torch_export import calm, export_torch
from modelyard.backends.base import BackendUnavailable
from modelyard.backends.onnxruntime import open_session
from modelyard.errors import ConfigurationError
from modelyard.importing.bounded import Answer, answer
from modelyard.tensors import Array

_TOLERANCE = 1e-3


def handle(request: Answer) -> Answer:
    source, scratch = Path(request["source"]), Path(request["scratch"])
    if not request["trust"]:
        check_program(source)
    torch.set_num_threads(1)
    program = _load(source)
    artifact = scratch / ARTIFACT
    try:
        export_torch(program, (), artifact, outputs=_output_names(program))
    except MemoryError:
        raise
    except Exception as error:
        raise ConfigurationError(f"torch cannot write it as ONNX: {_first_line(error)}") from None
    try:
        session = open_session(artifact)
    except BackendUnavailable as error:
        raise ConfigurationError(f"ONNX Runtime cannot load the converted file: {error}") from None
    notes = [f"converted from a torch.export program with torch {torch.__version__}"]
    shapes = {node.name: node.shape for node in session.get_inputs()}
    if not any(isinstance(size, str) for shape in shapes.values() for size in shape[:1]):
        notes.append(
            "it was exported with a fixed number of rows: torch.export.export(..., dynamic_shapes=({0: "
            "torch.export.Dim('batch')},)) frees it, and rows are batched then"
        )
    example = _example(program, list(shapes))
    if example is None:
        return {"notes": [*notes, "it carries no example, so the ONNX file was not compared with it"]}
    notes.append(_compare(program, session, example))
    np.savez(scratch / ROWS, allow_pickle=False, **example)
    return {"notes": notes}


def _load(source: Path) -> torch.export.ExportedProgram:
    try:
        with calm():
            return torch.export.load(source)
    except MemoryError:
        raise
    except Exception as error:
        raise ConfigurationError(
            f"torch {torch.__version__} cannot load {source}: {_first_line(error)}; was it saved by another version?"
        ) from None


def _output_names(program: torch.export.ExportedProgram) -> list[str] | None:
    """The keys of a dict that forward returns, or output, output_1, ...; None leaves it to the exporter."""
    spec = program.call_spec.out_spec
    if spec is None or spec.num_leaves == 0:
        return None
    taken = set(program.graph_signature.user_inputs)
    if spec.type is dict and spec.num_leaves == len(spec.context):
        names = [str(key) for key in spec.context]
    else:
        names = ["output"] if spec.num_leaves == 1 else [f"output_{number}" for number in range(spec.num_leaves)]
    return [f"{name}_out" if name in taken else name for name in names]


def _example(program: torch.export.ExportedProgram, names: list[str]) -> dict[str, Array] | None:
    """What the program was exported with, by the names of the ONNX inputs."""
    if program.example_inputs is None:
        return None
    leaves = [leaf for leaf in pytree.tree_leaves(program.example_inputs) if isinstance(leaf, torch.Tensor)]
    if len(leaves) != len(names) or any(leaf.dtype == torch.bfloat16 for leaf in leaves):
        return None
    return {name: leaf.detach().cpu().numpy() for name, leaf in zip(names, leaves, strict=True)}


def _compare(program: torch.export.ExportedProgram, session: Any, example: dict[str, Array]) -> str:
    """Raises ConfigurationError when the ONNX file is another model."""
    if program.example_inputs is None:
        raise RuntimeError("a program without an example cannot be compared")
    arguments, keywords = program.example_inputs
    with torch.no_grad():
        answers = pytree.tree_leaves(program.module()(*arguments, **keywords))
    found = session.run(None, example)
    worst = 0.0
    for want, have in zip((a for a in answers if isinstance(a, torch.Tensor)), found, strict=False):
        expected = want.detach().float().cpu().numpy()
        difference = np.abs(have.astype(np.float32) - expected) / max(1.0, float(np.abs(expected).max(initial=0.0)))
        worst = max(worst, float(difference.max(initial=0.0)))
    if not worst <= _TOLERANCE:
        raise ConfigurationError(
            f"the ONNX file differs from the program by {worst:.1e} on its own example, {_TOLERANCE:.0e} is allowed"
        )
    return f"the ONNX file and torch agree within {worst:.1e} on the program's own example"


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:300] if lines else ''}"


if __name__ == "__main__":
    answer(handle)
