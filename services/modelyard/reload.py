"""A running server follows its repository: versions come in, the default moves, versions are let go; nobody is lost.

    aliases.json has changed -> what it names is loaded -> the default moves   -> what may go is drained
                                in a thread that gives     in one step of the     and closed
                                way to those that serve    event loop

What is in flight ends on the version that it began on. A version that cannot be loaded changes nothing but the log, the
metrics and the index; it is tried again when aliases.json or its folder changes. One lock: a promote that is noticed,
`load` and `unload` come one after the other. Every worker follows by itself.
"""

import asyncio
import logging
import os
import sys
import threading
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from modelyard import choice, metrics
from modelyard.aside import aside
from modelyard.ensemble import Find, Target, build
from modelyard.errors import ConfigurationError, ModelNotReady
from modelyard.folders import Stamp, read_state, state_stamp, version_folder, version_stamp
from modelyard.pipeline import Shared
from modelyard.repository import LoadedVersion, load_version
from modelyard.served import ServedModel
from modelyard.spec import read_spec

log = logging.getLogger("modelyard.reload")

T = TypeVar("T")

CLOSE_SECONDS = 10.0
"""For what is let go, once all of its requests must have had their answers: a run may still be going on."""
NICENESS = 10
"""Of the thread that loads: the runs for those who wait come first."""


