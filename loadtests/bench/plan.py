"""What is measured: which server with which model, over which face, with how many connections, for how long.

The MLP is served on one core and asked from another, so that it is the server around it that is measured. The encoder
has all cores: there the question is how much of them reaches the model. Both are asked at 1, 8, 32 and 128 connections.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from loadtests.bench.core import Face, Recipe, cores

CONNECTIONS = (1, 8, 32, 128)
MAIN = {"mlp": 32, "encoder": 8, "encoder_int8": 8}  # connections of the figures that bars are about
HTTP_JSON: tuple[Face, ...] = ("oip-json", "json")  # the protocol's JSON where a server speaks it, else its own
START_SECONDS = 8.0  # what the start and the end of a server take, guessed
CELL_SECONDS = 1.0  # what a measurement takes beside its window


@dataclass(frozen=True)
class Cell:
    """One measurement of one server."""

    model: str
    face: Face
    connections: int
    seconds: float
    warm_seconds: float
    rounds: int  # in how many rounds it is taken

    @property
    def cost(self) -> float:
        """About how long it takes."""
        return self.seconds + self.warm_seconds + CELL_SECONDS


@dataclass(frozen=True)
class Scale:
    """How much is measured: rounds, the seconds of an MLP cell, and whether the quick form is asked for."""

    rounds: int = 3
    seconds: float = 2.0
    quick: bool = False

    @property
    def encoder_seconds(self) -> float:
        """A cell of the encoder answers a thousandth of the requests in a second."""
        return 2.0 * self.seconds

    def threads(self, model: str) -> list[int]:
        """How many threads call the bare session of `model`."""
        if self.quick:
            return [] if model == "mlp" else [len(cores())]
        return sorted({1, len(cores())})


def pins(model: str) -> tuple[tuple[int, ...] | None, tuple[int, ...] | None]:
    """The cores of the server and of the load generator; None: all of them."""
    usable = cores()
    if model != "mlp" or len(usable) < 2:
        return None, None
    return (usable[0],), (usable[1],)


def cells(model: str, faces: Sequence[Face], scale: Scale) -> list[Cell]:
    """The measurements of a server that offers `faces`, with `model`."""
    asked = measured_faces(faces)
    if model == "mlp":
        if scale.quick:
            main = [_cell(model, face, MAIN[model], scale) for face in asked]
            return [_cell(model, asked[0], 1, scale), *main]
        return [_cell(model, face, count, scale) for face in asked for count in CONNECTIONS]
    json_face, *others = asked
    if scale.quick or model != "encoder":
        return [_cell(model, json_face, MAIN[model], scale)]
    first = [_cell(model, json_face, count, scale) for count in CONNECTIONS]
    return first + [_cell(model, face, MAIN[model], scale) for face in others]


def measured_faces(faces: Sequence[Face]) -> list[Face]:
    """The JSON face first (one of them), then binary and gRPC."""
    json_faces = [face for face in HTTP_JSON if face in faces][:1]
    return json_faces + [face for face in faces if face not in HTTP_JSON]


def _cell(model: str, face: Face, connections: int, scale: Scale) -> Cell:
    if model == "mlp":
        return Cell(model, face, connections, scale.seconds, min(0.5, scale.seconds / 2), scale.rounds)
    # with many connections an answer takes seconds: the window has to hold some of them
    crowd = connections >= 100
    seconds = scale.encoder_seconds * (2 if crowd else 1)
    rounds = 1 if connections > MAIN[model] else scale.rounds  # the model is saturated already: once is enough
    return Cell(model, face, connections, seconds, 4.0 if crowd else 1.0, rounds)


def rotated(recipes: Sequence[Recipe], number: int) -> list[Recipe]:
    """The order of round `number`: nobody is always first, when the machine is cool, or always last."""
    if not recipes:
        return []
    shift = number * max(1, len(recipes) // 3) % len(recipes)
    order = [*recipes[shift:], *recipes[:shift]]
    return order[::-1] if number % 2 else order
