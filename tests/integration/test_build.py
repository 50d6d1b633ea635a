"""`modelyard build`: what a context holds, that it serves, what the tools are told, and what is refused.

The images themselves are built by deploy/docker/check_image.py. Here the tool is a program of that name on PATH,
which writes down what it is told; all else is real.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest

from modelyard import __version__
from tests.integration import ensemble_models
from tests.integration.calls import ask
from tests.integration.families import MODELS, family
from tests.integration.harness import CommandResult, import_model, modelyard, serve
from tests.integration.onnx_models import identity
from tests.integration.test_cli import modelyard_each, refused

ROOT = MODELS.parent
NAME = "plain"


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One model without a typed API, in two versions, of which the first is stable."""
    folder = tmp_path_factory.mktemp("own") / "models"
    for version in ("1", "2"):
        import_model(folder, NAME, identity(), version)
    promoted = modelyard("promote", NAME, "1", "--repository", folder)
    assert promoted.code == 0, promoted.err
    return folder


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with digits; its service is that of the checkout."""
    return family("digits", tmp_path_factory)


def tool(folder: Path, name: str, code: int = 0, *, answers: bool = True) -> None:
    """A program that writes each call, and the context it was given, to calls.jsonl; `code` is that of a build."""
    path = folder / name
    path.write_text(
        f"""#!{sys.executable}
import json, pathlib, sys
if sys.argv[1] == "version":
    sys.exit(0 if {answers} else "Cannot connect to the daemon")
context = pathlib.Path(sys.argv[-1])
files = sorted(str(each.relative_to(context)) for each in context.rglob("*") if each.is_file())
with open({str(folder / "calls.jsonl")!r}, "a") as calls:
    print(json.dumps({{"told": [{name!r}, *sys.argv[1:]], "files": files}}), file=calls)
