"""A connection under the test's own clock, and what is asked behind an HTTP/2 one, for the tests of its parts."""

from __future__ import annotations

import pytest

from modelyard.protocol import http_server
from modelyard.protocol.http2_port import Method
from tests.unit.protocol.fakes import Line
from tests.unit.protocol.http2_service import Held, Service, asking


@pytest.fixture
async def held() -> Held:
    return Held()


@pytest.fixture
async def methods(held: Held) -> dict[str, Method]:
    return asking(held)


@pytest.fixture
async def service() -> Service:
    return Service()


@pytest.fixture
async def line(monkeypatch: pytest.MonkeyPatch) -> Line:
    made = Line()
    monkeypatch.setattr(http_server, "time", made.clock)
    return made
