"""Chosen settings in model.yaml, and everything else as it was."""

from __future__ import annotations

import difflib
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.errors import ConfigurationError
from modelyard.spec import BatchingSpec, parse_spec, read_spec
from modelyard.tuning.grid import Setting
from modelyard.tuning.model_yaml import changes, checked, edit, write

HEAD = """\
# what it is
name: m   # its folder
inputs:
    -   {name: x, datatype: FP32, shape: [-1, 4]}
outputs:
- name: "y"
  datatype: 'FP32'
  shape:
    - -1
    - 4
"""
TAIL = "cache: {enabled: true}   # rows are known again\n\n# the end\n"
SECTIONS = [
    "",
    "batching: {}\n",
    "batching: {max_batch_size: 16}  # flow\n",
    "batching: { max_batch_size: 16, }\n",
    "batching: {max_batch_size: 16,  # most\n   merge_rows: 4}\n",
    "batching:\n  max_batch_size: 16\n",
    "batching:   # how\n\n      # why\n      max_batch_size: 16   # of one request\n\n      # after\n",
    "batching:\n  buckets:\n  - 4\n  - 8\n",
    "batching:\n  max_batch_size: 16\n  buckets:  # sizes\n    - 4\n    - 8   # last\n  # over\n",
    "batching:\n  buckets: [4,\n    8]\n  executors: 0x2\n",
    "batching:\n  executors: 1\n  merge_rows: 2\n  max_queue_delay_ms: 0.5\n  max_batch_size: 16\n",
    'batching:\n  "executors": 1\n  ? merge_rows\n  : 2\n',
    "batching: &b\n  max_batch_size: 16\n",
]
FLOW = (
    "{name: m, inputs: [{name: x, datatype: FP32, shape: [-1, 4]}], outputs: [{name: y, datatype: FP32, shape: [-1]}]}"
)

values_ = st.fixed_dictionaries(
    {},
    optional={
        "merge_rows": st.integers(1, 16),
        "executors": st.integers(1, 256),
        "max_queue_delay_ms": st.floats(0, 10, allow_subnormal=False).map(lambda number: round(number, 3)),
        "max_batch_size": st.integers(16, 64),
    },
)


@settings(deadline=None)  # PyYAML takes milliseconds, and the first call more
@given(st.sampled_from(SECTIONS), st.booleans(), st.sampled_from(["\n", "\r\n"]), st.integers(0, 2), values_)
def test_any_values_go_into_any_form_of_the_section(
    section: str, first: bool, newline: str, cut: int, values: dict[str, int | float]
) -> None:
    text = section + HEAD + TAIL if first else HEAD + TAIL + section
    text = text.replace("\n", newline)
    text = text[: len(text) - (len(newline) if cut == 1 else 0)]
    before = parse_spec(text)
    edited = checked(text, before, values)
    after = parse_spec(edited)
    assert after.batching.model_dump() == before.batching.model_dump() | values
    assert after.model_copy(update={"batching": before.batching}) == before
    if not section.startswith("batching: {max_batch_size: 16,  # most"):
        assert {line.strip() for line in comments(text)} == {line.strip() for line in comments(edited)}


def comments(text: str) -> list[str]:
    return [line.partition("#")[2] for line in text.splitlines() if "#" in line]


def test_only_the_lines_of_the_values_change() -> None:
    text = HEAD + SECTIONS[6] + TAIL
    edited = edit(text, {"max_batch_size": 32, "executors": 2, "max_queue_delay_ms": 1.5})
    changed = [line for line in difflib.ndiff(text.splitlines(), edited.splitlines()) if line[0] in "+-"]
    assert changed == [
        "-       max_batch_size: 16   # of one request",
        "+       max_batch_size: 32   # of one request",
        "+       executors: 2",
        "+       max_queue_delay_ms: 1.5",
    ]


def test_a_document_in_braces() -> None:
    edited = edit(FLOW, {"executors": 2})
    assert parse_spec(edited).batching.executors == 2
    assert edited.startswith(FLOW[:-1])


def test_a_section_that_other_places_share_is_left_to_the_user() -> None:
    text = HEAD.replace("[-1, 4]", "[&n -1, 4]") + "batching: {max_batch_size: &most 16, merge_rows: *most}\n"
    with pytest.raises(ConfigurationError, match=r"by hand: batching\.merge_rows: 4"):
        checked(text, parse_spec(text), {"merge_rows": 4})


def folder_of(tmp_path: Path, text: str) -> Path:
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "model.yaml").write_text(text)
    return folder


def test_write_keeps_the_mode_and_leaves_nothing_else(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, HEAD + SECTIONS[5])
    path = folder / "model.yaml"
    path.chmod(0o640)
    write(folder, read_spec(folder), {"merge_rows": 8})
    assert read_spec(folder).batching == BatchingSpec(max_batch_size=16, merge_rows=8)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert [entry.name for entry in folder.iterdir()] == ["model.yaml"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    real = tmp_path / "real.yaml"
    real.write_text(HEAD)
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "model.yaml").symlink_to(real)
    write(folder, read_spec(folder), {"executors": 3})
    assert (folder / "model.yaml").is_symlink()
    assert parse_spec(real.read_text()).batching.executors == 3


def test_a_file_that_changed_meanwhile_is_left_alone(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, HEAD)
    measured = read_spec(folder)
    changed = HEAD + "batching: {max_batch_size: 4}\n"
    (folder / "model.yaml").write_text(changed)
    with pytest.raises(ConfigurationError, match="was changed"):
        write(folder, measured, {"merge_rows": 8})
    assert (folder / "model.yaml").read_text() == changed


def test_values_that_the_spec_refuses_are_not_written(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, HEAD)
    with pytest.raises(ValueError, match="merge_rows"):
        write(folder, read_spec(folder), {"merge_rows": 1000})
    assert (folder / "model.yaml").read_text() == HEAD


def test_only_what_differs_is_changed() -> None:
    plain = BatchingSpec(max_batch_size=16)
    assert changes(plain, Setting(0.0, 2, 16), 2) == {}
    assert changes(plain, Setting(2.0, 1, 8), 2) == {"merge_rows": 8, "max_queue_delay_ms": 2, "executors": 1}
    assert changes(plain, Setting(0.5, 2, 16), 2) == {"max_queue_delay_ms": 0.5}
    assert changes(plain, Setting(0.0, 2, 64), 2) == {"max_batch_size": 64}
    merged = BatchingSpec(max_batch_size=16, merge_rows=4, executors=1)
    assert changes(merged, Setting(0.0, 1, 16), 2) == {"merge_rows": 16}
    assert changes(merged, Setting(0.0, 2, 64), 2) == {"max_batch_size": 64, "merge_rows": 64, "executors": 2}
    assert changes(BatchingSpec(max_batch_size=0), Setting(0.0, 1, 0), 2) == {"executors": 1}


@given(st.integers(1, 64), st.integers(0, 64), st.integers(0, 4), st.integers(1, 128), st.integers(1, 4))
def test_what_is_written_is_what_was_chosen(most: int, merge: int, executors: int, rows: int, threads: int) -> None:
    batching = BatchingSpec(max_batch_size=most, merge_rows=min(merge, most), executors=executors)
    chosen = Setting(0.0, threads, rows)
    changed = BatchingSpec.model_validate(batching.model_dump() | changes(batching, chosen, 4))
    assert chosen == Setting(0.0, min(changed.executors or 4, 4), changed.merge_rows or changed.max_batch_size)
    assert changed.max_batch_size >= most
