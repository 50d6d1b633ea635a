"""Whatever a tar may hold beside a version, and whatever happens to its bytes: it is refused, and nothing is left."""

from __future__ import annotations

import tarfile
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelyard.errors import ConfigurationError
from tests.unit.packing.packed import NAME, member, members, packed, take, written

KINDS = [bytes([code]) for code in b"01234567LKSxgXAVMZ\0 "]
WORDS = [
    NAME,
    "versions",
    "1",
    "2",
    "model.yaml",
    "manifest.json",
    "model.onnx",
    "..",
    ".",
    "",
    "~",
    "C:",
    "CON",
    "x" * 99,
]
CHARACTERS = st.characters(codec="ascii", exclude_characters="\0")
PATHS = st.lists(st.sampled_from(WORDS), min_size=1, max_size=6).map("/".join) | st.text(CHARACTERS, max_size=120)
SLOW = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return packed(tmp_path_factory.mktemp("whole"))


def refused(file: Path, place: Path) -> None:
    """Nothing is left: not in the repository, and not beside it."""
    with pytest.raises(ConfigurationError) as caught:
        take(file, place / "a" / "models")
    assert len(str(caught.value).splitlines()) == 1
    assert str(caught.value).isprintable()
    assert sorted(path.name for path in place.iterdir()) == [file.name]


@settings(deadline=None, suppress_health_check=SLOW)
@given(path=PATHS, kind=st.sampled_from(KINDS), link=PATHS, at=st.integers(0, 5), data=st.binary(max_size=700))
def test_a_member_more_is_refused(whole: Path, path: str, kind: bytes, link: str, at: int, data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        content = members(whole)
        content.insert(at, member(path, data if kind == tarfile.REGTYPE else b"", kind, link[:100]))
        refused(written(Path(folder, "x.tar"), content, kind=tarfile.GNU_FORMAT), Path(folder))


@settings(deadline=None, suppress_health_check=SLOW)
@given(path=PATHS, at=st.integers(0, 4))
def test_another_path_is_refused(whole: Path, path: str, at: int) -> None:
    content = members(whole)
    if path == content[at][0].name:
        return
    content[at][0].name = path
    with tempfile.TemporaryDirectory() as folder:
        refused(written(Path(folder, "x.tar"), content, kind=tarfile.GNU_FORMAT), Path(folder))


@settings(deadline=None, suppress_health_check=SLOW)
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_part_of_it_is_refused(whole: Path, share: float) -> None:
    data = whole.read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "x.tar").write_bytes(data[: int(len(data) * share)])
        refused(Path(folder, "x.tar"), Path(folder))


@settings(deadline=None, suppress_health_check=SLOW, max_examples=60)
@given(share=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_bit_that_has_changed_is_refused_or_means_nothing(whole: Path, share: float, bit: int) -> None:
    """The manifest covers the version's files; model.yaml and README.md are covered by nothing."""
    data = bytearray(whole.read_bytes())
    data[int(len(data) * share)] ^= 1 << bit
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "x.tar").write_bytes(data)
        try:
            received = take(Path(folder, "x.tar"), Path(folder, "models"))
        except ConfigurationError:
            assert sorted(path.name for path in Path(folder).iterdir()) == ["x.tar"]
        else:
            for entry in received.manifest.files:
                original = whole.parent / "from" / NAME / "versions" / "1" / entry
                assert (received.folder / entry).read_bytes() == original.read_bytes()
