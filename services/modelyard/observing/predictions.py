"""Answers by the ids of their requests, kept until somebody says what would have been right.

    answered -> remember   a list, in the event loop  -> settle   in a thread: SQLite   <- judge   POST /feedback

SQLite because several workers share one file: whoever gets the feedback finds what another one answered. The file lies
in the server's private folder and goes with it; a single process keeps it in memory. MOST_BEHIND and `most` bound it.
"""

import asyncio
import logging
import sqlite3
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import orjson

from modelyard.errors import InvalidInput, NotFound

log = logging.getLogger("modelyard.feedback")

MOST_ID = 256
"""Characters of an id; answers to longer ones are not remembered."""
MOST_ANSWERS = 1024
"""Rows of a request."""
LOOKS, PAUSE_SECONDS = 5, 0.2
"""An answer of another worker is in the file a moment later: how often to look, and how long to wait in between."""
_TABLE = """
create table if not exists answer (
    key text primary key, model text not null, version text not null, answers text not null, truth text
)"""
# A request that is sent again (a client's retry) is answered as before, and its truth stands: it is counted once.
_INSERT = """
insert or replace into answer (key, model, version, answers, truth) values (?1, ?2, ?3, ?4, (
    select truth from answer where key = ?1 and model = ?2 and version = ?3 and answers = ?4
))"""


@dataclass(frozen=True, slots=True)
class Judged:
    """What the true values made of an answer."""

    model: str
    version: str
    answers: list[int]
    truth: list[int]
    repeated: bool
    """There was a value for this request before: that one counts."""

    @property
    def correct(self) -> int:
        return sum(answer == true for answer, true in zip(self.answers, self.truth, strict=True))


class Predictions:
    def __init__(self, most: int, file: Path | None = None) -> None:
        """`file`: shared by the workers; None: in memory."""
        self._most = most
        self._shared = file is not None
        self._file = str(file) if file else ":memory:"
        self._thread = ThreadPoolExecutor(1, "feedback")
        self._pending: list[tuple[str, str, str, bytes]] = []
        self._database: sqlite3.Connection | None = None
        self._closed = False

    def remember(self, tenant: str, request_id: str, model: str, version: str, answers: Sequence[int]) -> None:
        if len(request_id) <= MOST_ID and len(answers) <= MOST_ANSWERS and len(self._pending) < self._most:
            self._pending.append((_key(tenant, request_id), model, version, orjson.dumps(answers)))

    def settle(self) -> None:
        """Write what has come together, in the thread."""
        if self._pending and not self._closed:
            pending, self._pending = self._pending, []
            self._thread.submit(self._write, pending)

    async def judge(self, tenant: str, request_id: str, truth: list[int]) -> Judged:
        """Raises NotFound for an id that is not (or no longer) known, InvalidInput for another number of values."""
        loop = asyncio.get_running_loop()
        for look in range(LOOKS if self._shared else 1):
            if look:
                await asyncio.sleep(PAUSE_SECONDS)
            self.settle()
            judged = await loop.run_in_executor(self._thread, self._judge, _key(tenant, request_id), truth)
            if judged is not None:
                return judged
        raise NotFound(
            f"no answer to a request '{request_id[:80]}' is remembered: it was none of a model with classes, or over "
            f"{self._most:,} others have been answered since"
        )

    def close(self) -> None:
        self._closed = True
        self._thread.shutdown(cancel_futures=True)
        if self._database is not None:
            self._database.close()

    def _open(self) -> sqlite3.Connection:
        if self._database is None:
            self._database = sqlite3.connect(self._file, timeout=5.0, check_same_thread=False, isolation_level=None)
            self._database.execute("pragma journal_mode = wal")
            self._database.execute("pragma synchronous = off")  # it need not outlive the server
            self._database.execute(_TABLE)
        return self._database

    def _write(self, rows: list[tuple[str, str, str, bytes]]) -> None:
        try:
            database = self._open()
            database.execute("begin immediate")
            database.executemany(_INSERT, rows)
            database.execute("delete from answer where rowid <= (select max(rowid) from answer) - ?", (self._most,))
            database.execute("commit")
        except sqlite3.Error:
            log.exception("%d answers could not be remembered", len(rows))
            if self._database is not None and self._database.in_transaction:
                self._database.execute("rollback")

    def _judge(self, key: str, truth: list[int]) -> Judged | None:
        database = self._open()
        found = database.execute("select model, version, answers, truth from answer where key = ?", (key,)).fetchone()
        if found is None:
            return None
        model, version, answers, before = found
        listed: list[int] = orjson.loads(answers)
        if len(truth) != len(listed):
            raise InvalidInput(f"the request had {len(listed)} rows, {len(truth)} values were given", "size")
        told = database.execute(
            "update answer set truth = ? where key = ? and truth is null", (orjson.dumps(truth).decode(), key)
        )
        repeated = told.rowcount == 0
        if repeated and before is not None:
            truth = orjson.loads(before)
        return Judged(model, version, listed, truth, repeated)


def _key(tenant: str, request_id: str) -> str:
    """An id belongs to whom it came from."""
    return f"{tenant}\0{request_id}"
