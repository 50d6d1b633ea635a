"""Bearer tokens: who is let in, and as whom."""

from __future__ import annotations

import pytest

from modelyard.auth import ANONYMOUS, Keys
from modelyard.errors import PermissionDenied, Unauthenticated

KEYS = Keys("alice:key1, bob:key:2")


def test_without_keys_everybody_is_anonymous() -> None:
    for header in (None, "", "Bearer x"):
        assert Keys("").tenant(header) == ANONYMOUS


@pytest.mark.parametrize("header", ["Bearer key1", "bearer key1", "Bearer  key1 "])
def test_a_key_is_its_tenant(header: str) -> None:
    assert KEYS.tenant(header) == "alice"


def test_a_key_may_hold_a_colon() -> None:
    assert KEYS.tenant("Bearer key:2") == "bob"


@pytest.mark.parametrize("header", [None, "", "key1", "Basic key1", "Bearer", "Bearer "])
def test_no_bearer_token_is_unauthenticated(header: str | None) -> None:
    with pytest.raises(Unauthenticated):
        KEYS.tenant(header)


@pytest.mark.parametrize("token", ["key2", "key11", "KEY1", "alice:key1", "ключ", "key1,key:2"])
def test_an_unknown_key_is_denied_and_not_quoted(token: str) -> None:
    with pytest.raises(PermissionDenied) as caught:
        KEYS.tenant(f"Bearer {token}")
    assert token not in str(caught.value)


@pytest.mark.parametrize("text", ["secret", ":secret", "alice:", "alice:key1,secret"])
def test_a_wrong_list_names_the_entry_and_quotes_no_key(text: str) -> None:
    with pytest.raises(ValueError, match=r"MODELYARD_API_KEYS: entry \d") as caught:
        Keys(text)
    assert "secret" not in str(caught.value)


def test_spaces_around_names_and_keys_do_not_count() -> None:
    assert Keys(" alice : key1 ").tenant("Bearer key1") == "alice"
