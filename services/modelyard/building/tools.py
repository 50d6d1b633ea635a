"""docker, podman or buildah: which one is there and answers, what it is told. Its words go to stderr as they come."""

import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from modelyard.errors import ConfigurationError

Tool = Literal["docker", "podman", "buildah"]
Target = Literal["cpu", "gpu"]
TOOLS: tuple[Tool, ...] = ("docker", "podman", "buildah")
_FORMAT = ("--format", "docker")
"""A HEALTHCHECK is part of docker's format alone: podman and buildah would drop it."""
ANSWER_SECONDS = 20.0
_PART = r"[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    rf"(?:[A-Za-z0-9][A-Za-z0-9.-]*(?::[0-9]+)?/)?{_PART}(?:/{_PART})*(?::[A-Za-z0-9_][\w.-]{{0,127}})?", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Image:
    """What is to be built out of which folder."""

    tag: str
    dockerfile: Path
    context: Path
    arguments: Mapping[str, str]


def find(wanted: Tool | None) -> Tool:
    """The tool that was asked for, else the first that answers. Raises ConfigurationError."""
    why = {}
    for tool in (wanted,) if wanted else TOOLS:
        if not (refusal := _refusal(tool)):
            return tool
        why[tool] = refusal
    text = "; ".join(f"{tool} {refusal}" for tool, refusal in why.items())
    raise ConfigurationError(f"nothing here builds images: {text} (--context DIR prepares what another machine builds)")


def check_tag(tag: str) -> None:
    """Raises ConfigurationError for what no registry takes (the grammar of github.com/distribution/reference)."""
    if not _REFERENCE.fullmatch(tag):
        raise ConfigurationError(
            f"{tag!r} is no name of an image: HOST/NAME:TAG, the name in lower case; HOST and TAG may be left out"
        )


def build_command(tool: str, image: Image, more: Sequence[str] = ()) -> list[str]:
    arguments = [item for name, value in image.arguments.items() for item in ("--build-arg", f"{name}={value}")]
    named = ["--file", str(image.dockerfile), "--tag", image.tag]
    return [tool, "build", *(() if tool == "docker" else _FORMAT), *named, *arguments, *more, str(image.context)]


def push_command(tool: str, tag: str) -> list[str]:
    return [tool, "push", tag]


def run(command: Sequence[str]) -> None:
    """To its end. Ctrl-C reaches it too, as it is in our process group. Raises ConfigurationError when it fails."""
    process = subprocess.Popen(command, stdout=sys.stderr, stdin=subprocess.DEVNULL)
    try:
        code = process.wait()
    except KeyboardInterrupt:
        process.wait()
        raise
    if code:
        raise ConfigurationError(f"{' '.join(command[:2])} ended with exit code {code}; its own words stand above")


def _refusal(tool: Tool) -> str:
    """Why this tool cannot be used, or nothing. docker is only there when its daemon is."""
    if shutil.which(tool) is None:
        return "is not installed"
    try:
        done = subprocess.run(
            [tool, "version"], capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False, errors="replace"
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"does not answer: {type(error).__name__}"
    words = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()
    return f"does not answer: {words[-1]}" if done.returncode else ""
