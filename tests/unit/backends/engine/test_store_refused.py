"""Nothing is given out that the store did not write itself, and nothing that others could have changed."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from modelyard.backends.engine.store import EngineStore
from tests.unit.backends.engine.plans import KEY, PLAN, files, other, publish, store_in

ROOT = os.geteuid() == 0


@pytest.fixture(name="store")
def _store(tmp_path: Path) -> EngineStore:
    return store_in(tmp_path)


def test_a_corrupted_plan_is_deleted_and_can_be_built_anew(
    store: EngineStore, caplog: pytest.LogCaptureFixture
) -> None:
    publish(store)
    (plan,) = files(store, ".plan")
    plan.write_bytes(PLAN[:-1] + b"!")
    assert store.find(KEY) is None
    assert not plan.exists()
    assert "corrupted" in caplog.text
    publish(store)
    assert store.find(KEY) == PLAN


def test_a_shortened_plan_is_corrupted_too(store: EngineStore) -> None:
    publish(store)
    os.truncate(files(store, ".plan")[0], 100)
    assert store.find(KEY) is None
    assert not files(store, ".plan")


def drop_manifest(store: EngineStore) -> None:
    files(store, ".json")[0].unlink()


def break_manifest(store: EngineStore) -> None:
    files(store, ".json")[0].write_text("{")


def exchange_manifest(store: EngineStore) -> None:
    """As somebody would who has two of our engines and wants one to pass for the other."""
    publish(store, other("harmless"), b"harmless")
    harmless = store.folder / f"{other('harmless').digest}.json"
    (store.folder / f"{KEY.digest}.json").write_bytes(harmless.read_bytes())


def change_key(store: EngineStore) -> None:
    (manifest,) = files(store, ".json")
    manifest.write_text(manifest.read_text().replace("NVIDIA Fake 10", "NVIDIA Fake 11"))


def leave_the_folder(store: EngineStore) -> None:
    (manifest,) = files(store, ".json")
    (plan,) = files(store, ".plan")
    plan.rename(store.folder.parent / plan.name)
    manifest.write_text(manifest.read_text().replace(plan.name, f"../{plan.name}"))


def link_plan(store: EngineStore) -> None:
    (plan,) = files(store, ".plan")
    plan.rename(store.folder.parent / "elsewhere")
    plan.symlink_to(store.folder.parent / "elsewhere")


def link_manifest(store: EngineStore) -> None:
    (manifest,) = files(store, ".json")
    manifest.rename(store.folder.parent / "elsewhere")
    manifest.symlink_to(store.folder.parent / "elsewhere")


def fifo_for_plan(store: EngineStore) -> None:
    (plan,) = files(store, ".plan")
    plan.unlink()
    os.mkfifo(plan, 0o600)


def group_writable_plan(store: EngineStore) -> None:
    files(store, ".plan")[0].chmod(0o660)


def world_writable_plan(store: EngineStore) -> None:
    files(store, ".plan")[0].chmod(0o602)


def group_writable_manifest(store: EngineStore) -> None:
    files(store, ".json")[0].chmod(0o620)


def world_writable_manifest(store: EngineStore) -> None:
    files(store, ".json")[0].chmod(0o602)


Spoil = Callable[[EngineStore], None]


@pytest.mark.parametrize(
    "spoil",
    [
        drop_manifest,
        break_manifest,
        exchange_manifest,
        change_key,
        leave_the_folder,
        link_plan,
        link_manifest,
        fifo_for_plan,
        group_writable_plan,
        world_writable_plan,
        group_writable_manifest,
        world_writable_manifest,
    ],
)
def test_what_the_store_did_not_write_is_refused_and_built_anew(
    store: EngineStore, caplog: pytest.LogCaptureFixture, spoil: Spoil
) -> None:
    publish(store)
    spoil(store)
    assert store.find(KEY) is None
    assert "refused" in caplog.text
    publish(store)
    assert store.find(KEY) == PLAN
    assert len(list(store.folder.glob(f"{KEY.digest}*"))) == 2, "what was refused is gone"


@pytest.mark.skipif(not ROOT, reason="only root can give files away")
@pytest.mark.parametrize("ending", [".plan", ".json"])
def test_a_file_of_another_owner_is_refused(store: EngineStore, caplog: pytest.LogCaptureFixture, ending: str) -> None:
    publish(store)
    os.chown(files(store, ending)[0], 65534, -1)
    assert store.find(KEY) is None
    assert "belongs to user 65534" in caplog.text
    publish(store)
    assert store.find(KEY) == PLAN
    assert {path.stat().st_uid for path in files(store)} == {0}


@pytest.mark.skipif(not ROOT, reason="only root can give files away")
def test_a_folder_of_another_owner_is_refused(store: EngineStore) -> None:
    publish(store)
    os.chown(store.folder, 65534, -1)
    assert store.find(KEY) is None
    with pytest.raises(OSError, match="belongs to user 65534"):
        publish(store)


def test_whose_files_they_are_is_asked_of_the_process_not_of_the_shell(
    store: EngineStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    publish(store)
    mine = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
    assert store.find(KEY) is None
    assert f"belongs to user {mine}" in caplog.text
    with pytest.raises(OSError, match="belongs to user"):
        publish(store)


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o1777])
def test_a_folder_that_others_can_write_is_refused_and_left_as_it_is(store: EngineStore, mode: int) -> None:
    publish(store)
    store.remember_refusal(KEY, "x")
    store.keep_timing_cache("10", "gpu", None, b"t")
    store.folder.chmod(mode)
    assert store.find(KEY) is None
    assert store.refusal(KEY) is None
    assert store.timing_cache("10", "gpu") is None
    for use in (lambda: publish(store), store.entries, store.prune, store.clear_records):
        with pytest.raises(OSError, match="can be written by others"):
            use()
    assert stat.S_IMODE(store.folder.stat().st_mode) == mode


def lend_lock(store: EngineStore) -> None:
    lock = store.folder / f"{other('old').digest}.lock"
    lock.touch()
    lock.chmod(0o660)


def directory_for_lock(store: EngineStore) -> None:
    (store.folder / f"{other('old').digest}.lock").mkdir()


def directory_for_manifest(store: EngineStore) -> None:
    (store.folder / f"{other('old').digest}.json").unlink()
    (store.folder / f"{other('old').digest}.json").mkdir()


def directory_for_plan(store: EngineStore) -> None:
    (plan,) = store.folder.glob(f"{other('old').digest}.*.plan")
    plan.unlink()
    plan.mkdir()


def directory_beside(store: EngineStore) -> None:
    (store.folder / f"{other('old').digest}.00.plan").mkdir()


@pytest.mark.parametrize(
    "spoil", [lend_lock, directory_for_lock, directory_for_manifest, directory_for_plan, directory_beside]
)
def test_a_stray_name_of_another_engine_fails_no_build(
    store: EngineStore, caplog: pytest.LogCaptureFixture, spoil: Spoil
) -> None:
    publish(store, other("old"))
    spoil(store)
    publish(store)
    store.prune(0)
    publish(store)
    assert store.find(KEY) == PLAN
    assert "is passed over" in caplog.text


def test_a_directory_in_place_of_the_manifest_is_found_before_the_build(store: EngineStore) -> None:
    publish(store)
    (manifest,) = files(store, ".json")
    manifest.unlink()
    manifest.mkdir()
    with pytest.raises(IsADirectoryError), store.lock(KEY):
        pytest.fail("nothing is to be built")


def test_a_directory_in_place_of_a_plan_is_in_nobodys_way(store: EngineStore) -> None:
    publish(store)
    (plan,) = files(store, ".plan")
    plan.unlink()
    plan.mkdir()
    publish(store)
    assert store.find(KEY) == PLAN


@pytest.mark.parametrize("spoil", [directory_for_plan, world_writable_plan, link_plan])
def test_an_entry_says_that_its_plan_is_refused(store: EngineStore, spoil: Spoil) -> None:
    publish(store, other("old"))
    assert [entry.refused for entry in store.entries()] == [""]
    spoil(store)
    (entry,) = store.entries()
    assert entry.refused


def test_an_entry_says_that_its_plan_is_shortened(store: EngineStore) -> None:
    publish(store)
    os.truncate(files(store, ".plan")[0], 100)
    assert store.entries()[0].refused == f"it has 100 bytes, its manifest says {len(PLAN)}"


def test_only_a_link_is_called_one(store: EngineStore, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(store)
    opened = os.open

    def open_(path: str | Path, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if flags & os.O_CREAT:
            raise OSError(errno.EROFS, "Read-only file system", str(path))
        return opened(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", open_)
    with pytest.raises(OSError, match=rf"Read-only file system: '{store.folder}/.*\.lock'$") as caught, store.lock(KEY):
        pytest.fail("it cannot be locked")
    assert "a link" not in str(caught.value)


def test_a_folder_behind_a_link_is_refused(store: EngineStore, tmp_path: Path) -> None:
    publish(store)
    link = EngineStore(tmp_path / "link", 10**6)
    link.folder.symlink_to(store.folder)
    assert link.find(KEY) is None
    with pytest.raises(OSError, match="link"):
        publish(link)
