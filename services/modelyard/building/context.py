"""The folder that a build reads: laid out as a checkout, but with nothing that the image does not need.

deploy/docker/   the Dockerfile of the target, its locked requirements
services/        modelyard, and the package of the service
models/NAME/     model.yaml, versions/V/; the same for each member
"""

import shutil
from importlib.resources import as_file, files
from pathlib import Path

from modelyard import __version__
from modelyard.building.order import LIBRARY, Order, Part
from modelyard.building.tools import Target
from modelyard.errors import ConfigurationError
from modelyard.manifest import read_manifest
from modelyard.spec import MODEL_YAML

DOCKER = Path("deploy") / "docker"
_NEVER = shutil.ignore_patterns("__pycache__", "*.pyc", ".*")


def write(order: Order, folder: Path) -> None:
    """Fill `folder`, which is made. Raises ConfigurationError when it holds something already."""
    check(folder)
    try:
        for part in order.parts:
            _copy_model(part, folder / "models" / part.name)
        shutil.copytree(LIBRARY, folder / "services" / LIBRARY.name, ignore=_NEVER)
        _write_version(folder / "services" / f"{LIBRARY.name}.dist-info")
        if order.package:
            shutil.copytree(order.package, folder / "services" / order.package.name, ignore=_NEVER)
        with as_file(files("modelyard.building") / "files") as own:
            shutil.copytree(own, folder / DOCKER, ignore=_NEVER)
    except (OSError, shutil.Error) as error:
        raise ConfigurationError(f"the context {folder} could not be written: {error}") from None


def check(folder: Path) -> None:
    """Raises ConfigurationError for a folder that is not to be written to."""
    if folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
        raise ConfigurationError(f"{folder} is there already and is no empty folder: nothing was written")


def dockerfile(folder: Path, target: Target) -> Path:
    return folder / DOCKER / f"Dockerfile.{target}"


def _write_version(folder: Path) -> None:
    """By which a package that was copied, not installed, knows its version."""
    folder.mkdir()
    text = f"Metadata-Version: 2.1\nName: modelyard\nVersion: {__version__}\n"
    (folder / "METADATA").write_text(text, encoding="utf-8")


def _copy_model(part: Part, folder: Path) -> None:
    version = folder / "versions" / part.version
    shutil.copytree(part.folder / "versions" / part.version, version)
    shutil.copyfile(part.folder / MODEL_YAML, folder / MODEL_YAML)
    if read_manifest(version).digest != part.digest:
        raise ConfigurationError(f"version {part.version} of '{part.name}' was changed while it was copied")
