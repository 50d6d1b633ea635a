"""The running server follows its folder."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path
from typing import cast

import pytest

from modelyard import reload
from modelyard.aliases import ALIASES_FILE
from modelyard.errors import ConfigurationError, ModelNotReady, NotFound
from tests.unit.model_folder import Folder, Target, followed, until
from tests.unit.strategies import metric

_numbers = count()


@pytest.fixture(name="folder")
async def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Folder]:
    async with followed(tmp_path / f"followed{next(_numbers)}", monkeypatch) as folder:
        yield folder


async def test_a_promote_is_followed_and_the_one_before_stays(folder: Folder) -> None:
    assert await folder.look() == "2", "the newest, before anything is promoted"
    swaps = folder.count("model_swaps_total")
    folder.add("3")
    assert await folder.look() == "2", "what is only exported is not served"
    folder.promote("3")
    assert await folder.look() == "3"
    assert (folder.loaded, folder.loads) == (["1", "2", "3"], ["3"])
    assert [metric("model_default", model=folder.path.name, version=v) for v in "123"] == [0, 0, 1]
    folder.roll_back()
    assert await folder.look() == "2"
    assert folder.loads == ["3"], "it was there at once"
    assert [metric("model_default", model=folder.path.name, version=v) for v in "123"] == [0, 1, 0]
    assert folder.count("model_swaps_total") == swaps + 2
    assert not any(target.closed for target in folder.made)


async def test_nothing_is_read_while_nothing_changes(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reload, "read_state", None)
    assert await folder.look() == "2"
    assert await folder.look() == "2"


async def test_those_who_ask_find_the_old_one_until_the_new_one_is_loaded(folder: Folder) -> None:
    folder.go_on.clear()
    folder.add("3")
    folder.promote("3")
    folder.set_candidate("1")
    looking = asyncio.create_task(folder.look())
    await until(lambda: folder.loads)
    assert folder.served.default == "2"
    assert folder.find("stable") is folder.of("2")
    with pytest.raises(ModelNotReady, match="being loaded"):
        folder.find("3")
    folder.go_on.set()
    assert await looking == "3"
    assert folder.find("stable") is folder.of("3")
    assert folder.find("candidate") is folder.of("1")


async def test_a_broken_promote_changes_nothing_but_log_metric_and_index(
    folder: Folder, caplog: pytest.LogCaptureFixture
) -> None:
    folder.add("3", says="broken")
    folder.promote("3")
    failures = folder.count("model_load_failures_total")
    for _ in range(3):
        assert await folder.look() == "2"
    assert folder.loads == ["3"], "once is enough while nothing changes"
    assert folder.count("model_load_failures_total") == failures + 1
    assert "version 3 is refused" in caplog.text
    entries = {entry.version: entry for entry in folder.served.index(ready_only=False)}
    assert (entries["3"].state, entries["3"].reason) == ("UNAVAILABLE", "3 is broken")
    assert folder.find("stable") is folder.of("2")
    with pytest.raises(ModelNotReady, match=r"version 3 of model .* refused"):
        folder.find("3")
    folder.set_candidate("1")
    assert await folder.look() == "2"
    assert folder.loads == ["3", "3"], "the aliases have changed: once more"
    folder.add("3")
    assert await folder.look() == "3", "its folder has changed"
    assert "3" not in folder.served.loaded.refused


async def test_a_promoted_version_that_is_not_there_yet(folder: Folder) -> None:
    folder.promote("3")
    assert await folder.look() == "2"
    folder.add("3")
    assert await folder.look() == "3"


async def test_a_broken_aliases_file_is_said_once(folder: Folder, caplog: pytest.LogCaptureFixture) -> None:
    folder.promote("1")
    assert await folder.look() == "1"
    (folder.path / ALIASES_FILE).write_text("{")
    for _ in range(3):
        assert await folder.look() == "1"
    errors = [record.message for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 1
    assert ALIASES_FILE in errors[0]
    with pytest.raises(ConfigurationError, match=ALIASES_FILE):
        await folder.loader.load(folder.served)
    (folder.path / ALIASES_FILE).unlink()
    assert await folder.look() == "1", "what serves stays"


async def test_a_broken_model_yaml_does_not_stop_a_rollback(folder: Folder) -> None:
    folder.promote("1")
    assert await folder.look() == "1"
    folder.add("3")
    (folder.path / "model.yaml").write_text("[")
    folder.promote("3")
    assert await folder.look() == "1"
    assert "model.yaml" in folder.served.loaded.refused["3"]
    folder.roll_back()
    folder.roll_back()
    assert await folder.look() == "2"


async def test_only_so_many_versions_are_loaded_and_who_goes_is_drained(folder: Folder) -> None:
    for number in range(3, 9):
        folder.add(str(number))
        folder.promote(str(number))
        first = folder.served.pipelines.get("1")
        if first is not None:
            cast(Target, first).drained.clear()
        assert await folder.look() == str(number)
        assert folder.loaded == [str(n) for n in range(max(1, number - 3), number + 1)]
    leaving = next(cast(Target, target) for target in folder.loader.leaving if target.version == "1")
    assert [target.closed for target in folder.made if target is leaving] == [False], "it has somebody to answer"
    with pytest.raises(NotFound, match=r"version 1 of model .* on disk, but not loaded"):
        folder.find("1")
    folder.promote("1")
    looking = asyncio.create_task(folder.look())
    await asyncio.sleep(0.05)
    assert "1" not in folder.loads, "not while the one before is being drained"
    leaving.drained.set()
    assert await looking == "1"
    assert leaving.closed
    assert folder.loaded == ["1", "6", "7", "8"]


async def test_a_version_that_an_alias_names_is_never_let_go(folder: Folder) -> None:
    await folder.loader.close(30.0)
    folder.made.clear()
    folder.promote("1")
    folder.set_candidate("2")
    folder.start(most=1)
    assert folder.loaded == ["1", "2"]
    folder.add("3")
    folder.promote("3")
    assert await folder.look() == "3"
    assert folder.loaded == ["1", "2", "3"]
    folder.set_candidate(None)
    assert await folder.look() == "3"
    assert folder.loaded == ["1", "3"]


async def test_the_candidate(folder: Folder) -> None:
    with pytest.raises(NotFound, match="no candidate"):
        folder.find("candidate")
    folder.add("3")
    folder.set_candidate("3")
    assert await folder.look() == "2", "who asks for no version gets what he got"
    assert folder.find("candidate") is folder.of("3")
    folder.add("4", says="broken")
    folder.set_candidate("4")
    await folder.look()
    with pytest.raises(ModelNotReady, match=r"version 4 of model .* refused"):
        folder.find("candidate")
    folder.set_candidate("3")
    await folder.look()
    folder.promote("3")
    assert await folder.look() == "3"
    with pytest.raises(NotFound, match="no candidate"):
        folder.find("candidate")


async def test_a_version_that_is_not_ready_waits(folder: Folder) -> None:
    folder.add("3", says="slow")
    folder.promote("3")
    assert await folder.look() == "2"
    assert folder.loaded == ["1", "2", "3"]
    folder.of("3").ready = True
    assert await folder.look() == "3"
