"""Where a store is, s3://bucket/prefix, and whether a repository is one.

A command that can work on a store asks `locate`; to all others Settings say that a store is no folder.
"""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from modelyard.errors import ConfigurationError
from modelyard.settings import PREFIX, Settings, is_store

BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")
PART = re.compile(r"[A-Za-z0-9!_.*'()=@+-]+")
"""Of a prefix: characters that every store takes as they are."""
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")


@dataclass(frozen=True, slots=True)
class Address:
    bucket: str
    prefix: str = ""
    """Without a slash at either end."""

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}" if self.prefix else f"s3://{self.bucket}"

    def key(self, path: str) -> str:
        return f"{self.prefix}/{path}" if self.prefix else path


def parse_address(text: str) -> Address:
    """Raises ConfigurationError for what is no address of a store."""
    scheme, _, rest = text.partition("://")
    bucket, _, prefix = rest.partition("/")
    prefix = prefix.removesuffix("/")
    parts = prefix.split("/") if prefix else []
    good = all(PART.fullmatch(part) and part.strip(".") for part in parts)
    if scheme != "s3" or not BUCKET.fullmatch(bucket) or not good:
        raise ConfigurationError(
            f"'{text[:200]}' is no address of a store: it has to be s3://bucket or s3://bucket/prefix"
        )
    return Address(bucket, "/".join(parts))


def locate(repository: Path | None, **overrides: object) -> tuple[Settings, Address | None]:
    """The settings, and the store that is meant, if it is none of folders: `repository` is then its mirror's folder."""
    given = str(repository) if repository else os.environ.get(f"{PREFIX}REPOSITORY", "")
    if not is_store(given):
        return Settings.from_environment(None, repository=repository, **overrides), None
    address = parse_address(given if repository is None else given.replace(":/", "://", 1))  # a Path merges slashes
    settings = Settings.from_environment(None, repository=Path(), **overrides)
    return settings.model_copy(update={"repository": mirror_folder(settings, address)}), address


def store_of(given: str | None) -> Address:
    """What `push` and `pull` mean. Raises ConfigurationError when nothing says it."""
    if text := given or locate(None)[0].store:
        return parse_address(text)
    raise ConfigurationError(f"which store? Say s3://bucket/prefix, or set {PREFIX}STORE")


def mirror_folder(settings: Settings, address: Address) -> Path:
    """One for each store: two that have the same name at different endpoints are two."""
    endpoint = next((os.environ[name] for name in ENDPOINTS if os.environ.get(name)), "")
    digest = hashlib.sha256(f"{endpoint} {address}".encode()).hexdigest()
    return settings.mirror_folder / f"{address.bucket}-{digest[:12]}"
