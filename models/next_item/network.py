"""The network: events through a GRU; its state and the newest two items say what comes next.

    items, timestamps [n, length] -> the newest 64 events -> item, item before and gap -> GRU -> items ranked

All that a client would have to get right is part of it, and with it of the exported file:

padding     0 is no event, wherever it stands; events keep their order. The GRU runs forward and its state is taken at
            the newest event, so that nothing computed on padding reaches an answer
length      events before the newest 64 are left out
unknown     an id that is no item of the catalogue becomes one token, trained as such
gaps        seconds between events, from raw timestamps; only differences count
seen        the second ranking leaves out the items of these events
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

BUILD = Path(__file__).resolve().parent / "build"
"""What training leaves for the export; git ignores it."""
WEIGHTS = BUILD / "weights.npz"
REPORT = BUILD / "report.json"

LONGEST = 64
"""Events that count."""
TOP = 50
"""Length of the rankings."""
LONGEST_GAP = 30 * 86_400
EMBEDDING = 64
GAP_FEATURES = 16
HIDDEN = 128
ROWS_AT_ONCE = 1000

Array = NDArray[Any]
Integers = NDArray[np.int64]


class NextItemNetwork(nn.Module):
    """Ids of items go from 1 to `items`; 0 is padding; any other number is the unknown item."""

    def __init__(self, items: int) -> None:
        super().__init__()
        self.items = items
        self.embedding = nn.Embedding(items + 2, EMBEDDING)
        nn.init.normal_(self.embedding.weight, std=0.3)
        self.of_gap = nn.Sequential(nn.Linear(1, GAP_FEATURES), nn.Tanh())
        self.of_pair = nn.Sequential(nn.Linear(2 * EMBEDDING + GAP_FEATURES, HIDDEN), nn.GELU())
        self.gru = nn.GRU(HIDDEN, HIDDEN, batch_first=True)
        self.start = nn.Parameter(torch.zeros(HIDDEN))
        self.dropout = nn.Dropout(0.1)
        self.head = nn.Linear(2 * HIDDEN, items)

    def forward(self, items: Tensor, timestamps: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """INT64 [n, length] each -> ids and probabilities [n, TOP], then both again without the items seen."""
        items, timestamps = _compacted(items, timestamps)
        known = (items > 0) & (items <= self.items)
        states = self.states(torch.where(known | (items == 0), items, self.items + 1), timestamps)
        newest = (items != 0).sum(dim=1)[:, None, None].expand(-1, 1, 2 * HIDDEN)
        state = states.gather(1, newest)[:, 0]
        shares = torch.softmax(self.logits(state), dim=1)
        # One column more takes what is no item; below every probability, a seen item cannot come among the best.
        seen = torch.where(known, items - 1, self.items)
        unseen = torch.cat([shares, torch.zeros_like(shares[:, :1])], dim=1).scatter(1, seen, -1.0)[:, : self.items]
        best, new = torch.topk(shares, TOP), torch.topk(unseen, TOP)
        return best.indices + 1, best.values, new.indices + 1, new.values

    def logits(self, states: Tensor) -> Tensor:
        """[..., 2 * HIDDEN] -> [..., items]: what the loss wants."""
        scores: Tensor = self.head(self.dropout(states))
        return scores

    def states(self, tokens: Tensor, timestamps: Tensor) -> Tensor:
        """[n, 1 + length, 2 * HIDDEN]: what is known before any event, then after each; padding is on the right."""
        gaps = (timestamps[:, 1:] - timestamps[:, :-1]).clamp(0, LONGEST_GAP)
        gaps = torch.cat([torch.zeros_like(timestamps[:, :1]), gaps], dim=1)
        of_gap = self.of_gap(torch.log1p(gaps.float()).unsqueeze(2) / 4 - 1)
        embedded = self.embedding(tokens)
        before = torch.cat([torch.zeros_like(embedded[:, :1]), embedded[:, :-1]], dim=1)
        pairs = self.of_pair(self.dropout(torch.cat([embedded, before, of_gap], dim=2)))
        start = self.start.expand(1, tokens.shape[0], HIDDEN).contiguous()
        first = torch.cat([start, torch.zeros_like(start)], dim=2).transpose(0, 1)
        return torch.cat([first, torch.cat([self._gru(pairs, start), pairs], dim=2)], dim=1)

    def _gru(self, events: Tensor, first: Tensor) -> Tensor:
        """[n, length, HIDDEN]. torch 2.13 cannot export its own GRU with a free length: there it becomes ONNX's."""
        if not torch.compiler.is_exporting():
            states: Tensor = self.gru(events, first)[0]
            return states
        return _onnx_gru(self.gru, events, first)


@torch.no_grad()
def answers(model: NextItemNetwork, items: Integers, timestamps: Integers) -> tuple[Array, ...]:
    """What forward gives for rows [n, length], a thousand at a time."""
    starts = range(0, len(items), ROWS_AT_ONCE)
    parts = [
        model(
            torch.from_numpy(items[start : start + ROWS_AT_ONCE]),
            torch.from_numpy(timestamps[start : start + ROWS_AT_ONCE]),
        )
        for start in starts
    ]
    return tuple(torch.cat(tensors).numpy() for tensors in zip(*parts, strict=True))


def _compacted(items: Tensor, timestamps: Tensor) -> tuple[Tensor, Tensor]:
    """The newest LONGEST events of each row, on the left, in their order; 0 where there is none."""
    # A column of padding more: no dimension is empty then, whatever a client sends.
    items = torch.cat([items, torch.zeros_like(items[:, :0].sum(dim=1, keepdim=True))], dim=1)
    timestamps = torch.cat([timestamps, torch.zeros_like(timestamps[:, :0].sum(dim=1, keepdim=True))], dim=1)
    number = (items != 0).cumsum(dim=1)
    counts = (items != 0) & (number > number.amax(dim=1, keepdim=True) - LONGEST)
    places = torch.arange(items.shape[1], device=items.device)
    order = torch.sort(torch.where(counts, places, places + items.shape[1]), dim=1).indices[:, :LONGEST]
    items, counts = items.gather(1, order), counts.gather(1, order)
    return torch.where(counts, items, 0), torch.where(counts, timestamps.gather(1, order), 0)


def _onnx_gru(gru: nn.GRU, events: Tensor, first: Tensor) -> Tensor:
    """The same as ONNX's operator: length before rows, gates in the order z, r, h instead of r, z, n."""

    weights = dict(gru.named_parameters())

    def gates(name: str) -> Tensor:
        reset, update, new = weights[name].chunk(3)
        return torch.cat([update, reset, new]).unsqueeze(0)

    biases = torch.cat([gates("bias_ih_l0"), gates("bias_hh_l0")], dim=1)
    # One row more, thrown away again: ONNX Runtime ends the process when a GRU gets no row.
    events = torch.cat([events, torch.zeros_like(events[:1, :, :]).sum(dim=0, keepdim=True)])
    first = torch.cat([first, torch.zeros_like(first[:, :1]).sum(dim=1, keepdim=True)], dim=1)
    states = torch.onnx.ops.symbolic(
        "GRU",
        (events.transpose(0, 1), gates("weight_ih_l0"), gates("weight_hh_l0"), biases, None, first),
        attrs={"hidden_size": HIDDEN, "linear_before_reset": 1},
        dtype=events.dtype,
        shape=(events.shape[1], 1, events.shape[0], HIDDEN),
        version=18,
    )
    return states[:, 0, :-1].transpose(0, 1)
