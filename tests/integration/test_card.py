"""`modelyard card`: a page and a picture of a version, from the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.integration.harness import import_model, modelyard
from tests.integration.onnx_models import affine, random_normal

WEIGHT = np.array([[2.0], [3.0]], dtype=np.float32)
BIAS = np.array([1.0], dtype=np.float32)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two versions of `line`, and a README."""
    folder = tmp_path_factory.mktemp("models")

    for version in ("1", "2"):
        import_model(folder, "line", affine(WEIGHT, BIAS), version)
    (folder / "line" / "README.md").write_text("# line\n\n## Data\n\nMade up.\n\n## Limits\n\nStraight.\n")
    return folder


def test_a_card_is_a_page_and_a_picture(repository: Path, tmp_path: Path) -> None:
    done = modelyard("card", "line", "--repository", repository, "--out", tmp_path / "cards")
    assert done.code == 0, done.err
    assert "line-2.md" in done.out
    text = (tmp_path / "cards" / "line-2.md").read_text()
    for part in (
        "# line, version 2",
        "Made up.",
        "Straight.",
        "| input |",
        "onnxruntime-cpu",
        "| 1 | ",
        "(line-2.png)",
    ):
        assert part in text
    with Image.open(tmp_path / "cards" / "line-2.png") as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 300


def test_a_card_of_an_older_version_goes_below_build_by_itself(repository: Path, tmp_path: Path) -> None:
    done = modelyard("card", "line", "--version", "1", "--repository", repository, cwd=tmp_path)
    assert done.code == 0, done.err
    assert "# line, version 1" in (tmp_path / "build" / "cards" / "line-1.md").read_text()


def test_a_model_without_readme_and_batches_has_a_card_too(tmp_path: Path) -> None:
    import_model(tmp_path, "noise", random_normal(), edit=lambda spec: spec["batching"].update(max_batch_size=0))
    done = modelyard("card", "noise", "--repository", tmp_path, "--out", tmp_path)
    assert done.code == 0, done.err
    assert "| a request |" in (tmp_path / "noise-1.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["none"], "no model 'none'"), (["line", "--version", "9"], "no version '9'"), (["../line"], "../line")],
)
def test_what_cannot_be_described_is_refused_in_one_line(
    repository: Path, tmp_path: Path, arguments: list[str], words: str
) -> None:
    done = modelyard("card", *arguments, "--repository", repository, "--out", tmp_path)
    assert done.code == 1
    assert done.err.startswith("error: ")
    assert words in done.err
    assert len(done.err.splitlines()) == 1
    assert not list(tmp_path.iterdir())