print("STEP 1")
sys.exit({code} if sys.argv[1] == "build" else 0)
""",
        encoding="utf-8",
    )
    path.chmod(0o755)


def build(folder: Path, *arguments: str | Path) -> CommandResult:
    """With the tools in `folder`, and no others."""
    return modelyard("build", *arguments, env={"PATH": f"{folder}{os.pathsep}/usr/bin-without-tools"})


def calls(folder: Path) -> list[dict[str, list[str]]]:
    path = folder / "calls.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def arguments_of(told: Sequence[str]) -> dict[str, str]:
    given = [told[index + 1] for index, word in enumerate(told) if word == "--build-arg"]
    return dict(text.split("=", 1) for text in given)


def below(folder: Path, *parts: str) -> set[str]:
    root = folder.joinpath(*parts)
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def test_an_image(repository: Path, tmp_path: Path) -> None:
    tool(tmp_path, "docker")
    done = build(tmp_path, NAME, "--repository", repository, "--push", "--tool-option=--no-cache")
    assert done.code == 0, done.err
    tag = f"modelyard-{NAME}:{__version__}"
    assert done.out == f"{tag}\n"
    assert "STEP 1" in done.err, "the words of the tool are shown as they come"
    built, pushed = calls(tmp_path)
    told = built["told"]
    assert told[:2] == ["docker", "build"]
    assert told[told.index("--tag") + 1] == tag
    assert told[told.index("--file") + 1] == f"{told[-1]}/deploy/docker/Dockerfile.cpu"
    assert "--no-cache" in told
    given = arguments_of(told)
    assert (given["SERVICE"], given["VERSION"], given["MODEL_VERSION"]) == (NAME, __version__, "1")
    manifest = json.loads((repository / NAME / "versions" / "1" / "manifest.json").read_text())
    assert given["MODEL_DIGEST"] == manifest["files"][manifest["artifact"]]["sha256"]
    assert "BASE" not in given
    assert not Path(told[-1]).exists(), "the context goes when the build is done"
    assert pushed["told"] == ["docker", "push", tag]


def test_exactly_what_the_image_needs(repository: Path, tmp_path: Path) -> None:
    tool(tmp_path, "podman")
    done = build(
        tmp_path, NAME, "--repository", repository, "--version", "2", "--base", "python:3.12-slim", "--tag", "a:b"
    )
    assert done.code == 0, done.err
    ((told, files),) = [(call["told"], call["files"]) for call in calls(tmp_path)]
    assert told[:4] == ["podman", "build", "--format", "docker"]
    assert arguments_of(told)["BASE"] == "python:3.12-slim"
    assert told[told.index("--tag") + 1] == "a:b"
    models = {path for path in files if path.startswith("models/")}
    wanted = {f"models/{NAME}/versions/2/{name}" for name in below(repository, NAME, "versions", "2")}
    assert models == {f"models/{NAME}/model.yaml", *wanted}
    assert {path.split("/")[1] for path in files if path.startswith("services/")} == {
        "modelyard",
        "modelyard.dist-info",
    }
    assert {path.split("/")[0] for path in files} == {"deploy", "models", "services"}
    assert not [path for path in files if path.endswith(".pyc")]


def test_a_typed_service_from_its_context_alone(digits: Path, tmp_path: Path) -> None:
    """What the Dockerfile does with a context gives the same again; and it serves, without the checkout."""
    first, second = tmp_path / "first", tmp_path / "second"
    done = modelyard("build", "digits", "--repository", digits, "--context", first, "--target", "gpu")
    assert done.code == 0, done.err
    assert (
        f"docker build --file {first}/deploy/docker/Dockerfile.gpu --tag modelyard-digits:{__version__}-gpu" in done.out
    )
    copied = {"PYTHONPATH": str(first / "services")}
    again = modelyard("build", "digits", "--context", second, env=copied, cwd=first)
    assert again.code == 0, again.err
    assert below(first) == below(second)
    assert (second / "services" / "digits_service" / "service.py").is_file()
    shown = modelyard("--version", env=copied, cwd=tmp_path)
    assert shown.out.strip() == __version__
    with serve(second / "models", "digits", env={"PYTHONPATH": str(second / "services")}) as server:
        status, _ = server.get("/docs.json")
        assert status == 200
        paths = {Path(line).parts[0] for line in below(second)}
        assert paths == {"deploy", "models", "services"}
        answer = ask(server, {"image": np.zeros((1, 1, 8, 8), np.float32)}, "grpc")
        assert answer.only.shape == (1, 10)


def test_an_ensemble_takes_its_members_along(tmp_path: Path) -> None:
    repository = ensemble_models.repository_of(tmp_path / "models")
    done = modelyard("build", ensemble_models.NAME, "--repository", repository, "--context", tmp_path / "context")
    assert done.code == 0, done.err
    names = {path.name for path in (tmp_path / "context" / "models").iterdir()}
    assert names == {ensemble_models.NAME, ensemble_models.LEFT, ensemble_models.RIGHT}
    assert "member  left version 1" in done.err
    with serve(tmp_path / "context" / "models", ensemble_models.NAME) as server:
        ensemble_models.works(server)


def test_a_dry_run_does_nothing(repository: Path, tmp_path: Path) -> None:
    tool(tmp_path, "buildah")
    done = build(tmp_path, NAME, "--repository", repository, "--dry-run", "--push")
    assert done.code == 0, done.err
    first, second = done.out.splitlines()
    assert first.startswith("buildah build --format docker --file ")
    assert second == f"buildah push modelyard-{NAME}:{__version__}"
    assert not calls(tmp_path)
    own = ["build", NAME, "--repository", str(repository), "--dry-run"]
    for done in modelyard_each([[*own, "--context", str(tmp_path / "never")], [*own, "--bento"]]):
        assert done.code == 0, done.err
        assert "would write" in done.out
    assert not (tmp_path / "never").exists()


def test_a_dry_run_refuses_what_a_build_would(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("x")
    own = ["build", NAME, "--repository", str(repository), "--dry-run"]
    full, tagged = modelyard_each([[*own, "--context", str(tmp_path / "full")], [*own, "--tag", "Upper/Bad:a:b"]])
    refused(full, "is no empty folder")
    refused(tagged, "'Upper/Bad:a:b' is no name of an image")


def test_a_dry_run_needs_no_tool(repository: Path, tmp_path: Path) -> None:
    done = build(tmp_path, NAME, "--repository", repository, "--dry-run")
    assert done.code == 0, done.err
    assert done.out.startswith("docker build --file ")
    assert "note: nothing here builds images" in done.err


def test_what_is_refused(repository: Path, tmp_path: Path) -> None:
    own = ["--repository", str(repository)]
    refused(build(tmp_path, NAME, *own), "nothing here builds images", "podman is not installed", "--context")
    tool(tmp_path, "docker", answers=False)
    refused(build(tmp_path, NAME, *own, "--tool", "docker"), "docker does not answer: Cannot connect to the daemon")
    tool(tmp_path, "podman", code=3)
    failed = build(tmp_path, NAME, *own, "--push")
    assert failed.code == 1
    assert failed.err.splitlines()[-1].startswith("error: podman build ended with exit code 3")
    assert [call["told"][1] for call in calls(tmp_path)] == ["build"], "what was not built is not pushed"
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("x")
    cases = {
        "there is no model 'nobody'": ["nobody"],
        "'../x' cannot name a model": ["../x"],
        "'' cannot name a model": [""],
        "no version '9'; known are 1, 2": [NAME, "--version", "9"],
        "is no empty folder": [NAME, "--context", str(tmp_path / "full")],
    }
    for words, result in zip(cases, modelyard_each([["build", *case, *own] for case in cases.values()]), strict=True):
        refused(result, words)
    assert (tmp_path / "full" / "mine").read_text() == "x"
    wrong = ["--target tpu", "--tool kaniko", "--bento --push", "--context x --push"]
    for result in modelyard_each([["build", NAME, *own, *words.split()] for words in wrong]):
        assert result.code == 2, result


def test_where_it_comes_from(repository: Path, tmp_path: Path) -> None:
    """The commit and the remote of the repository that the model lies in, without the password of the remote."""
    mine = tmp_path / "mine"
    shutil.copytree(repository, mine / "models")
    git = ["git", "-C", str(mine), "-c", "user.name=me", "-c", "user.email=me@example.org"]
    remote = "https://me:hidden@git.example.org/models"
    for words in (["init", "-q"], ["remote", "add", "origin", remote], ["commit", "-q", "--allow-empty", "-m", "x"]):
        subprocess.run([*git, *words], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    done = modelyard("build", NAME, "--repository", mine / "models", "--context", tmp_path / "context")
    assert done.code == 0, done.err
    assert f"REVISION={commit}" in done.out
    assert "SOURCE=https://git.example.org/models" in done.out
    assert "hidden" not in done.out + done.err


def test_a_version_that_was_changed_is_refused(repository: Path, tmp_path: Path) -> None:
    copy = tmp_path / "models"
    shutil.copytree(repository, copy)
    artifact = copy / NAME / "versions" / "1" / "model.onnx"
    artifact.write_bytes(artifact.read_bytes()[::-1])
    refused(modelyard("build", NAME, "--repository", copy, "--context", tmp_path / "c"), "differs from its manifest")
    assert not (tmp_path / "c").exists()
    spec = copy / NAME / "model.yaml"
    spec.write_text(spec.read_text() + "service: nowhere_service.service:Nowhere\n")
    result = modelyard("build", NAME, "--repository", copy, "--version", "2", "--context", tmp_path / "c")
    refused(result, "nowhere_service", "there is no")


def test_from_a_wheel_in_a_folder_of_ones_own(tmp_path: Path) -> None:
    """As after `pip install modelyard`: no checkout, the Dockerfile comes out of the package."""
    source = tmp_path / "source"
    shutil.copytree(ROOT / "services", source / "services", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copyfile(ROOT / name, source / name)
    options = ["--no-deps", "--no-build-isolation", "--quiet", "--target", str(tmp_path / "site")]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(source)], check=True, capture_output=True)
    mine = tmp_path / "mine"
    mine.mkdir()
    onnx.save(identity(), mine / "model.onnx")
    installed = {"PYTHONPATH": str(tmp_path / "site")}
    made = modelyard("new", NAME, "--from", "model.onnx", env=installed, cwd=mine)
    assert made.code == 0, made.err
    done = modelyard("build", NAME, "--context", tmp_path / "context", env=installed, cwd=mine)
    assert done.code == 0, done.err
    for name in ("Dockerfile.cpu", "requirements-cpu.txt"):
        copied = tmp_path / "context" / "deploy" / "docker" / name
        assert copied.read_bytes() == (ROOT / "deploy" / "docker" / name).read_bytes()
    site = {name for name in below(tmp_path, "site", "modelyard") if not name.endswith(".pyc")}
    assert site == below(tmp_path, "context", "services", "modelyard")
    assert "service.py" in below(tmp_path, "context", "services", f"{NAME}_service")
