"""Debian packages, fetched and unpacked into a folder: no root, no daemon, nothing installed.

Their binaries need a Debian or Ubuntu of 2022 or later.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "build" / "tools"
FETCH_SECONDS = 300


def unpacked(name: str, packages: Sequence[str], otherwise: str) -> Path:
    """build/tools/<name> with what the packages hold. Raises RuntimeError; `otherwise` says how to do without."""
    target = FOLDER / name
    if target.is_dir():
        return target
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise RuntimeError(f"there is no apt-get to fetch {' '.join(packages)} with: {otherwise}")
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER) as text:
        draft = Path(text)
        try:
            _download(draft, packages)
            for package in sorted(draft.glob("*.deb")):
                _run(["dpkg-deb", "-x", package.name, "unpacked"], draft)
        except RuntimeError as error:
            raise RuntimeError(f"{error}; {otherwise}") from None
        try:
            (draft / "unpacked").rename(target)
        except OSError:  # another process was faster: its folder is as good
            if not target.is_dir():
                raise
    return target


def _download(draft: Path, packages: Sequence[str]) -> None:
    """By the machine's own package lists, else by lists of our own: neither needs root."""
    lists, archives = draft / "lists", draft / "archives"
    for folder in (lists / "partial", archives / "partial"):
        folder.mkdir(parents=True)
    own = ["-o", f"Dir::State::Lists={lists}", "-o", f"Dir::Cache={archives}", "-o", "Debug::NoLocking=true"]
    try:
        _run(["apt-get", "download", *packages], draft)
    except RuntimeError:
        _run(["apt-get", *own, "update"], draft)
        _run(["apt-get", *own, "download", *packages], draft)


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=FETCH_SECONDS, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"'{' '.join(command)}' gave {done.returncode}: {done.stderr.strip()}")
