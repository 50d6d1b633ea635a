"""Train the next-item network and hold it against counting and against the best that is possible.

    python models/next_item/train.py         # about a minute, the making of the data included
    python models/next_item/export.py        # then: ONNX and a version folder

Writes build/weights.npz and build/report.json. Exits with 1, and writes nothing, unless the recall@10 on the held-out
sessions (all later than the training sessions) is above both baselines' by --margin. The baselines have the better of
two memories, all training days or the last week, chosen by the held-out rows: that favours them.
"""

import argparse
import json
import sys
import time
from collections import deque
from collections.abc import Iterator

import baselines
import dataset
import network
import numpy as np
import oracle
import torch
from baselines import Counts, ranking, recall_at_10
from generator import ITEMS, Integers, Sessions
from torch import Tensor, nn

from modelyard.authoring.script import finish, progress
from modelyard.authoring.weights import save_weights
from modelyard.errors import ConfigurationError

BATCH = 64
PEAK_LEARNING_RATE = 1e-2
UNKNOWN = 0.01
"""Share of events whose item is hidden in training: the network learns what an unknown item says, which is little."""
HISTORIES = ((1, 1), (2, 4), (5, 16), (17, 64))
"""Lengths of history for which recall is reported by itself."""


def main() -> None:
    options = _options()
    torch.manual_seed(options.seed)
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)  # steps this small gain little from a second thread, which spins on a busy machine
    started = time.monotonic()
    data = dataset.load()
    shown = dataset.rows(data.held_out, data.cuts)
    print(
        f"next_item: {len(data.train.lengths):,} training sessions with {data.train.lengths.sum():,} events, "
        f"{len(shown.truth):,} held-out sessions, all later; seed {options.seed}",
        flush=True,
    )
    trained = fit(data.train, options.epochs, options.seed)
    ranked = network.answers(trained, shown.items, shown.timestamps)[0]
    report = _figures(data, shown, ranked)
    _print(report, time.monotonic() - started)
    beaten = max(report["popularity"], report["first_order"])
    if report["recall_at_10"] < beaten + options.margin:
        raise ConfigurationError(
            f"recall@10 {report['recall_at_10']:.3f} is not {options.margin} above the best baseline's "
            f"{beaten:.3f}; nothing is written"
        )
    about = {"seed": options.seed, "epochs": options.epochs, "by_history": _by_history(shown, ranked)}
    save_weights(network.WEIGHTS, trained)
    network.REPORT.write_text(json.dumps({**report, **about}, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {network.WEIGHTS} and {network.REPORT.name}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=3, help="passes over the sessions (default: 3)")
    parser.add_argument("--seed", type=int, default=7, help="of weights and order; the data has its own (default: 7)")
    parser.add_argument("--margin", type=float, default=0.05, help="above the baselines; else exit 1 (default: 0.05)")
    return parser.parse_args()


def fit(sessions: Sessions, epochs: int, seed: int) -> network.NextItemNetwork:
    """A trained network: each event of each session is predicted from those before it."""
    model = network.NextItemNetwork(ITEMS)
    steps = -(-len(sessions.lengths) // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_LEARNING_RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_LEARNING_RATE, epochs=epochs, steps_per_epoch=steps)
    batches = (batch for epoch in range(epochs) for batch in _batches(sessions, seed + epoch))
    with progress("steps") as bar:
        task = bar.add_task("training", total=epochs * steps, loss=float("nan"))
        recent: deque[float] = deque(maxlen=100)
        for items, times in batches:
            optimizer.zero_grad()
            loss = _loss(model, items, times)
            loss.backward()  # type: ignore[no-untyped-call]  # torch gives it no types
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            recent.append(loss.item())
            bar.update(task, advance=1, loss=sum(recent) / len(recent))
    return model.eval()


def _loss(model: network.NextItemNetwork, items: Tensor, times: Tensor) -> Tensor:
    hidden = (torch.rand(items.shape) < UNKNOWN) & (items > 0)
    states = model.states(torch.where(hidden, ITEMS + 1, items)[:, :-1], times[:, :-1])
    there = items > 0
    return nn.functional.cross_entropy(model.logits(states[there]), items[there] - 1)


def _batches(sessions: Sessions, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Sessions of about the same length together, so that little padding is computed; their first LONGEST events."""
    random = np.random.default_rng(seed)
    order = np.argsort(sessions.lengths + random.random(len(sessions.lengths)) * 2)
    starts = random.permutation(np.arange(0, len(order), BATCH))
    for start in starts:
        chosen = order[start : start + BATCH]
        width = min(int(sessions.lengths[chosen].max()), network.LONGEST)
        yield torch.from_numpy(sessions.items[chosen, :width]), torch.from_numpy(sessions.times[chosen, :width])


def _figures(data: dataset.Data, shown: dataset.Rows, ranked: Integers) -> dict[str, float]:
    """recall@10 of the network, of what it has to beat, and of the generator itself."""
    last = dataset.last_two(shown)
    memories = [Counts(data.train, ITEMS), Counts(dataset.recent(data.train), ITEMS)]
    figures = {"recall_at_10": recall_at_10(ranked, shown.truth)}
    for name in baselines.NAMES:
        figures[name] = max(recall_at_10(ranking(getattr(counts, name)(last)), shown.truth) for counts in memories)
    by_then = data.world.stopped(dataset.TRAINING_DAYS - 1)
    for name, world in (("oracle_without_drift", by_then), ("oracle", data.world)):
        best = oracle.next_item(world, data.held_out, data.cuts)
        figures[name] = recall_at_10(ranking(best), shown.truth)
    return figures


def _by_history(shown: dataset.Rows, ranked: Integers) -> dict[str, float]:
    lengths = (shown.items > 0).sum(axis=1)
    parts = {f"{low}-{high}": (lengths >= low) & (lengths <= high) for low, high in HISTORIES}
    return {name: recall_at_10(ranked[part], shown.truth[part]) for name, part in parts.items()}


def _print(report: dict[str, float], seconds: float) -> None:
    print(f"recall@10 on held-out sessions ({seconds:.0f} s in all):")
    for name, what in (
        ("popularity", "popularity (baseline)"),
        ("first_order", "first-order Markov chain (baseline)"),
        ("second_order", "second-order Markov chain (for comparison)"),
        ("recall_at_10", "this network"),
        ("oracle_without_drift", "the generator, as of the last training day"),
        ("oracle", "the generator, drift and all (the ceiling)"),
    ):
        print(f"  {what:<44} {report[name]:.3f}")


if __name__ == "__main__":
    sys.exit(finish(main))
