"""Sections of a README."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelyard.cards.readme import section

TEXT = """# wine

A forest.

## Data

178 wines.

### Split

One in five is held out.

```sh
# Limits of a shell, no heading
```

## limits ##

- Three cultivars.

# Other
"""


@pytest.fixture
def readme(tmp_path: Path) -> Path:
    path = tmp_path / "README.md"
    path.write_text(TEXT)
    return path


def test_a_section_reaches_to_the_next_heading_of_its_rank(readme: Path) -> None:
    text = section(readme, "Data")
    assert text.startswith("178 wines.")
    assert "### Split" in text
    assert text.endswith("# Limits of a shell, no heading\n```")


def test_case_and_closing_marks_do_not_matter(readme: Path) -> None:
    assert section(readme, "Limits") == "- Three cultivars."


def test_what_is_not_there_is_empty(readme: Path, tmp_path: Path) -> None:
    assert section(readme, "Quality") == ""
    assert section(tmp_path / "none.md", "Data") == ""
    (tmp_path / "binary.md").write_bytes(b"## Data\n\xff")
    assert section(tmp_path / "binary.md", "Data") == ""
