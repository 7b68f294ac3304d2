"""Every answer that a teacher ever gave, by what it was asked: one SQLite file, shared by all runs.

The key is a hash of all that an answer depends on (teacher, messages, decoding, seed, sample), so that a restart, more
samples or other data ask for nothing twice. What `add` returned from is on disk; each row carries its checksum, and a row that
does not match it counts as not there.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ratiocine.engines import Request
from ratiocine.errors import BadInput, Failure
from ratiocine.hashing import batched, digest
from ratiocine.runs import check_writable

# With row numbers, so that answers are appended and only the keys are inserted among others
TABLE = "create table if not exists answers (key blob primary key, crc integer not null, answer text not null)"
AT_ONCE = 512  # keys in one query; SQLite takes 999 or more
ENCODER = json.JSONEncoder(sort_keys=True, default=dict)
Answer = dict[str, Any]


def answer_key(teacher: str, request: Request, sample: int) -> bytes:
    """What an answer depends on, as 16 bytes. The random stream of a sample is drawn from seed, id and sample."""
    asked = (
        request.messages,
        request.prefix,
        request.thinking,
        request.max_new_tokens,
        request.stop,
    )
    drawn = (
        (request.temperature, request.top_p, request.seed, request.id)
        if request.temperature
        else ()
    )
    return bytes.fromhex(digest(teacher, ENCODER.encode([asked, drawn, sample]))[:32])


class AnswerStore:
    """Raises BadInput where `path` is no such file, Failure where the disk is full."""

    def __init__(self, path: Path) -> None:
        check_writable(path.parent)
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        try:
            self.database = sqlite3.connect(
                path, timeout=60, isolation_level=None, check_same_thread=False
            )
            self.database.execute("pragma journal_mode=wal")
            self.database.execute(
                "pragma wal_autocheckpoint=8000"
            )  # pages: each copy into the file rewrites many of them
            self.database.execute(
                "pragma synchronous=full"
            )  # an answer that is said to be there survives a power cut
            self.database.execute(TABLE)
            self.reading = sqlite3.connect(
                path, timeout=60, check_same_thread=False
            )  # does not wait for what is being written
        except sqlite3.DatabaseError as error:
            raise BadInput(f"answer_cache={path} is no file of answers: {error}") from None

    def get(self, keys: Sequence[bytes]) -> list[Answer | None]:
        """The answers under these keys, None where there is none."""
        found: dict[bytes, Answer] = {}
        for some in batched(keys, AT_ONCE):
            marks = ",".join("?" * len(some))
            rows = self.reading.execute(
                f"select key, crc, answer from answers where key in ({marks})", some
            )
            found |= {
                key: json.loads(text) for key, crc, text in rows if zlib.crc32(text.encode()) == crc
            }
        return [found.get(key) for key in keys]

    def add(self, answers: Iterable[tuple[bytes, Answer]]) -> None:
        """Store these, durably, as one group."""
        rows = [
            (key, zlib.crc32((text := json.dumps(answer)).encode()), text)
            for key, answer in answers
        ]
        with self._told():
            self.database.execute("begin immediate")
            self.database.executemany("insert or replace into answers values (?, ?, ?)", rows)
            self.database.execute("commit")

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            if self.database.in_transaction:
                self.database.execute("rollback")
            raise Failure(
                f"answer_cache={self.path} cannot be written ({error}); what was there is safe: make room and run this again"
            ) from None
