"""Who is calling: bearer tokens against the keys of MODELYARD_API_KEYS. Both protocols ask here."""

import hmac
from contextvars import ContextVar

from modelyard.errors import PermissionDenied, Unauthenticated

ANONYMOUS = "anonymous"

current_tenant: ContextVar[str] = ContextVar("current_tenant", default=ANONYMOUS)
"""Whose request this is, for code that a framework calls in between: the typed API's methods."""


current_request: ContextVar[str] = ContextVar("current_request", default="")
"""Its id, likewise."""


class Keys:
    def __init__(self, text: str) -> None:
        """`text` is 'name:key,name:key'; empty lets everybody in. Raises ValueError, which never quotes a key."""
        self._keys: list[tuple[str, bytes]] = []
        for number, entry in enumerate(filter(None, (part.strip() for part in text.split(","))), 1):
            name, separator, key = (part.strip() for part in entry.partition(":"))
            if not (name and separator and key):
                raise ValueError(f"MODELYARD_API_KEYS: entry {number} is not 'name:key'")
            self._keys.append((name, key.encode()))

    def __bool__(self) -> bool:
        """Are keys asked for at all?"""
        return bool(self._keys)

    def tenant(self, authorization: str | None) -> str:
        """The name of the key in an Authorization value. Raises Unauthenticated or PermissionDenied."""
        if not self._keys:
            return ANONYMOUS
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Unauthenticated("send a key: Authorization: Bearer <key>")
        given = token.strip().encode()
        # every key is compared, in constant time each: how long it takes tells nothing
        found = [name for name, key in self._keys if hmac.compare_digest(key, given)]
        if not found:
            raise PermissionDenied("this key is not known")
        return found[0]
