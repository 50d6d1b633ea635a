"""A repository with embed, and what the package itself says of texts: by its own library, in a process of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tests.integration.calls import Array
from tests.integration.families import family
from tests.integration.harness import clean_environment

SOURCE = Path(__file__).resolve().parents[2] / "models" / "embed"
MINE = [
    "Is the bakery open on Sundays?",
    "is the bakery open on sundays",
    "A sentence\nover three\nlines.",
    "x" * 3000,
    "word " * 1500,
    "日本語の文章です。これは二番目の文です。",
    "{'json': [1, 2, 3]} <b>bold</b> &amp; #hashtag @name",
]
"""Texts that the model's folder does not know."""
PROGRAM = """
import json, sys
import numpy, sentences
from package import Package

texts = json.load(sys.stdin) + list(sentences.HARD) + sentences.passages()
held_out, searched = ([s.text for s in part] for part in (sentences.held_out(), sentences.searched()))
vectors = Package().encode(texts + held_out)
numpy.savez(sys.argv[1], allow_pickle=False, texts=numpy.frombuffer(json.dumps(texts).encode(), numpy.uint8),
            held_out=numpy.array(held_out), searched=numpy.array(searched), vectors=vectors)
"""


@dataclass(frozen=True)
class Reference:
    """Texts of every kind, then the held-out sentences, with the package's vectors; and the searched sentences."""

    texts: list[str]
    held_out: list[str]
    searched: list[str]
    vectors: Array

    @property
    def everything(self) -> list[str]:
        """A text for every vector."""
        return [*self.texts, *self.held_out]


def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with embed as it was exported: a faster variant, if there is one, is not equal to the package."""
    repository = family("embed", tmp_path_factory)
    for manifest in repository.glob("embed/versions/*/manifest.json"):
        if json.loads(manifest.read_text(encoding="utf-8")).get("parent"):
            shutil.rmtree(manifest.parent)
    return repository


def reference(path: Path) -> Reference:
    """Compute it, with `path` as the place for it."""
    subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path)],
        input=json.dumps(MINE).encode(),
        check=True,
        cwd=SOURCE,
        env=clean_environment(),
    )
    with np.load(path, allow_pickle=False) as arrays:
        return Reference(
            json.loads(arrays["texts"].tobytes()),
            arrays["held_out"].tolist(),
            arrays["searched"].tolist(),
            arrays["vectors"],
        )
