"""The searched sentences: their file, and their order by the cosine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from embed_service.corpus import Corpus, read_corpus, write_corpus

VECTORS = np.array([[1, 0], [0, 1], [0.6, 0.8], [0, 1]], np.float32)
SENTENCES = ["east", "north", "between", "north again"]
TOPICS = ["a", "b", "c", "b"]


def test_the_nearest_come_first_and_equal_ones_in_their_order() -> None:
    matches = Corpus(SENTENCES, TOPICS, VECTORS).search(np.array([0, 1], np.float32), 3)
    assert [match.sentence for match in matches] == ["north", "north again", "between"]
    assert [match.topic for match in matches] == ["b", "b", "c"]
    assert [match.score for match in matches] == pytest.approx([1, 1, 0.8])


def test_more_than_there_are_is_all() -> None:
    assert len(Corpus(SENTENCES, TOPICS, VECTORS).search(np.array([1, 0], np.float32), 50)) == 4


def test_it_comes_back_from_its_file(tmp_path: Path) -> None:
    write_corpus(tmp_path / "corpus.npz", SENTENCES, TOPICS, VECTORS)
    corpus = read_corpus(tmp_path / "corpus.npz")
    assert len(corpus) == 4
    (match,) = corpus.search(np.array([1, 0], np.float32), 1)
    assert match == ("east", "a", 1.0)
    assert type(match.sentence) is str


def test_equal_sentences_make_equal_files(tmp_path: Path) -> None:
    for name in ("a.npz", "b.npz"):
        write_corpus(tmp_path / name, SENTENCES, TOPICS, VECTORS)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_counts_that_differ_are_refused(tmp_path: Path) -> None:
    write_corpus(tmp_path / "corpus.npz", SENTENCES[:3], TOPICS, VECTORS)
    with pytest.raises(ValueError, match="3 sentences"):
        read_corpus(tmp_path / "corpus.npz")


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", allow_pickle=False, sentences=np.array(SENTENCES))
    with pytest.raises(ValueError, match="no sentences with vectors"):
        read_corpus(tmp_path / "other.npz")
