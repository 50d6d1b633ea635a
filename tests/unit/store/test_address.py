"""s3://bucket/prefix: what is one, and whether a repository is one."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelyard.errors import ConfigurationError
from modelyard.settings import Settings
from modelyard.store.address import Address, locate, mirror_folder, parse_address, store_of


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MODELYARD_REPOSITORY", "MODELYARD_STORE", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("s3://models", Address("models")),
        ("s3://models/", Address("models")),
        ("s3://models/team", Address("models", "team")),
        ("s3://my.models-1/team/a=b/", Address("my.models-1", "team/a=b")),
    ],
)
def test_an_address_is_a_bucket_and_a_prefix(text: str, address: Address) -> None:
    assert parse_address(text) == address
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "models",
            "s3:/models",
            "s3://",
            "s3:///x",
            "http://models/x",
            "s3://a",
            "s3://models/../other",
            "s3://m/.",
        ),
        *(
            "s3://models//x",
            "s3://models/a b",
            "s3://models/x?versionId=1",
            "s3://user:secret@host/x",
            "s3://models/x\n",
        ),
    ],
)
def test_what_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="no address of a store"):
        parse_address(text)


def test_keys_lie_below_the_prefix() -> None:
    assert Address("b", "p/q").key("m/model.yaml") == "p/q/m/model.yaml"
    assert Address("b").key("m/model.yaml") == "m/model.yaml"


def test_a_repository_may_be_a_store_by_option_or_by_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    assert locate(Path("here"))[1] is None
    settings, address = locate(Path("s3://models/team"), model="digits")
    assert address == Address("models", "team")
    assert settings.model == "digits"
    assert settings.repository.parent == settings.mirror_folder
    monkeypatch.setenv("MODELYARD_REPOSITORY", "s3://models/team")
    assert locate(None)[1] == Address("models", "team")
    assert locate(Path("here")) == (Settings.from_environment(None, repository=Path("here")), None)


def test_other_commands_say_that_a_store_is_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="not on a store"):
        Settings.from_environment(None, repository=Path("s3://models/team"))
    monkeypatch.setenv("MODELYARD_REPOSITORY", "s3://models/team")
    with pytest.raises(ValueError, match=r"MODELYARD_REPOSITORY.*modelyard pull"):
        Settings.from_environment()


def test_stores_of_one_name_at_two_endpoints_have_two_mirrors(monkeypatch: pytest.MonkeyPatch) -> None:
    settings, address = Settings(), Address("models")
    one = mirror_folder(settings, address)
    assert one == mirror_folder(settings, address)
    assert one != mirror_folder(settings, Address("models", "team"))
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://minio:9000")
    assert one != mirror_folder(settings, address)


def test_the_store_of_push_and_pull_has_to_be_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="MODELYARD_STORE"):
        store_of(None)
    monkeypatch.setenv("MODELYARD_STORE", "s3://models/team")
    assert store_of(None) == Address("models", "team")
    assert store_of("s3://other") == Address("other")
