"""What the service needs of a version beside the model: read once for each version, when it answers first."""

import asyncio
from functools import lru_cache
from typing import NamedTuple

from embed_service.corpus import CORPUS, Corpus, read_corpus
from embed_service.tokens import TOKENIZER, Encoded, Tokenizer
from modelyard.app import VersionFiles

ENCODING = asyncio.Semaphore(2)
"""Long requests that are tokenised at once: a crowd of them must not take the processor from everything else."""
AT_ONCE_CHARACTERS = 1000
"""So many take less time to tokenise than a thread takes to be asked."""
VERSIONS_KEPT = 4


class Assets(NamedTuple):
    tokenizer: Tokenizer
    corpus: Corpus


async def assets_of(files: VersionFiles) -> Assets:
    """Raises ModelNotReady when the version lacks them."""
    return await asyncio.to_thread(_read, files)


@lru_cache(VERSIONS_KEPT)
def _read(files: VersionFiles) -> Assets:
    return Assets(Tokenizer(files.path(TOKENIZER)), read_corpus(files.path(CORPUS)))


async def encode(tokenizer: Tokenizer, texts: list[str]) -> list[Encoded]:
    """Tokenise without holding up the event loop."""
    if sum(map(len, texts)) <= AT_ONCE_CHARACTERS:
        return tokenizer.encode(texts)
    async with ENCODING:
        return await asyncio.to_thread(tokenizer.encode, texts)
