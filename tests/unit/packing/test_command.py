"""What the two commands say."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from typer.testing import CliRunner

from modelyard.manifest import list_versions
from modelyard.packing.command import app
from tests.unit.packing.packed import NAME, packed, repository, take


def said(*arguments: str | Path) -> str:
    result = CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_what_pack_says(tmp_path: Path) -> None:
    models = repository(tmp_path / "models", "1", "2")
    told = said("pack", NAME, "--to", tmp_path, "--repository", models)
    assert f"packed {NAME} version 2: {tmp_path / f'{NAME}-2.modelyard.tar'}" in told, "the newest is served"
    assert "5 files" in told


def test_code_that_is_not_here_is_named(tmp_path: Path) -> None:
    file, into = packed(tmp_path, service="absent_service.service:Absent"), tmp_path / "project" / "models"
    told = said("unpack", file, "--repository", into)
    assert "absent_service.service:Absent, is code and was not packed" in told
    assert f"serve it: modelyard serve {NAME} --repository {into}" in told
    (into.parent / "services" / "absent_service").mkdir(parents=True)
    assert "is code" not in said("unpack", file, "--repository", into), "it lies beside the models"


def test_what_is_kept_is_said(tmp_path: Path) -> None:
    into = repository(tmp_path / "models", "1", description="mine")
    told = said("unpack", packed(tmp_path, "2"), "--repository", into)
    assert "model.yaml stays as it is" in told
    assert f"modelyard promote {NAME} 2" in told
    assert "nothing was changed" in said("unpack", tmp_path / f"{NAME}-2.modelyard.tar", "--repository", into)


def test_many_at_once_in_an_empty_repository(tmp_path: Path) -> None:
    """The same version three times, and another: each ends well, one of the three has brought it."""
    files = [packed(tmp_path / version, version) for version in ("1", "2")]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda file: take(file, tmp_path / "models"), [files[0], *files, files[0]]))
    assert sorted(received.there for received in results if received.manifest.version == "1") == [False, True, True]
    assert list_versions(tmp_path / "models" / NAME) == ["1", "2"]
    assert [path.name for path in (tmp_path / "models").iterdir()] == [NAME]
