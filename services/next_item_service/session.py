"""What callers send and get: the events of a session in, the items that are likely to come next out.

    events -> checked by name -> the newest 64 -> filled with 0 to the next bucket -> the model

The model's answer depends neither on the filling (0 is no event to it) nor on the day: times count from the first
event, so that equal sessions on different days are one row of the cache. Requests of one bucket share batches.
"""

import time
from datetime import datetime
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StrictInt, model_validator

from modelyard.tensors import Array

ITEMS = 320
"""Ids of the catalogue go from 1 to this."""
BUCKETS = (8, 16, 32, 64)
LONGEST = BUCKETS[-1]
"""Events that count."""
MOST_EVENTS = 10_000
MOST_ITEMS = 50
CLOCK_SECONDS = 86_400
"""How far an event may lie ahead of this machine's clock: clocks differ, and people mistake time zones."""


def _item(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError("an item is a whole number")
    if not 1 <= value <= ITEMS:
        named = str(value) if abs(value) < 10**20 else "the number"  # one of thousands of digits cannot be printed
        raise ValueError(f"{named} is no item of the catalogue: ids go from 1 to {ITEMS}")
    return value


def _seconds(value: object) -> float:
    """Seconds since 1970, of a number or of a date with its zone."""
    if isinstance(value, str):
        try:
            date = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError("no time: give ISO 8601 as in 2026-01-01T10:00:00Z, or seconds since 1970") from None
        if date.tzinfo is None:
            raise ValueError("the time has no zone: end it with Z, or with an offset as in +01:00")
        value = date.timestamp()
    if not isinstance(value, int | float) or isinstance(value, bool) or value != value:  # noqa: PLR0124  NaN
        raise ValueError("no time: give ISO 8601 as in 2026-01-01T10:00:00Z, or seconds since 1970")
    if value < 0:
        raise ValueError("the time is before 1970")
    if value > time.time() + CLOCK_SECONDS:
        raise ValueError("the time is in the future, by more than a day; seconds are wanted, no milliseconds")
    return float(value)


Item = Annotated[
    int, BeforeValidator(_item, json_schema_input_type=int), Field(description=f"id of the item, 1 to {ITEMS}")
]
Time = Annotated[
    float,
    BeforeValidator(_seconds, json_schema_input_type=float | str),
    Field(description="when: ISO 8601 with a zone, or seconds since 1970"),
]


class Event(BaseModel):
    """A visitor took up an item."""

    model_config = ConfigDict(extra="forbid")

    item: Item
    at: Time


class Session(BaseModel):
    """What a visitor did so far, in the order of time."""

    model_config = ConfigDict(extra="forbid", title="Session")

    events: Annotated[list[Event], Field(min_length=1, max_length=MOST_EVENTS)] = Field(
        description=f"in the order of time; of more than {LONGEST} the newest {LONGEST} count"
    )
    k: StrictInt = Field(10, ge=1, le=MOST_ITEMS, description="how many items are wanted")
    exclude_seen: StrictBool = Field(False, description=f"leave out the items of the newest {LONGEST} events")

    @model_validator(mode="after")
    def _in_order(self) -> "Session":
        for index in range(1, len(self.events)):
            if self.events[index].at < self.events[index - 1].at:
                raise ValueError(f"events.{index}.at is before events.{index - 1}.at: give events in the order of time")
        return self

    def arrays(self) -> dict[str, Array]:
        """`items` and `timestamps`, INT64 [1, bucket]: the newest events, then 0."""
        events = self.events[-LONGEST:]
        length = next(bucket for bucket in BUCKETS if bucket >= len(events))
        arrays = {name: np.zeros((1, length), np.int64) for name in ("items", "timestamps")}
        arrays["items"][0, : len(events)] = [event.item for event in events]
        arrays["timestamps"][0, : len(events)] = [int(event.at) - int(events[0].at) for event in events]
        return arrays

    @property
    def outputs(self) -> tuple[str, str]:
        """Of the model: the ranked ids, and their probabilities."""
        return ("new_items", "new_scores") if self.exclude_seen else ("next_items", "scores")


class ScoredItem(BaseModel):
    item: int = Field(ge=1, le=ITEMS)
    score: float = Field(ge=0, le=1, description="the probability that it comes next, among all items of the catalogue")


class Recommendation(BaseModel):
    """The items that are likely to come next."""

    items: list[ScoredItem] = Field(description="the likeliest first")
    events_used: int = Field(description="events that counted: the newest ones")
    events_dropped: int = Field(description="events that were too old to count")
    cache: Literal["hit", "join", "partial", "miss", "bypass"] = Field(description="whether the cache answered")
    model_version: str

    @classmethod
    def of(cls, session: Session, ids: Array, scores: Array, **more: Any) -> "Recommendation":
        """`ids` and `scores` [50], the best first."""
        best = zip(ids[: session.k].tolist(), scores[: session.k].tolist(), strict=True)
        used = min(len(session.events), LONGEST)
        dropped = len(session.events) - used
        items = [ScoredItem(item=item, score=score) for item, score in best]
        return cls(items=items, events_used=used, events_dropped=dropped, **more)
