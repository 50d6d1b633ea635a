"""Environments of the peers: made once for their requirements, made anew for others, and a failure has a reason."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from loadtests.bench import environments
from loadtests.bench.environments import InstallFailed, digest, environment, is_ready, reason, version

Run = Callable[[list[str], Callable[[str], None]], None]


@pytest.fixture
def requirements(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The requirements of a peer named `one`, in folders of this test."""
    path = tmp_path / "peers" / "one" / "requirements.txt"
    path.parent.mkdir(parents=True)
    path.write_text("# made by pip freeze\nalpha==1.0\nBeta==2.0  # why\n")
    monkeypatch.setattr(environments, "PEERS", tmp_path / "peers")
    monkeypatch.setattr(environments, "ENVIRONMENTS", tmp_path / "envs")
    return path


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that would have been run; each makes its folder, as venv does."""
    commands: list[list[str]] = []

    def run(command: list[str], each_line: Callable[[str], None]) -> None:
        commands.append(command)
        if "venv" in command:
            Path(command[-1]).mkdir(parents=True)
        each_line("Collecting alpha==1.0\n")

    monkeypatch.setattr(environments, "_run", run)
    return commands


def _fails(command: list[str], each_line: Callable[[str], None]) -> None:
    Path(command[-1]).mkdir(parents=True, exist_ok=True)
    raise InstallFailed("no such version")


def test_made_once(requirements: Path, ran: list[list[str]]) -> None:
    said: list[str] = []
    first = environment("one", said.append)
    assert first == environments.ENVIRONMENTS / "one" / "bin" / "python"
    assert len(ran) == 2
    assert str(requirements) in ran[1]
    assert said[0] == "one: installing 2 packages"
    assert environment("one", said.append) == first
    assert len(ran) == 2


def test_made_anew_for_other_requirements(requirements: Path, ran: list[list[str]]) -> None:
    environment("one", lambda _: None)
    stale = environments.ENVIRONMENTS / "one" / "left"
    stale.touch()
    requirements.write_text("alpha==1.1\n")
    environment("one", lambda _: None)
    assert len(ran) == 4
    assert not stale.exists()


def test_a_failure_leaves_nothing(requirements: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments, "_run", _fails)
    with pytest.raises(InstallFailed, match="no such version"):
        environment("one", lambda _: None)
    assert not (environments.ENVIRONMENTS / "one").exists()


def test_digest_is_of_the_pins(requirements: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text("alpha==1.0\n\nBeta==2.0\n")
    assert digest(other) == digest(requirements)
    other.write_text("alpha==1.0\nBeta==2.1\n")
    assert digest(other) != digest(requirements)


def test_half_made_is_not_ready(requirements: Path, tmp_path: Path) -> None:
    folder = tmp_path / "envs" / "one"
    folder.mkdir(parents=True)
    assert not is_ready(folder, requirements)
    (folder / ".ready").write_text(digest(requirements) + "\n")
    assert is_ready(folder, requirements)


def test_version(requirements: Path) -> None:
    assert version("one", "alpha") == "1.0"
    assert version("one", "beta") == "2.0"
    assert version("one", "gamma") == ""


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["Collecting a\n", "ERROR: no version of a\n", "\n", "hint: see above\n"], "no version of a"),
        (["one\n", "two\n", "three\n", "four\n"], "two | three | four"),
        ([], ""),
    ],
)
def test_reason(lines: list[str], expected: str) -> None:
    assert reason(lines) == expected


def test_a_failing_command_tells_why() -> None:
    code = "print('reading'); print('ERROR: disk full'); raise SystemExit(2)"
    lines: list[str] = []
    with pytest.raises(InstallFailed, match=r"^disk full$"):
        environments._run([sys.executable, "-c", code], lines.append)
    assert lines == ["reading\n", "ERROR: disk full\n"]


def test_a_command_without_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments, "INSTALL_SECONDS", 0.2)
    with pytest.raises(InstallFailed, match="ended with -9"):
        environments._run([sys.executable, "-c", "import time; time.sleep(60)"], lambda _: None)
