"""The state of a model's aliases: what the changes make of it, the file, hostile files, the lock."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from modelyard import aliases
from modelyard.aliases import (
    ALIASES_FILE,
    DEPTH,
    HISTORY,
    Aliases,
    locked,
    promoted,
    read_aliases,
    rolled_back,
    update,
    with_candidate,
)
from modelyard.errors import ConfigurationError


@pytest.fixture(name="model")
def _model(tmp_path: Path) -> Path:
    folder = tmp_path / "m"
    folder.mkdir()
    return folder


def test_promotes_make_a_stack_and_rollbacks_pop_it() -> None:
    state = promoted(Aliases(), "2", instead_of="1")
    assert (state.stable, state.previous, state.older) == ("2", "1", ())
    state = promoted(promoted(state, "3"), "4")
    assert (state.stable, state.previous, state.older) == ("4", "3", ("1", "2"))
    seen = []
    while state.previous:
        state = rolled_back(state)
        seen.append(state.stable)
    assert seen == ["3", "2", "1"]
    with pytest.raises(ConfigurationError, match="nothing to roll back to"):
        rolled_back(state)


def test_the_first_version_of_all_has_nothing_under_it() -> None:
    for instead_of in (None, "1"):
        state = promoted(Aliases(), "1", instead_of=instead_of)
        assert (state.stable, state.previous) == ("1", None)


def test_promoting_what_is_stable_changes_nothing() -> None:
    state = promoted(Aliases(), "2", instead_of="1")
    assert promoted(state, "2") is state


def test_a_promoted_candidate_is_one_no_more_and_another_stays() -> None:
    state = with_candidate(promoted(Aliases(), "1"), "2")
    assert promoted(state, "3").candidate == "2"
    assert promoted(state, "2").candidate is None
    assert rolled_back(with_candidate(promoted(state, "2"), "1")).candidate is None, "it is stable now"


def test_a_candidate_comes_and_goes() -> None:
    state = with_candidate(Aliases(), "2", reason="try it")
    assert (state.candidate, state.stable) == ("2", None)
    assert with_candidate(state, "2") is state
    gone = with_candidate(state, None)
    assert gone.candidate is None
    assert [(c.action, c.before, c.version, c.reason) for c in gone.history] == [
        ("candidate", None, "2", "try it"),
        ("candidate", "2", None, ""),
    ]


def test_the_history_says_who_came_instead_of_whom() -> None:
    state = promoted(Aliases(), "2", instead_of="1", forced=True, reason="new sensor")
    state = rolled_back(state, reason="it was slow")
    told = [(c.action, c.before, c.version, c.forced, c.reason) for c in state.history]
    assert told == [("promote", "1", "2", True, "new sensor"), ("rollback", "2", "1", False, "it was slow")]


def test_stack_and_history_are_bounded_and_the_newest_stay(model: Path) -> None:
    state = Aliases()
    for number in range(HISTORY + 10):
        state = promoted(state, str(number), reason="r" * 1000)
    assert len(state.history) == HISTORY
    assert state.history[-1].version == str(HISTORY + 9)
    assert (state.previous, len(state.older) + 1) == (str(HISTORY + 8), DEPTH)
    update(model, lambda _: state)
    assert read_aliases(model) == state


def test_a_reason_is_one_line_without_what_moves_a_cursor() -> None:
    state = promoted(Aliases(), "1", reason="two\nlines\x1b[2J and \udcff half a letter")
    assert state.history[-1].reason == "two lines [2J and half a letter"


def test_without_a_file_there_is_no_alias(model: Path) -> None:
    assert read_aliases(model) == Aliases()


def test_what_was_written_is_read(model: Path) -> None:
    state = update(model, lambda state: promoted(state, "2", instead_of="1", reason="grün"))
    assert read_aliases(model) == state
    document = json.loads((model / ALIASES_FILE).read_text())
    assert (document["format"], document["stable"], document["previous"]) == (1, "2", "1")


def test_a_change_that_is_refused_leaves_everything(model: Path) -> None:
    update(model, lambda state: promoted(state, "1"))
    before = (model / ALIASES_FILE).read_bytes()
    with pytest.raises(ConfigurationError, match="nothing to roll back"):
        update(model, rolled_back)
    assert (model / ALIASES_FILE).read_bytes() == before


def test_what_could_not_be_read_again_is_not_written(model: Path) -> None:
    with pytest.raises(ConfigurationError, match="stable"):
        update(model, lambda state: promoted(state, "../x"))
    assert not (model / ALIASES_FILE).exists()


def test_no_change_writes_nothing(model: Path) -> None:
    update(model, lambda state: promoted(state, "1"))
    before = (model / ALIASES_FILE).stat().st_ino
    update(model, lambda state: promoted(state, "1"))
    assert (model / ALIASES_FILE).stat().st_ino == before


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "JSON"),
        (b"{", "JSON"),
        (b"\xff\xfe", "JSON"),
        (b"[]", "object"),
        (b"[" * 100_000, "JSON"),
        (b'{"format": 2}', "format"),
        (b"{}", "format"),
        (b'{"format": 1, "stable": 5}', "stable"),
        (b'{"format": 1, "stable": "../../etc"}', "stable"),
        (b'{"format": 1, "stable": ".draft-1"}', "stable"),
        (b'{"format": 1, "candidate": "1\\n"}', "candidate"),
        (b'{"format": 1, "surprise": 1}', "surprise"),
        (b'{"format": 1, "older": ["1"]}', "older"),
        (b'{"format": 1, "history": [{"time": "now"}]}', "history.0"),
        (b'{"format": 1, "history": ' + json.dumps([{}] * (HISTORY + 1)).encode() + b"}", "history"),
        (b'{"format": 1, "stable": "' + b"1" * 5_000_000 + b'"}', "bytes"),
    ],
)
def test_a_broken_file_is_refused_with_its_name_and_its_fault(model: Path, content: bytes, fault: str) -> None:
    (model / ALIASES_FILE).write_bytes(content)
    for touch in (read_aliases, lambda folder: update(folder, lambda state: promoted(state, "1"))):
        with pytest.raises(ConfigurationError, match=ALIASES_FILE) as caught:
            touch(model)
        assert fault in str(caught.value)
    assert (model / ALIASES_FILE).read_bytes() == content, "a file that is not understood is not replaced"


def as_link(path: Path) -> None:
    (path.parent / "elsewhere").write_text('{"format": 1}')
    path.symlink_to(path.parent / "elsewhere")


@pytest.mark.parametrize("make", [as_link, os.mkfifo, Path.mkdir, lambda path: path.symlink_to("nowhere")])
def test_what_is_no_regular_file_is_neither_followed_nor_waited_for(model: Path, make: Callable[[Path], None]) -> None:
    make(model / ALIASES_FILE)
    with pytest.raises(ConfigurationError, match=r"no regular file|could not be read"):
        read_aliases(model)


def test_a_draft_left_by_a_killed_writer_is_replaced(model: Path) -> None:
    (model / aliases.DRAFT).write_bytes(b'{"form')
    assert read_aliases(model) == Aliases()
    update(model, lambda state: promoted(state, "1"))
    assert read_aliases(model).stable == "1"
    assert sorted(path.name for path in model.iterdir()) == [aliases.LOCK_FILE, ALIASES_FILE]


def test_a_disk_that_refuses_leaves_the_old_state_and_no_draft(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    update(model, lambda state: promoted(state, "1"))

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("modelyard.drafts.os.fsync", full)
    with pytest.raises(ConfigurationError, match="No space left"):
        update(model, lambda state: promoted(state, "2"))
    assert read_aliases(model).stable == "1"
    assert not (model / aliases.DRAFT).exists()


def test_without_a_model_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no model folder"):
        update(tmp_path / "absent", lambda state: state)


def test_two_at_once_wait_for_each_other_and_lose_nothing(model: Path) -> None:
    def work(name: str) -> None:
        for number in range(20):
            update(model, lambda state, version=f"{name}{number}": promoted(state, version))  # type: ignore[misc]

    threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    state = read_aliases(model)
    changes = state.history
    assert {change.version for change in changes} == {f"{name}{n}" for name in "ab" for n in range(20)}
    assert [change.version for change in changes[:-1]] == [change.before for change in changes[1:]], "one by one"


def test_who_waits_too_long_is_told_why_and_changes_nothing(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aliases, "NOTICE_SECONDS", 0.0)
    told: list[str] = []
    with locked(model), pytest.raises(ConfigurationError, match="another command"):
        update(model, lambda state: promoted(state, "1"), seconds=0.2, notice=told.append)
    assert len(told) == 1
    assert "waiting for another command" in told[0]
    update(model, lambda state: promoted(state, "1"), seconds=0.2)
    assert read_aliases(model).stable == "1"


HOLD = """
import sys, time
from pathlib import Path
from modelyard.aliases import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_killed_process_holds_no_lock(model: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(model)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(ConfigurationError, match="another command"):
            update(model, lambda state: promoted(state, "1"), seconds=0.0)
        process.kill()
        process.wait()
        update(model, lambda state: promoted(state, "1"))
    assert read_aliases(model).stable == "1"


def test_a_lock_that_is_removed_while_it_is_held_is_made_anew(model: Path) -> None:
    with locked(model):
        (model / aliases.LOCK_FILE).unlink()
    update(model, lambda state: promoted(state, "1"))
    assert read_aliases(model).stable == "1"


def test_a_lock_that_is_a_link_is_refused(model: Path, tmp_path: Path) -> None:
    (model / aliases.LOCK_FILE).symlink_to(tmp_path / "victim")
    with pytest.raises(ConfigurationError, match="could not be opened"):
        update(model, lambda state: promoted(state, "1"))
    assert not (tmp_path / "victim").exists()
