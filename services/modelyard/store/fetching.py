"""How far a download is, in the log: at its beginning, now and then, and at its end."""

import logging
import time
from types import TracebackType
from typing import Self

from rich.filesize import decimal

from modelyard.manifest import Manifest

log = logging.getLogger("modelyard.store")

EVERY_SECONDS = 5.0


class Fetch:
    """`told` is called with the bytes that have come."""

    def __init__(self, manifest: Manifest, source: str) -> None:
        self._what = f"{manifest.model} version {manifest.version}"
        self._total = sum(entry.bytes for entry in manifest.files.values())
        self._begin = self._shown = time.monotonic()
        self._done = 0
        log.info("%s: %s come from %s", self._what, decimal(self._total), source)

    def told(self, count: int) -> None:
        self._done += count
        if time.monotonic() - self._shown >= EVERY_SECONDS:
            self._shown = time.monotonic()
            share = self._done / self._total if self._total else 1.0
            log.info("%s: %.0f %% of %s", self._what, 100 * share, decimal(self._total))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            log.info("%s is in the mirror after %.1f s", self._what, time.monotonic() - self._begin)
