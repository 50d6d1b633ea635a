"""Texts become rows of one length: buckets, groups, tensors, and what a tokenizer file says of cutting."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

from embed_service.tokens import BUCKETS, Tokenizer, bucket_of, groups, tensors

MOST = 8


@pytest.fixture
def tokenizer(tmp_path: Path) -> Tokenizer:
    """Words of a few letters, framed by two tokens, cut at 8."""
    words = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "a": 4, "b": 5}
    made = tokenizers.Tokenizer(WordLevel(words, unk_token="[UNK]"))
    made.pre_tokenizer = Whitespace()
    made.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    made.enable_truncation(MOST)
    made.save(str(tmp_path / "tokenizer.json"))
    return Tokenizer(tmp_path / "tokenizer.json")


def test_ids_are_framed_and_unknown_words_have_one(tokenizer: Tokenizer) -> None:
    first, second = tokenizer.encode(["a b c", ""])
    assert list(first.ids) == [2, 4, 5, 1, 3]
    assert list(second.ids) == [2, 3]
    assert not first.truncated
    assert not second.truncated


@pytest.mark.parametrize(("words", "truncated"), [(5, False), (6, False), (7, True), (100, True)])
def test_what_was_cut_is_said(tokenizer: Tokenizer, words: int, truncated: bool) -> None:
    (encoded,) = tokenizer.encode(["a " * words])
    assert len(encoded.ids) == min(words + 2, MOST)
    assert encoded.ids[-1] == 3
    assert encoded.truncated is truncated


@pytest.mark.parametrize(("tokens", "bucket"), [(0, 16), (16, 16), (17, 32), (128, 128), (129, 256), (256, 256)])
def test_the_least_bucket_is_taken(tokens: int, bucket: int) -> None:
    assert bucket_of(tokens) == bucket


def test_no_bucket_holds_more_than_the_largest() -> None:
    with pytest.raises(ValueError, match="257 tokens"):
        bucket_of(257)


@given(st.lists(st.integers(0, BUCKETS[-1]), max_size=80), st.integers(1, 20))
def test_groups_hold_every_text_once_in_its_bucket(lengths: list[int], rows: int) -> None:
    made = list(groups(lengths, rows))
    assert sorted(position for group in made for position in group.positions) == list(range(len(lengths)))
    for group in made:
        assert 1 <= len(group.positions) <= rows
        assert all(bucket_of(lengths[position]) == group.bucket for position in group.positions)
    fullest = {bucket: sum(bucket_of(length) == bucket for length in lengths) for bucket in BUCKETS}
    assert len(made) == sum(-(-count // rows) for count in fullest.values())


@given(st.lists(st.lists(st.integers(1, 30_000), max_size=16), min_size=1, max_size=9))
def test_tensors_hold_the_ids_and_mark_them(rows: list[list[int]]) -> None:
    made = tensors(rows, 16)
    ids, mask = made["input_ids"], made["attention_mask"]
    assert ids.dtype == mask.dtype == np.int64
    assert ids.shape == mask.shape == (len(rows), 16)
    for row, its_ids, its_mask in zip(rows, ids, mask, strict=True):
        assert its_ids[its_mask == 1].tolist() == row
        assert not its_ids[its_mask == 0].any()
        assert its_mask.tolist() == sorted(its_mask.tolist(), reverse=True)
