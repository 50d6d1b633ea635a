"""The plan: which cells there are, on which cores, and in which order the servers take their turns."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest

from loadtests.bench import plan
from loadtests.bench.core import Face, Server
from loadtests.bench.plan import CONNECTIONS, MAIN, Scale, cells, measured_faces, pins, rotated
from loadtests.bench.rounds import duration

ALL: tuple[Face, ...] = ("json", "oip-json", "oip-binary", "oip-grpc")


@dataclass
class Idle:
    """A recipe that is only counted."""

    name: str
    faces: tuple[Face, ...] = ("oip-json",)

    def start(self, model: str, onnx: Path, log: Path) -> AbstractContextManager[Server]:
        raise NotImplementedError


def test_the_protocols_json_comes_before_a_json_of_its_own() -> None:
    assert measured_faces(ALL) == ["oip-json", "oip-binary", "oip-grpc"]
    assert measured_faces(("json",)) == ["json"]


def test_the_mlp_is_measured_over_every_face_at_every_number_of_connections() -> None:
    taken = [(cell.face, cell.connections) for cell in cells("mlp", ALL, Scale())]
    assert taken == [(face, count) for face in ("oip-json", "oip-binary", "oip-grpc") for count in CONNECTIONS]


@pytest.mark.parametrize("scale", [Scale(), Scale(quick=True)])
@pytest.mark.parametrize("model", ["mlp", "encoder", "encoder_int8"])
def test_the_cell_that_bars_are_about_is_always_taken_in_every_round(model: str, scale: Scale) -> None:
    main = [cell for cell in cells(model, ALL, scale) if (cell.face, cell.connections) == ("oip-json", MAIN[model])]
    assert [cell.rounds for cell in main] == [scale.rounds]


def test_a_crowd_at_the_encoder_gets_time_for_several_answers() -> None:
    crowd = next(cell for cell in cells("encoder", ALL, Scale()) if cell.connections == 128)
    assert crowd.rounds == 1
    assert crowd.seconds > Scale().encoder_seconds


def test_every_order_holds_every_server_once_and_no_two_rounds_begin_alike() -> None:
    recipes = [Idle(name) for name in "abcdefghi"]
    orders = [[one.name for one in rotated(recipes, number)] for number in range(3)]
    assert all(sorted(order) == list("abcdefghi") for order in orders)
    assert len({order[0] for order in orders}) == 3
    assert rotated([], 1) == []
    assert [one.name for one in rotated([Idle("alone")], 2)] == ["alone"]


def test_the_mlp_has_a_core_apart_from_its_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "cores", lambda: [2, 5, 7])
    assert pins("mlp") == ((2,), (5,))
    assert pins("encoder") == (None, None)
    monkeypatch.setattr(plan, "cores", lambda: [2])
    assert pins("mlp") == (None, None)


def test_a_longer_plan_is_said_to_take_longer() -> None:
    short = duration({"mlp": [Idle("a")]}, Scale(rounds=1))
    assert short < duration({"mlp": [Idle("a"), Idle("b")]}, Scale(rounds=1)) < duration({"mlp": [Idle("a")]}, Scale())
