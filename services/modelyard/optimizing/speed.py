"""Rows a second of two versions of a model, measured in turn in one process.

    for each round: for each batch size: a slice of the one, a slice of the other; who begins changes with the round

A slice runs whole batches until its time is over. Interleaving spreads what else the machine does over both alike; the
median leaves out the rounds that it disturbed most.
"""

import statistics
from collections.abc import Callable, Sequence

from modelyard.optimizing.gate import Speed

Run = Callable[[int], object]
"""Runs the model once on so many rows."""
SLICE_SECONDS = 0.1


def measure(
    parent: Run,
    variant: Run,
    sizes: Sequence[int],
    rounds: int,
    advance: Callable[[], object],
    clock: Callable[[], float],
) -> list[Speed]:
    """`advance` is called after each batch size of each round, `len(sizes) * rounds` times."""
    pair = (parent, variant)
    rates: dict[int, tuple[list[float], list[float]]] = {size: ([], []) for size in sizes}
    for size in sizes:
        for run in pair:
            run(size)  # the first run of a shape plans its memory
    for number in range(rounds):
        for size in sizes:
            for which in (0, 1) if number % 2 == 0 else (1, 0):
                rates[size][which].append(_rate(pair[which], size, clock))
            advance()
    return [Speed(size, *map(statistics.median, rates[size])) for size in sizes]


def _rate(run: Run, size: int, clock: Callable[[], float]) -> float:
    rows, started = 0, clock()
    while True:
        run(size)
        rows += size
        elapsed = clock() - started
        if elapsed >= SLICE_SECONDS:
            return rows / elapsed
