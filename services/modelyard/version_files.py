"""The version that answers now, and its files: for a service that needs more of it than the model, as a tokenizer.

A service asks before each call and keeps what it has read by the digest: after a swap it reads the new version's files.
"""

from dataclasses import dataclass
from pathlib import Path

from modelyard.errors import ModelNotReady
from modelyard.manifest import Manifest


@dataclass(frozen=True, slots=True)
class VersionFiles:
    model: str
    version: str
    digest: str
    """Of everything in the version that answers depend on."""
    folder: Path
    names: frozenset[str]

    def path(self, name: str) -> Path:
        """Raises ModelNotReady when the version came without such a file."""
        if name not in self.names:
            raise ModelNotReady(f"version {self.version} of '{self.model}' has no file '{name}': export it anew")
        return self.folder / name


def files_of(manifest: Manifest, artifact: Path) -> VersionFiles:
    """Those of a loaded version, as its manifest lists them; `artifact` is where its model lies."""
    return VersionFiles(manifest.model, manifest.version, manifest.digest, artifact.parent, frozenset(manifest.files))
