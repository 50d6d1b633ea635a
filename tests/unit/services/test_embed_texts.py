"""What callers of embed may send."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from embed_service.texts import MAX_CHARACTERS, MAX_MATCHES, MAX_TEXTS, Query, Texts, summary
from modelyard.tensors import Parameter


@pytest.mark.parametrize("texts", [[""], ["a"] * MAX_TEXTS, ["é" * MAX_CHARACTERS], ["\x00", "🙂", "汉"]])
def test_texts_are_taken_as_they_are(texts: list[str]) -> None:
    assert Texts(texts=texts).texts == texts


@pytest.mark.parametrize(
    "texts", [[], ["a"] * (MAX_TEXTS + 1), ["a" * (MAX_CHARACTERS + 1)], ["\ud800"], [5], [None], "text", None]
)
def test_other_texts_are_refused_by_name(texts: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        Texts(texts=texts)
    assert all(fault["loc"][0] == "texts" for fault in caught.value.errors())


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"query": ""}, "query"),
        ({"query": " \n"}, "query"),
        ({"query": "\udfff"}, "query"),
        ({"query": "a" * (MAX_CHARACTERS + 1)}, "query"),
        ({"query": ["a"]}, "query"),
        ({"query": "a", "k": 0}, "k"),
        ({"query": "a", "k": MAX_MATCHES + 1}, "k"),
        ({"query": "a", "k": 1.5}, "k"),
        ({"query": "a", "n": 1}, "n"),
        ({"k": 1}, "query"),
    ],
)
def test_other_queries_are_refused_by_name(body: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Query.model_validate(body)
    assert [fault["loc"] for fault in caught.value.errors()] == [(field,)]


def test_a_query_asks_for_five() -> None:
    assert Query(query="bread").k == 5


@pytest.mark.parametrize(
    ("caches", "whole"), [(["hit"], "hit"), (["miss", "miss"], "miss"), (["hit", "miss"], "partial")]
)
def test_what_the_cache_did_is_summed_up(caches: list[Parameter], whole: str) -> None:
    assert summary(caches) == whole
