"""Several files and folders appear at their places, all or none.

Each is made elsewhere on the same file system and renamed. `take_back` undoes what was done so far: the parts, and the
folders that were made to hold them, as far as nobody else has put anything there.
"""

import os
import shutil
from contextlib import suppress
from pathlib import Path

from modelyard.errors import ConfigurationError


class Placing:
    def __init__(self) -> None:
        self._folders: list[Path] = []
        self.parts: list[Path] = []

    def make_folder(self, folder: Path) -> None:
        """Make it and what is missing above it."""
        if folder.is_dir():
            return
        self.make_folder(folder.parent)
        try:
            folder.mkdir()
        except FileExistsError:
            if not folder.is_dir():
                raise ConfigurationError(f"{folder} is in the way: it is no folder") from None
            return  # another command made it meanwhile
        except OSError as error:
            raise ConfigurationError(f"{folder} cannot be made: {error.strerror}") from None
        self._folders.append(folder)

    def put(self, source: Path, target: Path) -> None:
        """Rename `source`; nothing that stands at `target` is ever replaced. Raises ConfigurationError."""
        self.make_folder(target.parent)
        try:
            if not source.is_dir():
                os.link(source, target)  # a rename would replace what another put there
            elif target.exists():
                raise FileExistsError
            else:
                source.rename(target)  # fails where another put a folder with something in it
        except OSError as error:
            raise ConfigurationError(f"{target} cannot be written: {error.strerror or 'it stands already'}") from None
        self.parts.append(target)

    def take_back(self) -> None:
        for part in reversed(self.parts):
            if part.is_dir():
                shutil.rmtree(part, ignore_errors=True)
            else:
                part.unlink(missing_ok=True)
        for folder in reversed(self._folders):
            with suppress(OSError):  # somebody put something there
                folder.rmdir()
