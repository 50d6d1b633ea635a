"""A free port is given once, to one process."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from modelyard.authoring import ports


@pytest.fixture
def three(monkeypatch: pytest.MonkeyPatch) -> range:
    """Three neighbouring ports that are all there is to choose from."""
    while True:
        first = ports.free_port()
        chosen = range(first + 1, first + 4)
        if _all_free(chosen):
            break
    monkeypatch.setattr(ports, "_RANGE", chosen)
    return chosen


def _all_free(chosen: range) -> bool:
    for port in chosen:
        with socket.socket() as probe, socket.socket(type=socket.SOCK_DGRAM) as claim:
            try:
                probe.bind(("127.0.0.1", port))
                claim.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True


def test_a_port_is_given_once_and_can_be_listened_on(three: range) -> None:
    given = [ports.free_port() for _ in three]
    assert sorted(given) == list(three)
    for port in given:
        with socket.create_server(("127.0.0.1", port)) as server:
            assert server.getsockname()[1] == port


def test_a_port_on_which_somebody_listens_is_passed_over(three: range) -> None:
    with socket.create_server(("127.0.0.1", three[0])), socket.create_server(("127.0.0.1", three[2])):
        assert ports.free_port() == three[1]


def test_another_process_is_not_given_it(three: range) -> None:
    mine = {ports.free_port(), ports.free_port()}
    (left,) = set(three) - mine
    program = f"""
from modelyard.authoring import ports
ports._RANGE = range({three.start}, {three.stop})
print(ports.free_port())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(done.stdout) == left


def test_old_claims_are_let_go(monkeypatch: pytest.MonkeyPatch, three: range) -> None:
    monkeypatch.setattr(ports, "_KEPT", 2)
    for _ in range(20):
        assert ports.free_port() in three


def test_it_says_when_none_is_left(three: range) -> None:
    for _ in three:
        ports.free_port()
    with pytest.raises(OSError, match=f"no free port was found between {three.start} and {three.stop}"):
        ports.free_port()
