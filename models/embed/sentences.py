"""The sentences of sentences.txt, written for this folder: 22 on each of 20 topics, in sections that a `#` opens.

The first 16 of a topic are what POST /search goes through, and calibrate faster variants; the last 6 are held out: they
measure. No sentence is in both. The model itself was trained elsewhere and has seen none of them.
"""

from pathlib import Path
from typing import NamedTuple

FILE = Path(__file__).resolve().parent / "sentences.txt"
SEARCHED = 16
"""Of each topic."""
LONG_WORDS = 700

HARD = (
    "",
    " \t\n ",
    ".",
    "I",
    "[CLS] [SEP] [PAD] [MASK] [UNK]",
    "naïve café, Straße, Ærøskøbing, İstanbul",
    "e\u0301 and \u00e9, \ufb01ne, \u2460, \u00bd",
    "汉字和かなとハングル 한국어",
    "Привет, мир! Ελληνικά! שלום! مرحبا",
    "🙂👩‍🚀🇪🇺 \u200b\u200d\ufeff",
    "a\x00b\x07c\u2028d",
    "supercalifragilisticexpialidocious" * 4,
    "https://example.org/a?b=c&d=%20#e mail@example.org 3.14159 -1e-7 $5 100%",
    "THE SAME IN CAPITALS; the same in small letters!!! ...",
)
"""What a tokenizer may stumble over."""


class Sentence(NamedTuple):
    topic: str
    text: str


def searched() -> list[Sentence]:
    """320 sentences."""
    return [sentence for sentences in _by_topic().values() for sentence in sentences[:SEARCHED]]


def held_out() -> list[Sentence]:
    """120 sentences."""
    return [sentence for sentences in _by_topic().values() for sentence in sentences[SEARCHED:]]


def passages() -> list[str]:
    """Texts of every length up to one that the model has to cut: held-out sentences in a row."""
    words = " ".join(sentence.text for sentence in held_out()).split()
    return [" ".join(words[:count]) for count in (20, 40, 60, 90, 150, 180, 250, LONG_WORDS)]


def _by_topic() -> dict[str, list[Sentence]]:
    topics: dict[str, list[Sentence]] = {}
    topic = ""
    for line in FILE.read_text(encoding="utf-8").splitlines():
        if line.startswith("# "):
            topic = line.removeprefix("# ")
        else:
            topics.setdefault(topic, []).append(Sentence(topic, line))
    return topics
