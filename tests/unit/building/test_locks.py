"""What the images install: locked by hash, in the versions that the checks run with, nothing that is not needed."""

from __future__ import annotations

import re
import tomllib
from importlib.resources import files
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[3]
DOCKER = ROOT / "deploy" / "docker"
LOCKS = {path.stem.removeprefix("requirements-"): path for path in DOCKER.glob("requirements-*.txt")}
LOCKS["embed"] = ROOT / "services" / "embed_service" / "requirements.txt"
PIN = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^ ;\\]+)[^\\]*\\$")
OF_GPUS = re.compile(r"^(nvidia-.+|tensorrt.*|onnxruntime-gpu|cuda-.+)$")
HEAVY = {"torch", "scikit-learn", "scipy", "transformers", "matplotlib", "pytest", "mypy", "pandas", "uv"}


def pins(path: Path) -> dict[str, str]:
    """Version by canonical name."""
    found = filter(None, map(PIN.match, path.read_text(encoding="utf-8").splitlines()))
    return {canonicalize_name(match["name"]): match["version"] for match in found}


def constraints() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {canonicalize_name(name): version for name, version in pairs}


def wanted(*extras: str) -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lists = [project["dependencies"], *(project["optional-dependencies"][extra] for extra in extras)]
    return [Requirement(text) for texts in lists for text in texts]


def test_there_are_locks() -> None:
    assert LOCKS.keys() == {"cpu", "gpu", "build", "loadtest", "embed"}


@pytest.mark.parametrize("name", sorted(LOCKS))
def test_every_package_has_its_hashes_and_no_address(name: str) -> None:
    text = LOCKS[name].read_text(encoding="utf-8")
    assert "://" not in text
    assert "--index" not in text
    assert "--find-links" not in text
    blocks = [block for block in re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE) if block.strip()]
    assert len(blocks) == len(pins(LOCKS[name])) > 0
    for block in blocks:
        assert re.search(r"--hash=sha256:[0-9a-f]{64}\b", block), block


@pytest.mark.parametrize("name", ["cpu", "gpu", "loadtest", "embed"])
def test_they_are_the_versions_that_the_checks_run_with(name: str) -> None:
    """A failure here: `deploy/docker/lock.sh`, after a change of constraints.txt."""
    known = constraints()
    locked = pins(LOCKS[name])
    differing = {each: version for each, version in locked.items() if known.get(each, version) != version}
    assert not differing
    unknown = {each for each in locked if each not in known}
    assert not {each for each in unknown if not (name == "gpu" and OF_GPUS.match(each))}


@pytest.mark.parametrize(("name", "extras"), [("cpu", ["cpu", "s3"]), ("gpu", ["gpu", "s3"]), ("loadtest", ["load"])])
def test_all_that_is_asked_for_is_in_it(name: str, extras: list[str]) -> None:
    locked = pins(LOCKS[name])
    for requirement in wanted(*extras):
        version = locked.get(canonicalize_name(requirement.name))
        assert version, requirement
        assert requirement.specifier.contains(version, prereleases=True), requirement


def test_one_onnx_runtime_in_one_version() -> None:
    cpu, gpu = pins(LOCKS["cpu"]), pins(LOCKS["gpu"])
    assert "onnxruntime-gpu" not in cpu
    assert "onnxruntime" not in gpu
    assert cpu["onnxruntime"] == gpu["onnxruntime-gpu"]


@pytest.mark.parametrize("name", sorted(LOCKS))
def test_nothing_that_serving_does_not_need(name: str) -> None:
    needed = {"pytest"} if name == "loadtest" else set()  # locust asks for it
    assert not (HEAVY - needed) & pins(LOCKS[name]).keys()


def test_the_package_carries_the_same_files() -> None:
    """`modelyard build` works where there is no checkout."""
    own = {path.name: path.read_bytes() for path in (files("modelyard.building") / "files").iterdir()}
    assert own.keys() == {
        *(f"Dockerfile.{target}" for target in ("cpu", "gpu")),
        *(f"requirements-{lock}.txt" for lock in ("cpu", "gpu", "build")),
    }
    for name, content in own.items():
        assert content == (DOCKER / name).read_bytes(), f"{name}: run deploy/docker/lock.sh"
