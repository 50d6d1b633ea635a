"""What a store remembers beside the plans: what TensorRT's parser refused, and what its builder measured.

refusal-<digest>.json    one artifact, one TensorRT, one precision: no second try
timing-<digest>.cache    sha256, then the timing cache of one TensorRT on one kind of GPU: shortens every build
"""

import hashlib
import json
import logging
import re
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from modelyard.backends.engine.entry import FORMAT, EngineKey, digest_of, now
from modelyard.backends.engine.private import PrivateFolder

log = logging.getLogger("modelyard.engines")

Combine = Callable[[bytes, bytes], bytes]

_RECORD = re.compile(r"(?:refusal|timing)-[0-9a-f]{64}\.(?:json|cache)(?:\.[0-9a-f]+\.tmp)?")
_LOCK = "records.lock"
_SHA256_BYTES = 32


class Records:
    def __init__(self, files: PrivateFolder) -> None:
        self._files = files

    def remember_refusal(self, key: EngineKey, reason: str) -> None:
        """TensorRT cannot take this artifact, as model.yaml wants it: no other GPU changes that. Raises OSError."""
        record = {"format": FORMAT, "of": _refused(key), "reason": reason, "created": now()}
        self._files.make()
        self._files.write(_refusal_name(key), json.dumps(record, indent=1).encode() + b"\n")

    def refusal(self, key: EngineKey) -> str | None:
        """Why this TensorRT refused the artifact; None: nothing is known against it."""
        try:
            record: Any = json.loads(self._files.read(_refusal_name(key)))
            return str(record["reason"]) if record["format"] == FORMAT and record["of"] == _refused(key) else None
        except FileNotFoundError:
            return None
        except (OSError, ValueError, LookupError, TypeError) as error:
            log.warning("a remembered refusal is not believed: %s", error)
            return None

    def forget_refusal(self, key: EngineKey) -> bool:
        """True: there was one. Raises OSError."""
        return self._files.unlink(_refusal_name(key))

    def timing_cache(self, tensorrt: str, gpu: str) -> bytes | None:
        """What the builder measured before; a corrupted one is deleted, one that others could have written refused."""
        name = _timing_name(tensorrt, gpu)
        try:
            raw = self._files.read(name)
            if hashlib.sha256(raw[_SHA256_BYTES:]).digest() == raw[:_SHA256_BYTES]:
                return raw[_SHA256_BYTES:]
            log.warning("the timing cache %s is corrupted: deleted", name)
            self._files.unlink(name)
        except FileNotFoundError:
            pass
        except OSError as error:
            log.warning("a timing cache is refused: %s", error)
        return None

    def keep_timing_cache(
        self, tensorrt: str, gpu: str, read: bytes | None, written: bytes, combine: Combine | None = None
    ) -> None:
        """Write what a build made of the timing cache that it `read`. Raises OSError.

        When another build wrote one meanwhile, `combine` joins the two; without it the larger one stays.
        """
        self._files.make()
        with self._files.lock(_LOCK):
            there = self.timing_cache(tensorrt, gpu)
            data = written
            if there is not None and there != read:
                data = combine(there, written) if combine else max(there, written, key=len)
            if data != there:
                self._files.write(_timing_name(tensorrt, gpu), hashlib.sha256(data).digest() + data)

    def clear_records(self) -> int:
        """Forget every refusal and every timing cache. Returns how many there were. Raises OSError."""
        try:
            names = [name for name in self._files.names() if _RECORD.fullmatch(name)]
        except FileNotFoundError:
            return 0
        return sum(self._files.unlink(name) for name in names)


def _refused(key: EngineKey) -> dict[str, str]:
    # precision, shapes and conversion count: who mends model.yaml after a refusal is not refused for what was there
    return asdict(replace(key, gpu="", compute_capability=""))


def _refusal_name(key: EngineKey) -> str:
    return f"refusal-{digest_of(_refused(key))}.json"


def _timing_name(tensorrt: str, gpu: str) -> str:
    return f"timing-{digest_of({'tensorrt': tensorrt, 'gpu': gpu})}.cache"
