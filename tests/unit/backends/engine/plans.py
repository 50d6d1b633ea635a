"""Engines that the tests of the store publish."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

from modelyard.backends.engine.entry import About, EngineKey
from modelyard.backends.engine.store import EngineStore

KEY = EngineKey("ab" * 32, "10.9.0.34", "NVIDIA Fake 10", "9.0", "fp16", '[{"x":[[1],[1],[1]]}]')
ABOUT = About("digits", "1", 2.5)
PLAN = bytes(range(256)) * 64


def store_in(folder: Path) -> EngineStore:
    return EngineStore(folder / "cache" / "engines", 10**6)


def publish(store: EngineStore, key: EngineKey = KEY, plan: bytes = PLAN) -> None:
    with store.lock(key):
        store.publish(key, plan, ABOUT)


def files(store: EngineStore, ending: str = "") -> list[Path]:
    return sorted(path for path in store.folder.iterdir() if path.name.endswith(ending))


def other(name: str) -> EngineKey:
    return replace(KEY, onnx_sha256=hashlib.sha256(name.encode()).hexdigest())
