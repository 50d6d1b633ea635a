"""A file that was packed becomes a version of the repository. What is in it is checked, never run."""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from modelyard.errors import ConfigurationError
from modelyard.importing.bounded import Limits, one_line
from modelyard.manifest import MANIFEST, NAME
from modelyard.packing import archive
from modelyard.packing.pack import Counted, Progress
from modelyard.receiving import File, Received, receive


def unpack(source: Path, repository: Path, limits: Limits, progress: Progress | None = None) -> Received:
    """Raises ConfigurationError with what is wrong with the file; the repository is as it was then."""
    if source.exists() and not source.is_file():  # a pipe would be waited for
        raise ConfigurationError(f"{source} is no regular file")
    try:
        with source.open("rb") as file:
            content = Counted(file, progress, 0, source.stat().st_size)
            return _receive(archive.read(content, source.name), repository, limits, source.name)
    except OSError as error:
        raise ConfigurationError(f"{source} cannot be read: {error.strerror}") from None
    except ConfigurationError as error:
        raise ConfigurationError(one_line(str(error), 1000)) from None


def _receive(members: Iterator[File], repository: Path, limits: Limits, source: str) -> Received:
    """The first path says the model and the version; the others have to be below the same folder."""
    first = next(members, None)
    if first is None:
        raise ConfigurationError(f"{source} is empty")
    parts = first[0].split("/")
    if len(parts) != 4 or (parts[1], parts[3]) != ("versions", MANIFEST) or not NAME.fullmatch(parts[0]):
        raise ConfigurationError(f"{source}: it has to begin with NAME/versions/V/{MANIFEST}, not with '{first[0]}'")
    name, _, version, _ = parts
    below = _below(chain([first], members), f"{name}/", source)
    return receive(repository, name, version, below, source=source, limits=limits)


def _below(members: Iterator[File], folder: str, source: str) -> Iterator[File]:
    for path, size, content in members:
        if not path.startswith(folder):
            raise ConfigurationError(f"{source}: '{path}' lies outside of the folder {folder}")
        yield path.removeprefix(folder), size, content
