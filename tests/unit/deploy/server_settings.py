"""A rendered server's environment as the server reads it."""

from __future__ import annotations

from modelyard.settings import Settings
from tests.unit.deploy.rendered import Object, settings_of


def server_settings(folder: str, item: Object) -> Settings:
    """Raises ValueError for a value that a setting does not take. From a store a server serves its copy, the mirror."""
    values = settings_of(folder, item)
    from_store = values["MODELYARD_REPOSITORY"].startswith("s3://")
    return Settings.from_environment(values, repository=values["MODELYARD_MIRROR_FOLDER"] if from_store else None)
