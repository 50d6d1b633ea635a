"""Choose how much each member counts in the vote, on training rows alone.

    python models/digits_ensemble/train.py            # less than a minute
    python models/digits_ensemble/export.py           # then: the vote as ONNX, and a version folder

What a member says of rows that it was trained on is worth nothing: a forest knows them by heart. So the training rows
are cut into folds, and both members are trained anew on all folds but one and asked about that one (cross-fitting).
Both are less certain than they are right, the forest most: each gets the power that sharpens its probabilities best,
and then the weights are chosen, all by the least log loss over all training rows. No held-out row is looked at here.

Writes build/shares.json. Exits with 1, and writes nothing, when the cross-fitted vote is right less often than
MINIMUM_ACCURACY.
"""

import sys

import numpy as np
import torch
import vote
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold
from vote import Probabilities

from modelyard.authoring.script import finish
from modelyard.errors import ConfigurationError

sys.path += [str(vote.REPOSITORY / member) for member in vote.MEMBERS]
import dataset  # of `digits`: the rows and their split
import fitting  # of `digits`
import trees  # of `digits_forest`

FOLDS = 3
EPOCHS = 20
SEED = 7
POWERS = [number / 4 for number in range(2, 21)]
STEPS = 20
"""The weight of the network goes from 0 to 1 in so many; that of the forest is what is left."""
MINIMUM_ACCURACY = 0.97


def main() -> None:
    torch.set_num_threads(1)  # the same figures on any number of cores
    torch.manual_seed(SEED)
    torch.use_deterministic_algorithms(True)
    train, _ = dataset.load()
    print(f"digits_ensemble: {len(train.labels)} training rows in {FOLDS} folds, seed {SEED}", flush=True)
    said = dict(zip(vote.MEMBERS.values(), _cross_fit(train), strict=True))
    shares = _choose(said, train.labels)
    together = vote.count(said, shares)["probabilities"]
    for name, probabilities in {**said, "vote": together}.items():
        loss, accuracy = vote.log_loss(probabilities, train.labels), _accuracy(probabilities, train.labels)
        print(f"  {name:12} log loss {loss:.4f}, accuracy {accuracy:.4f}")
    accuracy = _accuracy(together, train.labels)
    if accuracy < MINIMUM_ACCURACY:
        raise ConfigurationError(f"the cross-fitted accuracy is below {MINIMUM_ACCURACY}; nothing is written")
    vote.save_shares(shares, accuracy)
    print(f"shares: {vote.shown(shares)}; wrote {vote.SHARES}")


def _choose(said: dict[str, Probabilities], labels: NDArray[np.int64]) -> dict[str, vote.Share]:
    """Each member's power for itself, then the weights."""
    powers = {member: _sharpest(said[name], labels) for member, name in vote.MEMBERS.items()}

    def shares(step: int) -> dict[str, vote.Share]:
        weights = {"digits": step / STEPS, "digits_forest": (STEPS - step) / STEPS}
        return {member: vote.Share(weights[member], powers[member]) for member in vote.MEMBERS}

    best = min(
        range(STEPS + 1), key=lambda step: vote.log_loss(vote.count(said, shares(step))["probabilities"], labels)
    )
    return shares(best)


def _sharpest(probabilities: Probabilities, labels: NDArray[np.int64]) -> float:
    """The power with the least log loss."""
    return min(POWERS, key=lambda power: vote.log_loss(vote.sharpen(probabilities, power), labels))


def _cross_fit(rows: dataset.Rows) -> tuple[Probabilities, Probabilities]:
    """What each kind of member says of every training row when it was trained on other rows: [n, 10] each."""
    network, forest = (np.zeros((len(rows.labels), 10), np.float32) for _ in range(2))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=SEED)
    for others, fold in folds.split(rows.images, rows.labels):
        seen = dataset.Rows(rows.images[others], rows.labels[others])
        fitted = fitting.fit(seen, EPOCHS, SEED)
        with torch.no_grad():
            network[fold] = fitted(torch.from_numpy(rows.images[fold])).numpy()
        forest[fold] = trees.infer(trees.grow(seen), rows.images[fold])
    return network, forest


def _accuracy(probabilities: Probabilities, labels: NDArray[np.int64]) -> float:
    return float(np.mean(probabilities.argmax(axis=1) == labels))


if __name__ == "__main__":
    sys.exit(finish(main))
