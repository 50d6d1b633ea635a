"""A request that waits for its answer: it ends once, answered, failed, out of time, or left by its caller."""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

from modelyard.deadlines import Deadlines
from modelyard.errors import Cancelled, DeadlineExceeded

T = TypeVar("T")


class Call(Generic[T]):
    __slots__ = ("_deadlines", "_respond", "_ticket", "left", "limit", "open")

    def __init__(self, deadlines: Deadlines, limit: float, respond: Callable[[T | Exception], None]) -> None:
        """`respond` is called once, with the answer or an error; after `limit` seconds with DeadlineExceeded."""
        self.open = True
        self.left: Callable[[], object] | None = None
        """Called when the request ends without its answer: its work may be dropped."""
        self._deadlines = deadlines
        self.limit = limit
        self._respond = respond
        self._ticket = deadlines.add(limit, self._expire)

    def wanted(self) -> bool:
        return self.open

    def end(self, outcome: T | Exception) -> None:
        if self.open:
            self.open = False
            self.left = None  # it leads back here: memory must not wait for the garbage collector
            self._deadlines.discard(self._ticket)
            self._respond(outcome)

    def cancel(self) -> None:
        """The caller is gone."""
        self._leave(Cancelled("nobody waits for the answer any more"))

    def _expire(self) -> None:
        late = DeadlineExceeded(f"the deadline of {self.limit:g} s passed while the request waited")
        self._leave(self._deadlines.instead or late)

    def _leave(self, error: Exception) -> None:
        left = self.left
        self.end(error)
        if left is not None:
            left()


def settle(future: asyncio.Future[T], outcome: T | Exception) -> None:
    """Give a future its end, unless whoever waited for it has left."""
    if future.done():
        return
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
