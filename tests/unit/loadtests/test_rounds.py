"""The rounds: a server that fails is noted with its reason, gets another chance, and never ends the run."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from rich.console import Console

from loadtests.bench import rounds
from loadtests.bench.core import Endpoint, Face, Sample, Server
from loadtests.bench.load import Job
from loadtests.bench.plan import Scale
from loadtests.bench.rounds import Taken, run_rounds
from loadtests.bench.session import BareSession
from loadtests.bench.watch import Watch


class Fake:
    """A recipe whose starts fail in the rounds that it is told."""

    faces: tuple[Face, ...] = ("oip-json", "oip-grpc")

    def __init__(self, name: str, fails: set[int] | None = None) -> None:
        self.name = name
        self.fails = fails or set()
        self.starts = 0

    @contextmanager
    def start(self, model: str, onnx: Path, log: Path) -> Iterator[Server]:  # noqa: ARG002  (as a recipe has them)
        self.starts += 1
        if self.starts in self.fails:
            raise RuntimeError("no port")
        yield Server(self.name, model, 1, {face: Endpoint(face, "h", 1) for face in self.faces}, version="1")


@pytest.fixture
def wrong(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, int], str]:
    """Nothing is measured; (face, n) -> what is wrong at the n-th check of that face."""
    faults: dict[tuple[str, int], str] = {}
    asked: dict[str, int] = {}

    def fault(endpoint: Endpoint, model: str) -> str:
        asked[endpoint.face] = asked.get(endpoint.face, 0) + 1
        return faults.get((endpoint.face, asked[endpoint.face]), "")

    def measured(job: Job) -> Sample:
        return Sample(1.0, 100, 0, 0, 0.1, 0.2)

    def session(model: str, threads: int, seconds: float) -> BareSession:
        return BareSession(model, threads, seconds, 10, 0.1)

    monkeypatch.setattr(rounds, "fault", fault)
    monkeypatch.setattr(rounds, "measure", measured)
    monkeypatch.setattr(rounds, "bare_session", session)
    return faults


def _run(*recipes: Fake, count: int = 3) -> Taken:
    scale = Scale(rounds=count, quick=True)
    with Watch(Console(file=io.StringIO()), 1.0) as watch:
        return run_rounds({"mlp": list(recipes)}, scale, watch)


def _counts(taken: Taken, server: str) -> dict[str, int]:
    faces = [one["face"] for one in taken.measurements if one["server"] == server]
    return {face: faces.count(face) for face in faces}


def test_every_server_is_measured_in_every_round(wrong: dict[tuple[str, int], str]) -> None:
    taken = _run(Fake("one"), Fake("two"))
    assert _counts(taken, "one") == _counts(taken, "two") == {"oip-json": 6, "oip-grpc": 3}
    assert taken.failures == []
    assert taken.versions == {"one": "1", "two": "1"}


def test_a_start_that_fails_once_is_noted_and_tried_again(wrong: dict[tuple[str, int], str]) -> None:
    taken = _run(Fake("one", {1}), Fake("two"))
    assert _counts(taken, "one") == {"oip-json": 4, "oip-grpc": 2}
    assert _counts(taken, "two") == {"oip-json": 6, "oip-grpc": 3}
    (entry,) = taken.failures
    assert (entry["server"], entry["round"], entry["reason"]) == ("one", "1", "RuntimeError: no port")


def test_a_server_that_fails_twice_is_given_up(wrong: dict[tuple[str, int], str]) -> None:
    one = Fake("one", {1, 2, 3, 4})
    assert len(_run(one, count=4).failures) == 2
    assert one.starts == 2


def test_wrong_answers_are_noted_and_not_timed_over_that_face(wrong: dict[tuple[str, int], str]) -> None:
    wrong[("oip-json", 1)] = wrong[("oip-json", 2)] = "wrong answer: off by 3"
    taken = _run(Fake("one"))
    assert _counts(taken, "one") == {"oip-json": 2, "oip-grpc": 3}
    assert [entry["reason"] for entry in taken.failures] == ["wrong answer: off by 3"] * 2
