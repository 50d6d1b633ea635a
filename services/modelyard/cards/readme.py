"""Sections of a model's README: what only a person can say of a model."""

import re
from pathlib import Path

_HEADING = re.compile(r"^(#+)\s+(.*?)\s*#*$")
_FENCE = re.compile(r"^\s{0,3}(```|~~~)")


def section(readme: Path, title: str) -> str:
    """The text under the first heading called `title`, up to the next one of its rank; empty where there is none."""
    try:
        lines = readme.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return ""
    found: list[str] = []
    rank = 0
    fenced = False
    for line in lines:
        fenced ^= bool(_FENCE.match(line))
        heading = None if fenced else _HEADING.match(line)
        if heading and rank and len(heading[1]) <= rank:
            break
        if rank:
            found.append(line)
        elif heading and heading[2].casefold() == title.casefold():
            rank = len(heading[1])
    return "\n".join(found).strip()
