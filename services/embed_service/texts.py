"""What callers send and get: texts in, vectors or ranked sentences out."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from modelyard.tensors import Parameter

MAX_TEXTS = 64
MAX_CHARACTERS = 8192
"""Of one text. The model reads 256 tokens, about 1,200 characters of English; what is behind them is left out."""
MAX_MATCHES = 50


def _encodable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("half of a surrogate pair is no character") from None
    return text


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("there is nothing to search for")
    return text


Text = Annotated[str, Field(max_length=MAX_CHARACTERS), AfterValidator(_encodable)]
Cache = Literal["hit", "join", "partial", "miss", "bypass"]


class Texts(BaseModel):
    """Texts to embed."""

    model_config = ConfigDict(extra="forbid", title="Texts")

    texts: list[Text] = Field(
        min_length=1,
        max_length=MAX_TEXTS,
        description=f"1 to {MAX_TEXTS} texts of {MAX_CHARACTERS:,} characters at most; what is behind the 256th token "
        "is left out of the vector, and `truncated` says so",
    )


class Embeddings(BaseModel):
    """What the texts mean, in their order."""

    embeddings: list[list[float]] = Field(description="384 numbers for each text, a vector of length 1")
    tokens: list[int] = Field(description="how many tokens of each text were read, with the two that frame it")
    truncated: list[bool] = Field(description="whether the end of the text was left out")
    cache: Cache = Field(description="whether the cache answered; partial: for some of the texts")
    model_version: str


class Query(BaseModel):
    """What to look for."""

    model_config = ConfigDict(extra="forbid", title="Query")

    query: Annotated[Text, AfterValidator(_not_blank)] = Field(description="a question, a sentence or some words")
    k: int = Field(5, ge=1, le=MAX_MATCHES, description="how many sentences are wanted")


class Ranked(BaseModel):
    """A sentence that was found."""

    sentence: str
    topic: str
    score: float = Field(description="cosine of its vector and the query's, 1 for the same meaning")


class Found(BaseModel):
    """The sentences nearest in meaning, the nearest first."""

    results: list[Ranked]
    cache: Cache
    model_version: str


def summary(caches: Sequence[Parameter]) -> Parameter:
    """What the cache had to do with an answer that was put together."""
    return caches[0] if len(set(caches)) == 1 else "partial"
