"""Each version of embed is read with its own tokenizer and searched in its own sentences, also while another one comes.

Tiny versions stand for the model: the first counts words, the second letters, and the vector of a text is its number of
tokens in one place, so that an answer that mixed two versions would show.
"""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import pytest
import tokenizers
from onnx import helper
from tokenizers import Regex
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split

from tests.integration.calls import until
from tests.integration.harness import clean_environment, modelyard, serve
from tests.integration.onnx_models import build, value

SOURCE = Path(__file__).resolve().parents[2] / "models" / "embed"
PUBLISH = """
import sys
from pathlib import Path
from modelyard.manifest import publish

folder, version, parts = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
publish(folder, version, parts / "model.onnx", extra_files=[parts / "tokenizer.json", parts / "corpus.npz"])
"""
pytestmark = pytest.mark.timeout(300)  # six processes after one another, each slow to start

TEXT = "ab cd ef"
TOKENS = {"1": 3, "2": 6}
PATTERN = {"1": r"\w+", "2": r"\w"}


def publish(folder: Path, version: str, parts: Path) -> None:
    """A version whose tokenizer cuts by its pattern, and whose one sentence names it."""
    parts.mkdir()
    onnx.save(counting(int(version)), parts / "model.onnx")
    tokenizer = tokenizers.Tokenizer(WordLevel({"[UNK]": 7}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Split(Regex(PATTERN[version]), "removed", invert=True)
    tokenizer.save(str(parts / "tokenizer.json"))
    place = np.eye(384, dtype=np.float32)[[int(version)]]
    sentences = np.array([f"a sentence of version {version}"])
    np.savez(parts / "corpus.npz", sentences=sentences, topics=np.array(["none"]), embeddings=place)
    command = [sys.executable, "-c", PUBLISH, str(folder), version, str(parts)]
    subprocess.run(command, check=True, env=clean_environment())


def counting(place: int) -> onnx.ModelProto:
    """The number of tokens at `place`, and zeros."""
    nodes = [
        helper.make_node("Min", ["input_ids", "attention_mask"], ["known"]),
        helper.make_node("Cast", ["known"], ["floats"], to=1),
        helper.make_node("ReduceSum", ["floats", "axis"], ["sum"], keepdims=1),
        helper.make_node("MatMul", ["sum", "weight"], ["embedding"]),
    ]
    inputs = [value(name, "INT64", (-1, "tokens")) for name in ("input_ids", "attention_mask")]
    constants = {"axis": np.array([1]), "weight": np.eye(384, dtype=np.float32)[[place]]}
    return build(nodes, inputs, [value("embedding", "FP32", (-1, 384))], constants)


def checked(answer: dict[str, Any]) -> str:
    """The version that answered, having seen that all of the answer is of that version."""
    version: str = answer["model_version"]
    assert answer["tokens"] == [TOKENS[version]]
    assert answer["embeddings"][0][int(version)] == TOKENS[version]
    return version


def test_the_tokenizer_and_the_sentences_are_those_of_the_version_that_answers(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "embed"
    folder.mkdir(parents=True)
    (folder / "model.yaml").write_bytes((SOURCE / "model.yaml").read_bytes())
    publish(folder, "1", tmp_path / "first")
    with serve(tmp_path / "models", "embed") as server, httpx.Client(base_url=server.url, timeout=30) as client:

        def embed() -> str:
            return checked(client.post("/embed", json={"texts": [TEXT]}).raise_for_status().json())

        def sentence() -> str:
            (result,) = client.post("/search", json={"query": TEXT, "k": 1}).raise_for_status().json()["results"]
            return json.dumps(result)

        def answers(version: str) -> bool:
            return embed() == version

        assert embed() == "1"
        assert "of version 1" in sentence()
        publish(folder, "2", tmp_path / "second")
        for wanted, command in (("2", ("promote", "embed", "2")), ("1", ("rollback", "embed"))):
            done = modelyard(*command, "--repository", tmp_path / "models")
            assert done.code == 0, done.err
            until(partial(answers, wanted), f"version {wanted} answers", 60)
            assert f"of version {wanted}" in sentence()
