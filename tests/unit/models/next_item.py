"""The scripts of models/next_item as modules of a test: models/ is no package, and its folders share names."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

FOLDER = Path(__file__).resolve().parents[3] / "models" / "next_item"
NAMES = ("generator", "oracle", "baselines", "dataset", "network")


@contextmanager
def scripts() -> Iterator[SimpleNamespace]:
    """The modules by name; other folders' modules of the same names are as they were when the block ends."""
    kept = {name: sys.modules.pop(name) for name in NAMES if name in sys.modules}
    sys.path.insert(0, str(FOLDER))
    try:
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in NAMES})
    finally:
        sys.path.remove(str(FOLDER))
        for name in NAMES:
            sys.modules.pop(name, None)
        sys.modules.update(kept)
