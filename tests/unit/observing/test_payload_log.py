"""The payload log in one process: bounded, counted, patient with a dead sink, and soon at its end."""

from __future__ import annotations

import json
import resource
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelyard.errors import ConfigurationError
from modelyard.observing import payload_log
from modelyard.observing.events import MOST_TENSOR_BYTES, REQUEST, Entry, copies_of, event_of
from modelyard.observing.payload_log import MOST_ENTRIES, PayloadLog
from modelyard.observing.sinks import FileSink, _header, sink_of
from modelyard.tensors import Tensor
from tests.unit.strategies import bytes_array, metric


class Sink:
    """Keeps events; waits for `go` first, and fails while `dead`."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        self.go = threading.Event()
        self.go.set()
        self.dead = False
        self.closed = False

    def write(self, events: list[dict[str, Any]]) -> None:
        self.go.wait(20)
        if self.dead:
            raise OSError("dead")
        self.got += events

    def close(self) -> None:
        self.closed = True


class Counts:
    """Differences to the counts of before."""

    def __init__(self, log: PayloadLog) -> None:
        self._log = log
        self._before = self._now()

    def __getitem__(self, result: str) -> float:
        self._log.settle()
        return self._now()[result] - self._before[result]

    def _now(self) -> dict[str, float]:
        return {result: metric("payload_log_total", result=result) for result in ("written", "dropped", "failed")}


def entry(size: int = 1) -> Entry:
    return Entry(REQUEST, "id", "m", "1", "http", copies_of([Tensor("x", "FP32", np.zeros(size, np.float32))], ()))


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_what_comes_is_written_and_counted() -> None:
    sink = Sink()
    log = PayloadLog(sink, 1.0, "http://here/", "shop")
    counts = Counts(log)
    for _ in range(40):
        log.add(entry())
    until(lambda: counts["written"] == 40)
    assert {event["namespace"] for event in sink.got} == {"shop"}
    log.close()
    assert sink.closed


def test_a_slow_sink_costs_events_not_memory_and_not_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(payload_log, "CLOSE_SECONDS", 0.05)
    sink = Sink()
    sink.go.clear()
    log = PayloadLog(sink, 1.0, "", "")
    counts = Counts(log)
    for _ in range(3 * MOST_ENTRIES):
        log.add(entry())
    assert MOST_ENTRIES <= counts["dropped"] <= 2 * MOST_ENTRIES
    log.close()
    sink.go.set()
    until(lambda: counts["dropped"] + counts["written"] == 3 * MOST_ENTRIES)


def test_large_entries_are_bounded_by_their_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(payload_log, "MOST_BYTES", 10_000)
    sink = Sink()
    sink.go.clear()
    log = PayloadLog(sink, 1.0, "", "")
    counts = Counts(log)
    for _ in range(100):
        log.add(entry(500))
    assert counts["dropped"] >= 90
    sink.go.set()
    log.close()


def test_a_dead_sink_is_left_alone_for_a_while_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(payload_log, "RETRY_SECONDS", (0.05, 0.1))
    sink = Sink()
    sink.dead = True
    log = PayloadLog(sink, 1.0, "", "")
    counts = Counts(log)
    log.add(entry())
    until(lambda: counts["failed"] == 1)
    sink.dead = False

    def again() -> bool:
        log.add(entry())
        return counts["written"] > 0

    until(again)
    log.close()


def test_a_share_of_the_requests_is_wanted() -> None:
    log = PayloadLog(Sink(), 0.1, "", "")
    assert 50 < sum(log.wanted() for _ in range(1000)) < 160
    assert not PayloadLog(Sink(), 0.0, "", "").wanted()


def test_data_that_are_left_out() -> None:
    tensors = [
        Tensor("text", "BYTES", bytes_array([b"secret"], (1,))),
        Tensor("large", "UINT8", np.zeros(MOST_TENSOR_BYTES + 1, np.uint8)),
        Tensor("x", "FP32", np.array([1.5, np.nan], np.float32)),
    ]
    event = event_of(Entry(REQUEST, "id", "m", "1", "http", copies_of(tensors, {"text"})), "", "")
    hidden, large, shown = event["data"]["inputs"]
    assert hidden == {"name": "text", "datatype": "BYTES", "shape": [1], "parameters": {"redacted": True}}
    assert "data" not in large
    assert shown["data"][0] == 1.5


def test_a_copy_is_no_view() -> None:
    array = np.zeros(3, np.float32)
    ((*_, copy),) = copies_of([Tensor("x", "FP32", array)], ())
    assert copy is not None
    assert not np.shares_memory(array, copy)


def test_bfloat16_is_logged_as_numbers() -> None:
    bits = (np.array([1.5], np.float32).view(np.uint32) >> 16).astype(np.uint16)
    event = event_of(Entry(REQUEST, "id", "m", "1", "http", copies_of([Tensor("x", "BF16", bits)], ())), "", "")
    assert event["data"]["inputs"][0]["data"] == [1.5]


def test_header_values_are_escaped() -> None:
    assert _header("plain-1.0/x") == "plain-1.0/x"
    assert _header('a "b" %\r\nä') == "a%20%22b%22%20%25%0D%0A%C3%A4"


def test_a_broad_file_is_narrowed(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("")
    path.chmod(0o644)
    sink = sink_of(f"file:{path}", 2**20)
    assert isinstance(sink, FileSink)
    sink.close()
    assert path.stat().st_mode & 0o777 == 0o600


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """Files of this process end there, as on a disk that fills up: a part is written, the rest refused."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def numbers(path: Path) -> list[int]:
    return [json.loads(each)["n"] for each in path.read_text().splitlines()]


def test_a_full_disk_leaves_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "log"
    sink = FileSink(path, 2**20)
    sink.write([{"n": 0}])
    with room_for(5_000), pytest.raises(OSError, match="too large"):
        sink.write([{"n": n, "text": "x" * 900} for n in range(1, 10)])
    sink.write([{"n": 10}])
    sink.close()
    assert numbers(path) == [0, 10], "those that count as failed are not there, the next one is whole"


def test_a_line_that_was_cut_off_takes_no_other_with_it(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text('{"n": 0}\n{"n": 1, "te')
    sink = FileSink(path, 2**20)
    for n in (2, 3):
        sink.write([{"n": n}])
    sink.close()
    whole, cut, *rest = path.read_text().splitlines(keepends=True)
    assert (whole, cut, rest) == ('{"n": 0}\n', '{"n": 1, "te\n', ['{"n":2}\n', '{"n":3}\n'])


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be written"):
        sink_of(f"file:{tmp_path}", 2**20)
