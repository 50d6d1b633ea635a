"""`python -m loadtests.bench.profiled FILE serve NAME ...`: Modelyard with a profiler that is asleep.

SIGUSR1 wakes it and SIGUSR2 ends it and writes FILE: what is profiled is the load, without the start of the server.
"""

from __future__ import annotations

import cProfile
import signal
import sys
from types import FrameType


def main() -> None:
    """Install the two signals and become `modelyard`."""
    target = sys.argv.pop(1)
    profiler = cProfile.Profile()

    def begin(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  (a signal gives both)
        profiler.enable()

    def end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  (as above)
        profiler.disable()
        profiler.dump_stats(target)

    signal.signal(signal.SIGUSR1, begin)
    signal.signal(signal.SIGUSR2, end)
    from modelyard.cli import main as modelyard

    modelyard()


if __name__ == "__main__":
    main()
