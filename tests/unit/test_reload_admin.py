"""Load, unload and what is promoted at the same time: one after the other, and nothing is left behind."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, cast

import pytest

from modelyard import reload
from modelyard.errors import ModelNotReady, ModelyardError
from tests.unit.model_folder import Folder, Target, followed, until

_numbers = count()


@pytest.fixture(name="folder")
async def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Folder]:
    async with followed(tmp_path / f"administered{next(_numbers)}", monkeypatch) as folder:
        yield folder


async def test_load_takes_what_is_new_and_tries_again_what_was_refused(folder: Folder) -> None:
    folder.add("3", says="broken")
    await folder.loader.load(folder.served)
    await folder.loader.load(folder.served)
    assert (folder.served.default, folder.loads) == ("2", ["3", "3"])
    folder.add("3", "4", "5")
    await folder.loader.load(folder.served)
    assert (folder.served.default, folder.loaded) == ("5", ["2", "3", "4", "5"]), "no more than the bound"


async def test_load_follows_the_aliases(folder: Folder) -> None:
    folder.add("3", "4")
    folder.promote("3")
    await folder.loader.load(folder.served)
    assert (folder.served.default, folder.loaded) == ("3", ["1", "2", "3", "4"])


async def test_an_unloaded_model_stays_so_whatever_is_promoted(folder: Folder) -> None:
    folder.add("3")
    await folder.loader.unload(folder.served)
    assert all(target.closed for target in folder.made)
    folder.promote("3")
    assert await folder.look() == ""
    with pytest.raises(ModelNotReady, match="not loaded"):
        folder.find("stable")
    assert {entry.state for entry in folder.served.index(ready_only=False)} == {"UNAVAILABLE"}
    await folder.loader.load(folder.served)
    assert folder.served.default == "3"


async def test_unload_returns_when_all_are_answered_and_load_need_not_wait_for_others(folder: Folder) -> None:
    slow = folder.of("1")
    slow.drained.clear()
    unloading = asyncio.create_task(folder.loader.unload(folder.served))
    await asyncio.sleep(0.01)
    assert not unloading.done()
    folder.promote("2")
    loading = asyncio.create_task(folder.loader.load(folder.served))
    await until(lambda: folder.served.default == "2")
    assert not loading.done(), "version 1 comes back when it is drained"
    slow.drained.set()
    await asyncio.gather(loading, unloading)
    assert folder.loaded == ["1", "2"]


async def test_a_model_without_a_good_version_is_not_loaded(folder: Folder) -> None:
    await folder.loader.unload(folder.served)
    folder.add("1", "2", says="broken")
    with pytest.raises(ModelNotReady, match="no version that can be served"):
        await folder.loader.load(folder.served)
    assert folder.served.unloaded


async def test_who_asked_for_a_load_may_leave(folder: Folder) -> None:
    folder.add("3")
    folder.go_on.clear()
    loading = asyncio.create_task(folder.loader.load(folder.served))
    await until(lambda: folder.loads)
    loading.cancel()
    with suppress(asyncio.CancelledError):
        await loading
    folder.go_on.set()
    await until(lambda: folder.served.default == "3")


async def test_a_fault_of_our_own_refuses_the_version(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    def build(*_: object) -> Target:
        raise ZeroDivisionError

    monkeypatch.setattr(reload, "build", build)
    folder.add("3")
    folder.promote("3")
    assert await folder.look() == "2"
    assert "ZeroDivisionError" in folder.served.loaded.refused["3"]


async def test_the_folder_is_looked_at_now_and_then(folder: Folder) -> None:
    await folder.loader.close(30.0)
    folder.start(seconds=0.002)
    folder.loader.start()
    folder.promote("1")
    await until(lambda: folder.served.default == "1")
    (folder.path / "model.yaml").unlink()
    (folder.path / "aliases.json").unlink()
    (folder.path / "versions").rename(folder.path / "elsewhere")
    await asyncio.sleep(0.02)
    assert folder.served.default == "1", "a folder that is gone takes nothing away"
    (folder.path / "elsewhere").rename(folder.path / "versions")
    folder.promote("2")
    await until(lambda: folder.served.default == "2")


@pytest.mark.parametrize("seed", range(20))
async def test_whatever_comes_together_ends_well(folder: Folder, seed: int) -> None:
    """Promotes, rollbacks, exports, loads, unloads and looks in any order, also while another is under way."""
    dice = random.Random(seed)
    under_way: list[asyncio.Task[Any]] = []
    for number in range(3, 30):
        step = dice.choice(["export", "broken", "promote", "promote", "back", "candidate", "load", "unload", "look"])
        on_disk = sorted(path.name for path in (folder.path / "versions").iterdir())
        with suppress(ModelyardError):
            if step in ("export", "broken"):
                folder.add(str(number), says="good" if step == "export" else "broken")
            elif step == "promote":
                folder.promote(dice.choice(on_disk))
            elif step == "back":
                folder.roll_back()
            elif step == "candidate":
                folder.set_candidate(dice.choice(on_disk))
            elif step == "look":
                under_way.append(asyncio.create_task(folder.look()))
            else:
                change = folder.loader.load if step == "load" else folder.loader.unload
                under_way.append(asyncio.create_task(change(folder.served)))
        await asyncio.sleep(dice.choice([0, 0, 0.002]))
        check(folder)
    await asyncio.gather(*under_way, return_exceptions=True)
    await folder.loader.load(folder.served)
    check(folder)
    stable = folder.served.loaded.aliases.stable
    if stable not in folder.served.loaded.refused and stable is not None:
        assert folder.served.default == stable
    await asyncio.sleep(0.01)
    here = {id(target) for target in folder.served.pipelines.values()}
    assert {id(target) for target in folder.made if not target.closed} == here


def check(folder: Folder) -> None:
    """At any moment: who asks is answered by a version that is open, or the model is unloaded."""
    served = folder.served
    assert served.default in served.pipelines or (served.default == "" and not served.pipelines)
    assert served.candidate in served.pipelines or served.candidate == ""
    assert not any(cast(Target, target).closed for target in served.pipelines.values())
    assert set(served.pipelines) <= set(served.loaded.versions) | {""}
