"""A model's folder whose versions are a file with a word, and the loader that follows it.

    <version>/says    good; slow: it is loaded, but not ready; anything else: it is refused

The pipelines only say whether they are closed.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from modelyard import reload, repository
from modelyard.aliases import promoted, rolled_back, update, with_candidate
from modelyard.errors import ConfigurationError
from modelyard.pipeline import Shared
from modelyard.reload import Loader
from modelyard.repository import load_model
from modelyard.served import ServedModel
from modelyard.settings import Settings
from tests.unit.strategies import metric

YAML = """\
name: {name}
inputs: [{{name: x, datatype: FP32, shape: [-1, 2]}}]
outputs: [{{name: y, datatype: FP32, shape: [-1, 2]}}]
backends: [{{name: onnxruntime-cpu}}]
"""


class Target:
    """To the loader a pipeline. It is drained when the test says so."""

    upgrade = None

    def __init__(self, loaded: Any) -> None:
        self.version = loaded.version
        self.ready = loaded.ready
        self.closed = False
        self.drained = asyncio.Event()
        self.drained.set()

    async def close(self) -> None:
        await self.drained.wait()
        assert not self.closed
        self.closed = True


class Folder:
    """The folder, what became of its versions, and the loader."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.path.mkdir(parents=True)
        (self.path / "model.yaml").write_text(YAML.format(name=path.name))
        self.made: list[Target] = []
        self.loads: list[str] = []
        self.go_on = threading.Event()
        self.go_on.set()

    def load_version(self, folder: Path, spec: Any) -> Any:
        self.loads.append(folder.name)
        assert self.go_on.wait(10)
        text = (folder / "says").read_text() if folder.is_dir() else "absent"
        if text not in ("good", "slow"):
            raise ConfigurationError(f"{folder} is {text}")
        chain = SimpleNamespace(close=lambda: None)
        return SimpleNamespace(version=folder.name, spec=spec, public=spec, chain=chain, ready=text == "good")

    def build(self, loaded: Any, *_: object) -> Target:
        self.made.append(Target(loaded))
        return self.made[-1]

    def add(self, *versions: str, says: str = "good") -> None:
        for version in versions:
            (self.path / "versions" / version).mkdir(parents=True, exist_ok=True)
            (self.path / "versions" / version / "says").write_text(says)

    def promote(self, version: str) -> None:
        update(self.path, lambda state: promoted(state, version, instead_of=self.served.default or None))

    def roll_back(self) -> None:
        update(self.path, rolled_back)

    def set_candidate(self, version: str | None) -> None:
        update(self.path, lambda state: with_candidate(state, version))

    def start(self, most: int = 4, seconds: float = 0.0) -> None:
        settings = Settings(repository=self.path.parent, loaded_versions=most, reload_seconds=seconds, admin=True)
        pool = ThreadPoolExecutor(1)
        self.served = ServedModel(load_model(self.path.parent, self.path.name, most))
        self.loader = Loader([self.served], Shared(settings, 1, pool, None, None), cast(Any, None))
        self.loads.clear()

    async def look(self) -> str:
        """Let the server look at the folder: the version that is served then."""
        await self.loader.look(self.served)
        return self.served.default

    @property
    def loaded(self) -> list[str]:
        return sorted(self.served.pipelines, key=int)

    def of(self, version: str) -> Target:
        return cast(Target, self.served.pipelines[version])

    def find(self, word: str) -> Target:
        return cast(Target, self.served.find(word))

    def count(self, name: str) -> float:
        return metric(name, model=self.path.name)


@asynccontextmanager
async def followed(path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Folder]:
    """The folder `path` with versions 1 and 2, and a loader that has them. What it made must be closed at the end."""
    folder = Folder(path)
    monkeypatch.setattr(repository, "load_version", folder.load_version)
    monkeypatch.setattr(reload, "load_version", folder.load_version)
    monkeypatch.setattr(reload, "build", folder.build)
    folder.add("1", "2")
    folder.start()
    yield folder
    folder.go_on.set()
    for target in folder.made:
        target.drained.set()
    await folder.loader.close(30.0)
    assert all(target.closed for target in folder.made), "nothing that was made is left behind"


async def until(condition: Callable[[], object]) -> None:
    """Wait for what other tasks and threads do."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110  (a thread sets no asyncio.Event)
            await asyncio.sleep(0.001)
