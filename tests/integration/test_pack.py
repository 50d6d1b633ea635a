"""A version goes to another repository as one file: it answers as before, and a running server is left alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.integration import ensemble_models
from tests.integration.calls import PROTOCOLS, ask, row, until
from tests.integration.families import family
from tests.integration.harness import CommandResult, import_model, modelyard, serve
from tests.integration.onnx_models import affine

IMAGE = np.random.default_rng(7).integers(0, 17, (3, 1, 8, 8)).astype(np.float32)


def done(result: CommandResult) -> str:
    assert result.code == 0, result
    assert result.err == ""
    return result.out


def refused(result: CommandResult, *words: str) -> None:
    assert result.code == 1, result
    assert result.err.startswith("error: "), result.err
    assert len(result.err.splitlines()) == 1, result.err
    assert all(word in result.err for word in words), result.err


@pytest.mark.timeout(240)
def test_unpacked_elsewhere_it_gives_the_same_answers(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Digits, with its typed API, in a repository that did not exist."""
    before, after = family("digits", tmp_path_factory), tmp_path / "elsewhere" / "models"
    told = done(modelyard("pack", "digits", "--repository", before, cwd=tmp_path))
    (file,) = tmp_path.glob("digits-*.modelyard.tar")
    assert file.name in told
    assert "modelyard serve digits" in done(modelyard("unpack", file, "--repository", after))
    answers = []
    body = {"image": IMAGE[0, 0].astype(int).tolist()}
    for repository in (before, after):
        with serve(repository, "digits") as server:
            own = [ask(server, {"image": IMAGE}, protocol) for protocol in PROTOCOLS]
            typed = httpx.post(f"{server.url}/classify", json=body, timeout=30).json()
            answers.append(([(each.version, each.only.tobytes()) for each in own], typed))
    assert answers[0] == answers[1]


@pytest.mark.timeout(240)
def test_the_members_of_an_ensemble_are_named(tmp_path: Path) -> None:
    before, after = ensemble_models.repository_of(tmp_path / "before"), tmp_path / "after"
    names = (ensemble_models.NAME, ensemble_models.LEFT, ensemble_models.RIGHT)
    for name in names:
        done(modelyard("pack", name, "--to", tmp_path, "--repository", before))
    told = [done(modelyard("unpack", tmp_path / f"{name}-1.modelyard.tar", "--repository", after)) for name in names]
    for member in names[1:]:
        assert f"made of {member}, which has to be brought as well" in told[0]
    assert f"made of {names[1]}, which is there" in done(
        modelyard("unpack", tmp_path / f"{names[0]}-1.modelyard.tar", "--repository", after)
    )
    with serve(after, ensemble_models.NAME) as server:
        ensemble_models.works(server)


@pytest.mark.timeout(240)
def test_a_running_server_takes_it_over_when_it_is_promoted(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for version in ("1", "2"):
        import_model(one, "m", affine(np.eye(2, dtype=np.float32) * int(version), np.zeros(2, np.float32)), version)
    shutil.copytree(one, two)
    shutil.rmtree(two / "m" / "versions" / "2")
    here = ("--repository", two)
    done(modelyard("promote", "m", "1", *here))
    done(modelyard("pack", "m", "--version", "2", "--to", tmp_path / "m.tar", "--repository", one))
    with serve(two, "m", env={"MODELYARD_RELOAD_SECONDS": "0.1"}) as server:
        told = done(modelyard("unpack", tmp_path / "m.tar", *here))
        assert "modelyard promote m 2" in told
        assert json.loads(modelyard("history", "m", "--json", *here).out)["stable"] == "1"
        assert ask(server, {"x": row(1.0, 2.0)}).version == "1"
        done(modelyard("promote", "m", "2", *here))
        until(lambda: ask(server, {"x": row(1.0, 2.0)}).version == "2", "version 2 answers", 60)
    assert "is there already" in done(modelyard("unpack", tmp_path / "m.tar", *here))


def test_what_is_refused(tmp_path: Path) -> None:
    repository, here = tmp_path / "r", ("--repository", tmp_path / "r")
    import_model(repository, "m", affine(np.eye(2, dtype=np.float32), np.zeros(2, np.float32)))
    file = tmp_path / "m.tar"
    refused(modelyard("pack", "nobody", *here), "nobody")
    refused(modelyard("pack", "m", "--version", "7", *here), "'7'")
    refused(modelyard("pack", "../m", *here), "name")
    done(modelyard("pack", "m", "--to", file, *here))
    refused(modelyard("pack", "m", "--to", file, *here), "--force")
    done(modelyard("pack", "m", "--to", file, "--force", *here))
    refused(modelyard("unpack", tmp_path / "absent.tar", *here), "absent.tar")
    (tmp_path / "cut.tar").write_bytes(file.read_bytes()[:-3000])
    refused(modelyard("unpack", tmp_path / "cut.tar", "--repository", tmp_path / "other"), "cut off")
    assert not (tmp_path / "other").exists()
    (repository / "m" / "versions" / "1" / "model.onnx").write_bytes(b"x")
    refused(modelyard("pack", "m", "--to", tmp_path / "bad.tar", *here), "model.onnx")
    refused(modelyard("unpack", file, *here), "stands already, and is broken")
    assert not (tmp_path / "bad.tar").exists()
