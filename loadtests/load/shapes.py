"""The shapes as locust wants them: a class each, chosen by --shape. What they look like stands in curves.py."""

from __future__ import annotations

import time
from collections.abc import Mapping

from locust import LoadTestShape

from loadtests.load import curves
from loadtests.load.curves import Curve, users_at

GRACE_SECONDS = 15.0
"""For answers that are under way at the end."""


class Shape(LoadTestShape):
    """Follows a curve over the length of the run; then no user is left, then the last reports of the workers are in."""

    abstract = True
    use_common_options = True
    curve: Curve

    def __init__(self, users: int, seconds: float, settle: float = 0.0) -> None:
        """`settle`: seconds that workers need to report, once nobody asks any more."""
        super().__init__()  # type: ignore[no-untyped-call]  # untyped library
        self._users = users
        self._seconds = seconds
        self._settle = settle
        self._empty = 0.0
        self._workers = 0
        self.lost = 0
        """Workers that went away before the end."""

    def tick(self) -> tuple[int, float] | None:
        """Users, and how many of them come or go in a second: locust asks every second, so all that are due."""
        run = time.perf_counter() - self.start_time
        workers: int = getattr(self.runner, "worker_count", 0)
        self._workers = max(self._workers, workers)
        self.lost = max(self.lost, self._workers - workers)
        if run < self._seconds:
            return users_at(type(self).curve, run / self._seconds, self._users), float(self._users)
        if self.runner is not None and self.runner.user_count and run < self._seconds + GRACE_SECONDS:
            return 0, float(self._users)
        self._empty = self._empty or run
        return (0, float(self._users)) if run < self._empty + self._settle else None


class Constant(Shape):
    curve = staticmethod(curves.constant)


class Step(Shape):
    curve = staticmethod(curves.step)


class Spike(Shape):
    curve = staticmethod(curves.spike)


class Soak(Shape):
    curve = staticmethod(curves.soak)


class Day(Shape):
    curve = staticmethod(curves.day)


SHAPES: Mapping[str, type[Shape]] = {
    "constant": Constant,
    "step": Step,
    "spike": Spike,
    "soak": Soak,
    "day": Day,
}
