"""The store at an address. boto3 is imported here, late: only by those who use a store."""

from modelyard.errors import ConfigurationError
from modelyard.settings import Settings
from modelyard.store.address import Address
from modelyard.store.remote import Remote


def open_remote(settings: Settings, address: Address) -> Remote:
    """Raises ConfigurationError without boto3, StoreError when its configuration is wrong. Nothing is asked yet."""
    try:
        from modelyard.store.s3 import S3Store  # noqa: PLC0415 (an extra that few need)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"boto3", "botocore"}:
            raise
        raise ConfigurationError(f"{address} needs boto3: pip install 'modelyard[s3]'") from None
    return Remote(S3Store(address, settings.store_timeout_seconds))
