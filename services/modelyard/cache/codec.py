"""An entry of the Redis tier: a row's outputs as bytes, and the proof that they belong to the key.

    b"MY01" | key (32) | blake3 of the payload (16) | payload: msgpack [[name, datatype, shape, raw], ...]

Whatever stands in Redis may be corrupt, truncated or somebody else's: `decode` gives MISS for all of it. No pickle.
"""

from collections.abc import Sequence

import msgspec
from blake3 import blake3

from modelyard.cache.store import MISS, Key, Missing, Row
from modelyard.errors import InvalidInput
from modelyard.tensors import from_bytes, to_bytes

_MAGIC = b"MY01"
_KEY_END = len(_MAGIC) + 32
_CHECK_END = _KEY_END + 16

OutputSpec = tuple[str, str]
"""(name, datatype) of an output that was asked for."""


class _Output(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    name: str
    datatype: str
    shape: tuple[int, ...]
    raw: bytes


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[_Output])


def encode(key: Key, outputs: Sequence[OutputSpec], row: Row) -> bytes:
    payload = _encoder.encode(
        [
            _Output(name, datatype, array.shape, to_bytes(datatype, array))
            for (name, datatype), array in zip(outputs, row, strict=True)
        ]
    )
    return b"".join((_MAGIC, key, _check(payload), payload))


def decode(key: Key, outputs: Sequence[OutputSpec], entry: bytes) -> Row | Missing:
    """The row of an entry that `encode` made for this key and these outputs; MISS for anything else."""
    payload = entry[_CHECK_END:]
    if entry[:_KEY_END] != _MAGIC + key or entry[_KEY_END:_CHECK_END] != _check(payload):
        return MISS
    try:
        stored = _decoder.decode(payload)
        if [(output.name, output.datatype) for output in stored] != list(outputs):
            return MISS
        return tuple(from_bytes(o.datatype, o.shape, o.raw, o.name) for o in stored)
    except (msgspec.MsgspecError, InvalidInput):
        return MISS


def _check(payload: bytes) -> bytes:
    return blake3(payload).digest(length=16)
