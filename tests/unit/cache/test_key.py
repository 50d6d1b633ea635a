"""The key of a row: equal questions have equal keys, all others differ."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.cache import key as key_module
from modelyard.cache.key import Signature, row_keys
from modelyard.tensors import Parameter, Tensor
from tests.unit.strategies import Array, bytes_array, tensors

X = Tensor("x", "FP32", np.arange(6, dtype=np.float32).reshape(2, 3))


def keys(
    inputs: list[Tensor],
    outputs: tuple[str, ...] = ("y",),
    parameters: dict[str, Parameter] | None = None,
    model: str = "m",
    digest: str = "d",
    batched: bool = True,
) -> list[bytes]:
    signature = Signature.of(inputs, outputs, parameters or {}, batched)
    return row_keys(model, digest, signature, inputs, batched)


@given(tensors(min_rows=1), st.data())
def test_a_row_has_the_same_key_in_a_batch_and_alone(tensor: Tensor, data: st.DataObject) -> None:
    together = keys([tensor])
    row = data.draw(st.integers(0, tensor.array.shape[0] - 1))
    alone = Tensor(tensor.name, tensor.datatype, tensor.array[row : row + 1])
    assert keys([alone]) == [together[row]]
    assert len(together) == tensor.array.shape[0]
    assert all(len(key) == 32 for key in together)


@given(tensors(min_rows=1), tensors(min_rows=1))
def test_two_single_rows_have_one_key_only_when_they_are_the_same(one: Tensor, other: Tensor) -> None:
    one, other = (Tensor(t.name, t.datatype, t.array[:1]) for t in (one, other))

    def identity(t: Tensor) -> tuple[object, ...]:
        return t.name, t.datatype, t.shape, t.array.tolist() if t.datatype == "BYTES" else t.array.tobytes()

    assert (keys([one]) == keys([other])) == (identity(one) == identity(other))


@pytest.mark.parametrize(
    "other",
    [
        Tensor("z", "FP32", X.array),
        Tensor("x", "INT32", X.array.view(np.int32)),
        Tensor("x", "FP32", X.array.reshape(2, 3, 1)),
        Tensor("x", "FP32", X.array.reshape(2, 1, 3)),
        Tensor("x", "FP32", X.array + 1),
    ],
    ids=["name", "datatype", "rank", "shape", "values"],
)
def test_name_datatype_shape_and_bytes_of_an_input_are_in_the_key(other: Tensor) -> None:
    assert not set(keys([X])) & set(keys([other]))


def test_bf16_and_uint16_with_the_same_bits_differ() -> None:
    bits = np.ones((1, 2), np.uint16)
    assert keys([Tensor("x", "BF16", bits)]) != keys([Tensor("x", "UINT16", bits)])


def test_minus_zero_is_not_zero() -> None:
    zero, minus = (Tensor("x", "FP32", np.array([[value]], np.float32)) for value in (0.0, -0.0))
    assert keys([zero]) != keys([minus])


def test_model_digest_outputs_their_order_and_parameters_are_in_the_key() -> None:
    variants = [
        keys([X]),
        keys([X], model="other"),
        keys([X], digest="other"),
        keys([X], outputs=("z",)),
        keys([X], outputs=("y", "z")),
        keys([X], outputs=("z", "y")),
        keys([X], parameters={"mode": 1}),
        keys([X], parameters={"mode": 2}),
        keys([X], parameters={"mode": True}),
        keys([X], parameters={"mode": "1"}),
        keys([X], parameters={"mode": 1.0}),
        keys([X], parameters={"edom": 1}),
        keys([X], batched=False),
    ]
    flat = [key for variant in variants for key in variant]
    assert len(set(flat)) == len(flat)


def test_model_and_digest_do_not_run_into_each_other() -> None:
    assert keys([X], model="ab", digest="c") != keys([X], model="a", digest="bc")


def test_parameters_that_say_how_to_answer_are_not_in_the_key() -> None:
    neutral: dict[str, Parameter] = {"timeout": 5, "priority": 1, "cache": True, "binary_data_output": True}
    assert keys([X], parameters=neutral) == keys([X])


def test_the_order_of_parameters_does_not_matter() -> None:
    assert keys([X], parameters={"a": 1, "b": 2}) == keys([X], parameters={"b": 2, "a": 1})


def test_memory_layout_does_not_matter() -> None:
    columns = Tensor("x", "FP32", np.asfortranarray(X.array))
    every_other = Tensor("x", "FP32", np.repeat(X.array, 2, axis=0)[::2])
    assert keys([columns]) == keys([every_other]) == keys([X])


def test_bytes_elements_keep_their_borders() -> None:
    def key(*elements: bytes) -> list[bytes]:
        return keys([Tensor("x", "BYTES", bytes_array(list(elements), (1, 2)))])

    assert len({*key(b"ab", b"c"), *key(b"a", b"bc"), *key(b"", b"abc")}) == 3


def test_values_do_not_move_from_one_input_to_the_next() -> None:
    def key(left: Array, right: Array) -> list[bytes]:
        return keys([Tensor("a", "UINT8", left), Tensor("b", "UINT8", right)])

    one, two = np.array([[1]], np.uint8), np.array([[2]], np.uint8)
    assert key(one, two) != key(two, one)


def test_without_a_batch_dimension_there_is_one_key_over_everything() -> None:
    changed = X.array.copy()
    changed[1, 2] += 1
    (key,) = keys([X], batched=False)
    assert [key] != keys([Tensor("x", "FP32", changed)], batched=False)


def test_rows_without_elements_are_equal_rows() -> None:
    assert len(set(keys([Tensor("x", "FP32", np.zeros((3, 0), np.float32))]))) == 1


@pytest.mark.parametrize("parameters", [{"x": "y" * 5000}, {"x" * 5000: "y"}])
def test_what_a_caller_writes_at_length_is_not_kept(parameters: dict[str, Parameter]) -> None:
    """The hash state of a signature is remembered, and with it every text in it: not one that a caller makes long."""
    before = key_module._base.cache_info().currsize
    assert len(keys([X], parameters=parameters)) == len(X.array)
    assert key_module._base.cache_info().currsize == before
