"""What is killed, and what must hold afterwards: pull (see crash_scenarios.py). The environment names the store."""

from __future__ import annotations

import shutil
from pathlib import Path
from unittest.mock import patch

from modelyard.manifest import list_versions
from modelyard.store import s3
from tests.integration.crash_scenarios import NAME, Scenario, after_two_promotes, command, promote, served

STORE = "s3://models/team"
__all__ = ["STORING", "s3"]  # boto3 is imported once, before the children are forked


def pull_prepared(repository: Path) -> None:
    """Versions 1 and 2 stand, and were promoted; the store holds version 3."""
    after_two_promotes(repository)
    command("push", NAME, "--version", "3", "--to", STORE, "--repository", repository)
    shutil.rmtree(repository / NAME / "versions" / "3")


def pull(repository: Path) -> None:
    with patch("modelyard.receiving.ask_child"):  # the child that looks at the files writes nothing
        command("pull", NAME, "--version", "3", "--from", STORE, "--repository", repository)


def look(repository: Path) -> str:
    """What was served is served; the version is whole or not there; the next pull ends well, and cleans up."""
    there = "3" in list_versions(repository / NAME)
    assert served(repository) == "2"
    pull(repository)
    assert list_versions(repository / NAME) == ["1", "2", "3"]
    assert [path.name for path in repository.glob(".*")] == []
    promote(repository, "3")
    assert served(repository) == "3"
    return "new" if there else "old"


STORING = {"pull": Scenario(pull_prepared, pull, look, step=8)}
