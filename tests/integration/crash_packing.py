"""What is killed, and what must hold afterwards: pack and unpack (see crash_scenarios.py)."""

from __future__ import annotations

import shutil
from pathlib import Path
from unittest.mock import patch

from modelyard.manifest import list_versions
from modelyard.repository import list_models
from tests.integration.crash_scenarios import (
    NAME,
    Scenario,
    after_two_promotes,
    command,
    promote,
    served,
    three_versions,
)


def pack_given(repository: Path) -> None:
    command("pack", NAME, "--version", "3", "--to", repository / "given.tar", "--repository", repository)


def look_at_pack(repository: Path) -> str:
    """The file is whole or not there; the next pack makes it, and cleans up."""
    file = repository / "given.tar"
    there = file.exists()
    if there:
        unpack_given(repository)
    command("pack", NAME, "--version", "3", "--to", file, "--force", "--repository", repository)
    assert sorted(path.name for path in repository.glob("*given*")) == [file.name]
    assert served(repository) == "3"
    return "new" if there else "old"


def unpack_prepared(repository: Path) -> None:
    """An empty repository, and the file of a version."""
    three_versions(repository)
    pack_given(repository)
    shutil.rmtree(repository / NAME)


def unpack_prepared_beside(repository: Path) -> None:
    """Versions 1 and 2 stand, and were promoted; the file holds version 3."""
    after_two_promotes(repository)
    pack_given(repository)
    shutil.rmtree(repository / NAME / "versions" / "3")


def unpack_given(repository: Path) -> None:
    with patch("modelyard.receiving.ask_child"):  # the child that looks at the files writes nothing
        command("unpack", repository / "given.tar", "--repository", repository)


def look_at_unpack(repository: Path) -> str:
    """The model is there and serves, or nothing is; in both cases the next unpack ends well, and cleans up."""
    there = list_models(repository) == [NAME]
    assert there == (repository / NAME).exists()
    if there:
        assert served(repository) == "3"
    unpack_given(repository)
    assert served(repository) == "3"
    assert [path.name for path in repository.glob(".*")] == []
    return "new" if there else "old"


def look_at_unpack_beside(repository: Path) -> str:
    """What was served is served; the version is whole or not there; the next unpack ends well, and cleans up."""
    folder = repository / NAME
    there = "3" in list_versions(folder)
    assert served(repository) == "2"
    unpack_given(repository)
    assert list_versions(folder) == ["1", "2", "3"]
    assert [path.name for path in repository.glob(".*")] == []
    promote(repository, "3")
    assert served(repository) == "3"
    return "new" if there else "old"


PACKING = {
    "pack": Scenario(three_versions, pack_given, look_at_pack, step=2),
    "unpack": Scenario(unpack_prepared, unpack_given, look_at_unpack, step=3),
    "unpack-beside": Scenario(unpack_prepared_beside, unpack_given, look_at_unpack_beside, step=7),
}
