"""The weights of a torch module on disk, as plain arrays: a file of weights must not be able to run code."""

from pathlib import Path

import numpy as np
import torch


def save_weights(path: Path, module: torch.nn.Module) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, allow_pickle=False, **{name: value.numpy() for name, value in module.state_dict().items()})


def load_weights(path: Path, module: torch.nn.Module) -> None:
    """Raises FileNotFoundError when nothing was saved."""
    with np.load(path, allow_pickle=False) as weights:
        module.load_state_dict({name: torch.from_numpy(weights[name]) for name in weights.files})
