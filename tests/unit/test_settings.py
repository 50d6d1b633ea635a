"""Settings from the environment: every fault named, no secret quoted."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest
from pydantic import ValidationError

from modelyard.settings import PREFIX, Settings, unknown_variables

SECRET = "hunter2-not-to-be-read"
PLAIN = {"MODEL", "REPOSITORY", "HOST", "REDIS_PREFIX", "ENGINE_FOLDER", "STORE", "MIRROR_FOLDER"}
"""Settings that take any text and are shown."""


def test_the_defaults_are_those_of_the_documentation() -> None:
    settings = Settings.from_environment({})
    assert (settings.host, settings.http_port, settings.grpc_port, settings.workers) == ("127.0.0.1", 3000, 3001, 1)
    assert settings.redis_url.get_secret_value() == ""
    assert settings.redis_timeout_seconds == 0.02
    assert settings.max_body_bytes == 64 * 2**20
    assert not settings.admin
    assert settings.cache_enabled


def test_variables_are_read_and_overrides_win_unless_they_are_none() -> None:
    environment = {"MODELYARD_HTTP_PORT": "8080", "MODELYARD_ADMIN": "true", "OTHER": "x"}
    assert Settings.from_environment(environment).http_port == 8080
    assert Settings.from_environment(environment).admin
    assert Settings.from_environment(environment, http_port=9090).http_port == 9090
    assert Settings.from_environment(environment, http_port=None).http_port == 8080


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HTTP_PORT", "70000"),
        ("HTTP_PORT", "eighty"),
        ("WORKERS", "0"),
        ("REDIS_TIMEOUT_SECONDS", "0"),
        ("REDIS_TIMEOUT_SECONDS", "nan"),
        ("MAX_BODY_BYTES", "-1"),
        ("CACHE_ENABLED", "perhaps"),
        ("LOG_LEVEL", "loud"),
        ("PAYLOAD_LOG", "http://127.0.0.1:99999/"),
        ("PAYLOAD_LOG", "http://127.0.0.1:0/"),
        ("PAYLOAD_LOG", "http://127.0.0.1:port/"),
        ("PAYLOAD_LOG", "http://[::1/"),
    ],
)
def test_a_wrong_value_names_its_variable(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=PREFIX + name):
        Settings.from_environment({PREFIX + name: value})


def test_the_engine_folder_is_named_or_left_out() -> None:
    with pytest.raises(ValueError, match=r"MODELYARD_ENGINE_FOLDER: .*is empty"):
        Settings.from_environment({"MODELYARD_ENGINE_FOLDER": ""})
    told = Settings.from_environment({"MODELYARD_ENGINE_FOLDER": "~/x"}).engine_folder
    assert told == Path.home() / "x"
    with pytest.raises(ValueError, match=r"MODELYARD_ENGINE_FOLDER: .*home folder"):
        Settings.from_environment({"MODELYARD_ENGINE_FOLDER": "~nobody-has-this-name/x"})


def test_every_wrong_variable_is_named_at_once() -> None:
    with pytest.raises(ValueError, match=r"HTTP_PORT.*WORKERS"):
        Settings.from_environment({"MODELYARD_HTTP_PORT": "x", "MODELYARD_WORKERS": "y"})


@pytest.mark.parametrize("name", [name.upper() for name in Settings.model_fields])
def test_no_complaint_ever_quotes_a_value(name: str) -> None:
    text = ""
    try:
        text = repr(Settings.from_environment({PREFIX + name: SECRET}))
    except ValueError as error:
        text = "".join(traceback.format_exception(error))
    assert text
    assert SECRET not in text or name in PLAIN


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        Settings.from_environment({}).workers = 2  # type: ignore[misc]


def test_a_likely_typo_is_told_and_what_others_inject_is_left_alone() -> None:
    environment = {
        "MODELYARD_REDIS_URI": SECRET,
        "MODELYARD_HTTP_PORT": "1",
        "MODELYARD_SERVICE_HOST": "10.0.0.1",
        "MODELYARD_PORT_3000_TCP_ADDR": "10.0.0.1",
    }
    (line,) = unknown_variables(environment)
    assert "MODELYARD_REDIS_URL" in line
    assert SECRET not in line
