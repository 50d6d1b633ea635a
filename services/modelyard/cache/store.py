"""What a cache tier behind a network is: get, set, ping, close. A miss is a sentinel, never None.

The memory tier is not behind this port: a hit there takes less time than one await.
"""

import asyncio
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Final, Protocol

from modelyard.tensors import Array

Key = bytes
"""32 bytes: the digest that `key.py` makes."""
Row = tuple[Array, ...]
"""The outputs of one row, without the batch dimension, in the order in which they were asked for."""


class Missing(Enum):
    MISS = "miss"


MISS: Final = Missing.MISS


class Store(Protocol):
    @property
    def up(self) -> bool:
        """False while the tier is bypassed: then `get` and `set` are not to be called."""
        ...

    @property
    def seconds_per_key(self) -> float:
        """For how long the look-up of one key keeps the event loop busy, as measured lately."""
        ...

    @property
    def seconds_per_entry(self) -> float:
        """As `seconds_per_key`, for writing one entry."""
        ...

    def get(self, keys: Sequence[Key]) -> "asyncio.Future[list[bytes | Missing]]":
        """One entry or MISS per key, within the tier's timeout; never raises: a failing tier misses."""
        ...

    def set(self, entries: Mapping[Key, bytes], ttl: float) -> None:
        """Write behind: returns at once; entries that cannot be written are dropped and counted."""
        ...

    def delete(self, keys: Sequence[Key]) -> None:
        """Write behind: forget entries that proved wrong."""
        ...

    async def ping(self) -> bool: ...

    async def close(self) -> None: ...
