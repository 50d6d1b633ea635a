"""The rows of `digits`, split as there: models/digits/dataset.py is the one source of the split."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "digits"))

from dataset import Rows, load

__all__ = ["Rows", "load"]
