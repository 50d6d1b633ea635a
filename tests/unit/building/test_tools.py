"""Which tool builds an image, and what it is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelyard.building.tools import TOOLS, Image, Tool, build_command, check_tag, find, push_command
from modelyard.errors import ConfigurationError

IMAGE = Image("modelyard-x:1", Path("/c/Dockerfile.cpu"), Path("/c"), {"SERVICE": "x", "VERSION": "1"})


def program(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder of PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("tool", TOOLS)
def test_the_one_that_is_there(path: Path, tool: Tool) -> None:
    program(path, tool, "exit 0")
    assert find(None) == find(tool) == tool


def test_docker_without_its_daemon_is_not_there(path: Path) -> None:
    program(path, "docker", "echo 'Client: 27'; echo 'Cannot connect to the Docker daemon' >&2; exit 1")
    with pytest.raises(ConfigurationError, match=r"docker does not answer: Cannot connect .*; podman is not installed"):
        find(None)
    program(path, "buildah", "exit 0")
    assert find(None) == "buildah"
    with pytest.raises(ConfigurationError, match="docker does not answer"):
        find("docker")


def test_none() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", "")
        with pytest.raises(ConfigurationError, match=r"nothing here builds images: docker is not installed.*--context"):
            find(None)


def test_what_they_are_told() -> None:
    docker = build_command("docker", IMAGE, ["--no-cache"])
    assert docker[:2] == ["docker", "build"]
    assert docker[-2:] == ["--no-cache", "/c"]
    assert "--format" not in docker
    assert [docker[index + 1] for index, word in enumerate(docker) if word == "--build-arg"] == [
        "SERVICE=x",
        "VERSION=1",
    ]
    for tool in ("podman", "buildah"):
        told = build_command(tool, IMAGE)
        assert told[:4] == [tool, "build", "--format", "docker"], "HEALTHCHECK is no part of the other format"
        assert told[4:] == [*docker[2:-2], "/c"]
    assert push_command("podman", "a:1") == ["podman", "push", "a:1"]


@pytest.mark.parametrize("tag", ["digits", "digits:1", "team/digits:1.0-rc_1", "Host.example:5000/team/my-model__x:V1"])
def test_a_name_of_an_image(tag: str) -> None:
    check_tag(tag)


@pytest.mark.parametrize("tag", ["-x", "a b", "UPPER", "host/Bad:tag", "digits:a:b", "digits:", "", "a//b", "x\n"])
def test_what_no_registry_takes(tag: str) -> None:
    with pytest.raises(ConfigurationError, match="is no name of an image"):
        check_tag(tag)
