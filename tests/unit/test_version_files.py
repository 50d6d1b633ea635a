"""The files of a version, for a service that needs more of it than the model."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelyard.errors import ModelNotReady
from modelyard.manifest import publish, read_manifest
from modelyard.version_files import VersionFiles, files_of


@pytest.fixture
def files(tmp_path: Path) -> VersionFiles:
    """Of a version with one file beside its model."""
    for name in ("model.onnx", "words.txt"):
        (tmp_path / name).write_text(name)
    folder = publish(tmp_path / "m", "3", tmp_path / "model.onnx", extra_files=[tmp_path / "words.txt"])
    manifest = read_manifest(folder)
    return files_of(manifest, folder / manifest.artifact)


def test_they_are_those_of_one_version(files: VersionFiles) -> None:
    assert (files.model, files.version) == ("m", "3")
    assert files.path("words.txt").read_text() == "words.txt"
    assert len({files, files}) == 1


@pytest.mark.parametrize("name", ["other.txt", "../3/words.txt", "manifest.json"])
def test_a_file_that_the_manifest_does_not_list_is_refused(files: VersionFiles, name: str) -> None:
    with pytest.raises(ModelNotReady, match="version 3 of 'm' has no file"):
        files.path(name)
