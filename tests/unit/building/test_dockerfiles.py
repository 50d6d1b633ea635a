"""The Dockerfiles as text: linted, hardened, in agreement with the settings. check_image.py builds them for real."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from modelyard.settings import PREFIX, Settings

ROOT = Path(__file__).parents[3]
DOCKER = ROOT / "deploy" / "docker"
FILES = sorted(DOCKER.glob("Dockerfile.*"))
SERVING = [DOCKER / "Dockerfile.cpu", DOCKER / "Dockerfile.gpu"]
DIFFER = (
    "org.opencontainers.image.description",
    "MODELYARD_ENGINE_FOLDER",
    "LD_LIBRARY_PATH",
    "NVIDIA_",
    "VOLUME",
    "# Engines",
)
"""Begins of what may stand differently in the two files below their packages."""


def instructions(path: Path) -> list[tuple[str, str]]:
    """(INSTRUCTION, the rest) of each, lines joined, without comments."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines)).splitlines()
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in joined if line.strip())]


def shipped(path: Path) -> list[tuple[str, str]]:
    """Of the last stage."""
    found = instructions(path)
    last = max(index for index, (word, _) in enumerate(found) if word == "FROM")
    return found[last:]


def value(path: Path, wanted: str) -> str:
    return next(rest for word, rest in shipped(path) if word == wanted)


def environment(path: Path) -> dict[str, str]:
    text = " ".join(rest for word, rest in shipped(path) if word == "ENV")
    return dict(item.split("=", 1) for item in text.split())


def test_there_are_dockerfiles() -> None:
    assert [path.suffix for path in FILES] == [".cpu", ".gpu", ".loadtest"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_hadolint_has_nothing_to_say(path: Path) -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    done = subprocess.run([hadolint, "--no-color", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", sorted(DOCKER.glob("*.sh")), ids=lambda path: path.name)
def test_shellcheck_has_nothing_to_say(path: Path) -> None:
    shellcheck = Path(sys.executable).parent / "shellcheck"
    done = subprocess.run([shellcheck, path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_hardened(path: Path) -> None:
    assert value(path, "USER") == "10001:10001"
    assert value(path, "STOPSIGNAL") == "SIGTERM"
    assert isinstance(json.loads(value(path, "ENTRYPOINT")), list)
    froms = [rest for word, rest in instructions(path) if word == "FROM"]
    assert {text.split()[0] for text in froms} == {"${BASE}"} | ({"packages"} & {text.split()[0] for text in froms})
    assert ("ARG", "BASE=python:3.11-slim") in instructions(path)
    after = " ".join(rest for word, rest in shipped(path) if word in ("RUN", "ADD"))
    for unwanted in ("apt-get", "curl", "pip install", "--python", "http://", "https://"):
        assert unwanted not in after
    text = path.read_text(encoding="utf-8")
    assert "--require-hashes" in text
    assert not re.search(r"(?i)password|secret|token|trusted-host|index-url", text)
    assert "ca-certificates" not in text


@pytest.mark.parametrize("path", SERVING, ids=lambda path: path.name)
def test_it_says_what_the_server_reads(path: Path) -> None:
    assert json.loads(value(path, "ENTRYPOINT")) == ["modelyard", "serve"]
    defaults = Settings()
    assert value(path, "EXPOSE").split() == [str(defaults.http_port), str(defaults.grpc_port)]
    given = {name: text for name, text in environment(path).items() if name.startswith(PREFIX)}
    assert {name.removeprefix(PREFIX).lower() for name in given} <= Settings.model_fields.keys()
    settings = Settings.from_environment(given)
    assert (settings.host, str(settings.repository)) == ("0.0.0.0", "/models")
    assert str(settings.engine_folder) == "/var/lib/modelyard/engines"
    assert environment(path)["HOME"] == "/tmp"


@pytest.mark.parametrize("path", SERVING, ids=lambda path: path.name)
def test_health_is_asked_without_a_shell_or_curl(path: Path) -> None:
    text = value(path, "HEALTHCHECK")
    command = json.loads(text[text.index("[") :])
    assert command[:3] == ["python", "-P", "-c"]
    compile(command[3], "HEALTHCHECK", "exec")
    assert "/v2/health/ready" in command[3]
    assert "MODELYARD_HTTP_PORT" in command[3]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_labels(path: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    labels = dict(re.findall(r'([\w.-]+)="([^"]*)"', value(path, "LABEL")))
    for name in ("title", "description", "version", "revision", "created", "source", "licenses"):
        assert labels[f"org.opencontainers.image.{name}"]
    assert labels["org.opencontainers.image.licenses"] == project["license"]
    assert ("ARG", f"VERSION={project['version']}") in shipped(path)


def test_cpu_and_gpu_differ_in_their_packages_alone() -> None:
    def below(path: Path) -> list[str]:
        text = path.read_text(encoding="utf-8").partition("# --- what this service needs")[2]
        return [line.rstrip(" \\") for line in text.splitlines() if not line.lstrip().startswith(DIFFER)]

    assert below(SERVING[0]) == below(SERVING[1])
