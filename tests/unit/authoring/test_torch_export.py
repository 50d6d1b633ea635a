"""A torch module becomes a file that ONNX Runtime loads, whatever its values are called."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import torch

from modelyard.authoring.torch_export import export_torch


class Table(torch.nn.Module):
    """Its one operator is called `embedding` by torch, as its output is."""

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(5, 3)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        doubled: torch.Tensor = self.table(ids) * 2.0
        return doubled


def test_an_output_may_be_called_as_a_value_inside(tmp_path: Path) -> None:
    model, path = Table(), tmp_path / "model.onnx"
    sizes = {"ids": {0: torch.export.Dim("batch")}}
    export_torch(model, (torch.tensor([0, 1]),), path, inputs=["ids"], outputs=["embedding"], dynamic_shapes=sizes)
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert [output.name for output in session.get_outputs()] == ["embedding"]
    (answer,) = session.run(None, {"ids": np.array([4, 0, 2])})
    np.testing.assert_allclose(answer, 2 * model.table.weight.detach().numpy()[[4, 0, 2]], rtol=1e-6)