class Loader:
    """Brings versions into the served models, and takes them out again."""

    def __init__(self, models: Sequence[ServedModel], shared: Shared, find: Find) -> None:
        """Takes in what the models have loaded already. `find`: the way to other models, for ensembles."""
        self._models, self._shared, self._find = models, shared, find
        self._repository = shared.settings.repository
        self._most = shared.settings.loaded_versions
        self._thread = ThreadPoolExecutor(1, "loader", _give_way)
        self._changing = asyncio.Lock()
        self._leaving: dict[tuple[str, str], tuple[Target, asyncio.Task[None]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopped = threading.Event()
        for served in models:
            for loaded in served.loaded.versions.values():
                served.pipelines[loaded.version] = build(loaded, shared, find)
            self._follow(served)

    @property
    def leaving(self) -> list[Target]:
        """What is drained: nobody new finds it."""
        return [target for target, _ in self._leaving.values()]

    def start(self) -> None:
        """Have the engines prepared that versions ask for; follow what is promoted from now on."""
        for served in self._models:
            for target in served.pipelines.values():
                _upgrade(target)
        if self._shared.settings.reload_seconds:
            self._spawn(self._watch(self._shared.settings.reload_seconds))

    async def load(self, served: ServedModel) -> None:
        """An operator's wish: what is new on disk too, and once more what was refused.

        Raises ConfigurationError for a broken aliases.json, ModelNotReady when no version is good.
        """
        await asyncio.shield(self._spawn(self._load(served)))  # whoever asked may leave: the change is made whole

    async def unload(self, served: ServedModel) -> None:
        """Serve none of it until it is loaded again; returns when what was in flight is answered."""
        await asyncio.shield(self._spawn(self._unload(served)))

    async def look(self, served: ServedModel) -> None:
        """Follow the aliases, if they have changed since the last time."""
        async with self._changing:
            if served.unloaded:
                return
            model = served.loaded
            tried = {name: stamp for name, stamp in model.tried.items() if name in choice.named(model.aliases)}
            stamp, news = await self._in_thread(_news, self._folder(served), model.seen, tried)
            if news:
                model.seen = stamp
                try:
                    await self._bring(served, asked=False)
                except ConfigurationError as error:
                    log.error("%s: version %s serves on: %s", served.name, served.default, error)
            self._settle(served)

    async def close(self, seconds: float) -> None:
        """Answer what is in flight and let go of everything; what is not done in these seconds is left to itself."""
        self._stopped.set()
        for task in self._tasks:
            task.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)
        for served in self._models:
            for target in served.pipelines.values():
                self._let_go(served, target)
        await self._gone([task for _, task in self._leaving.values()], seconds)

    async def _watch(self, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            for served in self._models:
                try:
                    await self.look(served)
                except Exception:
                    log.exception("%s: its folder could not be followed", served.name)

    async def _load(self, served: ServedModel) -> None:
        async with self._changing:
            served.loaded.seen = await self._in_thread(state_stamp, self._folder(served))
            await self._bring(served, asked=True)
            self._settle(served, newest=True)
            served.unloaded = not served.pipelines
            if served.unloaded:
                raise ModelNotReady(f"model '{served.name}' has no version that can be served")

    async def _unload(self, served: ServedModel) -> None:
        async with self._changing:
            served.unloaded = True
            targets = list(served.pipelines.values())
            if served.default:
                metrics.model_default.labels(served.name, served.default).set(0)
            served.clear()
            leaving = [self._let_go(served, target) for target in targets]
        await self._gone(leaving, _patience(served))

    async def _bring(self, served: ServedModel, *, asked: bool) -> None:
        """Load what the aliases name and, where an operator asks, the newest. The default moves as soon as it can."""
        model = served.loaded
        before = model.aliases
        model.take(await self._in_thread(read_state, self._folder(served)))
        named, good = choice.named(model.aliases), 0
        for version in choice.in_order(model.on_disk, model.aliases, served.default):
            if version not in (*named, served.default) and (not asked or good >= self._most):
                break
            if version not in served.pipelines:
                await self._try(served, version, again=asked or model.aliases != before)
                self._follow(served)
            good += version in served.pipelines

    async def _try(self, served: ServedModel, version: str, *, again: bool) -> None:
        """Load a version, or say why not. Not `again` what was refused, unless its folder has changed."""
        model, folder = served.loaded, self._folder(served)
        stamp = await self._in_thread(version_stamp, folder, version)
        if not again and version in model.refused and model.tried[version] == stamp:
            return
        before = self._leaving.get((served.name, version))
        if before is not None and not await self._gone([before[1]], _patience(served)):
            model.refuse(version, "a run of it from before it was let go has not ended", stamp)
            return
        try:
            loaded = await self._in_thread(self._open, folder, version)
            served.pipelines[version] = target = build(loaded, self._shared, self._find)
        except ConfigurationError as error:
            model.refuse(version, str(error), stamp)
        except Exception as error:
            log.exception("%s version %s could not be loaded", served.name, version)
            model.refuse(version, f"{type(error).__name__} while it was loaded; the log says more", stamp)
        else:
            model.accept(loaded)
            _upgrade(target)

    def _open(self, folder: Path, version: str) -> LoadedVersion:
        """In the thread. Raises ConfigurationError."""
        loaded = load_version(version_folder(folder, version), read_spec(folder))
        if self._stopped.is_set():
            loaded.chain.close()
            raise ConfigurationError("the server has stopped")
        metrics.of_model(loaded.spec.name, version)  # a hundred series: made here, they keep nobody waiting
        return loaded

    def _settle(self, served: ServedModel, *, newest: bool = False) -> None:
        """The default is what it should be, and no more is loaded than may be."""
        self._follow(served, newest=newest)
        keep = choice.kept(served.pipelines, served.loaded.aliases, served.default, self._most)
        for version in [version for version in served.pipelines if version not in keep]:
            log.info("%s version %s is let go: no alias names it, and %d are loaded", served.name, version, len(keep))
            served.loaded.versions.pop(version, None)
            self._let_go(served, served.pipelines.pop(version))

    def _follow(self, served: ServedModel, *, newest: bool = False) -> None:
        """Move the default, if it is to be another one, in one step: whoever comes finds the one or the other."""
        before = served.default
        served.follow(newest=newest)
        after = served.default
        if after == before:
            return
        metrics.model_default.labels(served.name, after).set(1)
        if before:
            metrics.model_default.labels(served.name, before).set(0)
            metrics.model_swaps.labels(served.name).inc()
            log.info("%s: version %s serves from now on, before it was %s", served.name, after, before)

    def _let_go(self, served: ServedModel, target: Target) -> asyncio.Task[None]:
        """Drain what nobody new can find any more, and close it."""
        key = served.name, target.version
        task = asyncio.get_running_loop().create_task(self._drain(key, target))
        self._leaving[key] = target, task
        return task

    async def _gone(self, leaving: Sequence[asyncio.Task[None]], seconds: float) -> bool:
        """Wait until these are closed. False: a run hangs in one; it stays under watch, which may end the process."""
        pending = (await asyncio.wait(leaving, timeout=seconds))[1] if leaving else set()
        for (name, version), (_, task) in self._leaving.items():
            if task in pending:
                log.error("%s version %s is not closed after %.1f s: a run of it has not ended", name, version, seconds)
        return not pending

    async def _drain(self, key: tuple[str, str], target: Target) -> None:
        try:
            if target.upgrade is not None:
                await aside(target.upgrade.stop)  # it waits for a child process to end
            await target.close()
        except Exception:
            log.exception("%s version %s could not be closed", *key)
        finally:
            del self._leaving[key]

    def _folder(self, served: ServedModel) -> Path:
        return self._repository / served.name

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waited has it; if nobody does any more, it is no news

    async def _in_thread(self, call: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call, *arguments)


def _news(folder: Path, seen: Stamp, tried: dict[str, Stamp]) -> tuple[Stamp, bool]:
    """The stamp of a model's folder, and whether that or the one of a refused version is another than before."""
    stamp = state_stamp(folder)
    return stamp, stamp != seen or any(version_stamp(folder, version) != before for version, before in tried.items())


def _patience(served: ServedModel) -> float:
    """Seconds for a version to be let go: no request has a later deadline than the model's."""
    return served.loaded.spec.limits.deadline_seconds + CLOSE_SECONDS


def _upgrade(target: Target) -> None:
    if target.upgrade is not None:
        target.upgrade.start()


def _give_way() -> None:
    """Where threads have priorities of their own, the calling one steps back."""
    if sys.platform == "linux":
        with suppress(OSError):
            os.nice(NICENESS)
