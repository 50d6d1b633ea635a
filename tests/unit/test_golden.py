"""Golden tensors keep every datatype bit for bit."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from modelyard.golden import read_golden, write_golden
from modelyard.tensors import Tensor
from tests.unit.strategies import same, tensors


@given(st.lists(tensors(), max_size=2), st.lists(tensors(), max_size=2))
def test_what_is_written_is_read(inputs: list[Tensor], outputs: list[Tensor]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "golden.json"
        write_golden(path, inputs, outputs)
        golden = read_golden(path)
    for got, put in ((golden.inputs, inputs), (golden.outputs, outputs)):
        assert [(t.name, t.datatype) for t in got] == [(t.name, t.datatype) for t in put]
        assert all(same(one.array, other.array) for one, other in zip(got, put, strict=True))
