"""A cache of teacher answers: one SQLite file shared by all runs.

The key is a hash of everything an answer depends on (teacher, messages, decoding, seed, sample), so
a restart, more samples or other data never request an answer twice. The teacher of a server is its
name there, not the address, which each answer records. An answer is durable once `add` has
returned. Each row has a checksum; a damaged row counts as missing.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ratiocine.completion_parts import OPEN
from ratiocine.engines import Request
from ratiocine.errors import BadInput, Failure
from ratiocine.hashing import batched, digest
from ratiocine.records import Completion, Stop
from ratiocine.runs import check_writable

# A table with row ids appends answers; `without rowid` would insert them among others, by key.
TABLE = (
    "create table if not exists answers "
    "(key blob primary key, crc integer not null, answer text not null)"
)
KEYS_PER_QUERY = 512  # SQLite's limit is at least 999
CHECKPOINT_PAGES = 8000  # each checkpoint rewrites many pages of the file, so they are rare
ENCODER = json.JSONEncoder(sort_keys=True, default=dict)  # enters keys


@dataclass(frozen=True)
class Answer:
    """One answer of a teacher, with its decoding."""

    id: str
    """Of the request: `mode/source/problem`."""
    sample: int
    text: str
    """With the think tag that the prompt itself may have opened."""
    stop: Stop
    n_completion: int
    n_prompt: int = 0
    seconds: float = 0.0
    temperature: float = 0.0
    top_p: float = 1.0
    max_new_tokens: int = 0
    seed: int = 0
    server: str = ""
    """Addresses of the run that requested it; empty for a local engine, and in caches of earlier
    releases."""

    @staticmethod
    def from_completion(request: Request, completion: Completion, server: str = "") -> Answer:
        text = f"{OPEN}\n{completion.text}" if completion.opened else completion.text
        return Answer(
            id=request.id,
            sample=completion.sample,
            text=text,
            stop=completion.stop,
            n_prompt=completion.n_prompt,
            n_completion=completion.n_completion,
            seconds=completion.seconds,
            temperature=request.temperature,
            top_p=request.top_p,
            max_new_tokens=request.max_new_tokens,
            seed=request.seed,
            server=server,
        )

    @staticmethod
    def published(name: str, text: str, n_completion: int) -> Answer:
        """An answer of a data set, whose decoding is unknown."""
        return Answer(name, 0, text, "stop", n_completion)

    @staticmethod
    def from_json(text: str) -> Answer:
        values = json.loads(text)
        values["max_new_tokens"] = values.pop("budget")
        return Answer(**values)

    def to_json(self) -> str:
        values = asdict(self)
        values["budget"] = values.pop("max_new_tokens")  # the name in all existing caches
        return json.dumps(values)


def answer_key(teacher: str, request: Request, sample: int) -> bytes:
    """16 bytes that identify an answer. Existing caches depend on them: they must not change."""
    asked = (
        request.messages,
        request.prefix,
        request.thinking,
        request.max_new_tokens,
        request.stop,
    )
    # The random stream of a sample is drawn from seed, id and sample; greedy decoding has none.
    drawn = (request.temperature, request.top_p, request.seed, request.id)
    described = ENCODER.encode([asked, drawn if request.temperature else (), sample])
    return bytes.fromhex(digest(teacher, described)[:32])


class AnswerCache:
    """The file at `path`. Raises BadInput if it is not a cache, Failure if the disk is full."""

    def __init__(self, path: Path) -> None:
        check_writable(path.parent)
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        try:
            self.database = sqlite3.connect(
                path, timeout=60, isolation_level=None, check_same_thread=False
            )
            self.database.execute("pragma journal_mode=wal")
            self.database.execute(f"pragma wal_autocheckpoint={CHECKPOINT_PAGES}")
            self.database.execute("pragma synchronous=full")  # a commit survives a power cut
            self.database.execute(TABLE)
            # A second connection reads without waiting for writes.
            self.reader = sqlite3.connect(path, timeout=60, check_same_thread=False)
        except sqlite3.DatabaseError as error:
            raise BadInput(f"answer_cache={path} is no file of answers: {error}") from None

    def get(self, keys: Sequence[bytes]) -> list[Answer | None]:
        """The answers under these keys, None for a missing one."""
        found: dict[bytes, Answer] = {}
        for group in batched(keys, KEYS_PER_QUERY):
            marks = ",".join("?" * len(group))
            rows = self.reader.execute(
                f"select key, crc, answer from answers where key in ({marks})", group
            )
            for key, crc, text in rows:
                if zlib.crc32(text.encode()) == crc:
                    found[key] = Answer.from_json(text)
        return [found.get(key) for key in keys]

    def add(self, answers: Iterable[tuple[bytes, Answer]]) -> None:
        """Store answers under their keys, durably, in one transaction."""
        rows = []
        for key, answer in answers:
            text = answer.to_json()
            rows.append((key, zlib.crc32(text.encode()), text))
        try:
            self.database.execute("begin immediate")
            self.database.executemany("insert or replace into answers values (?, ?, ?)", rows)
            self.database.execute("commit")
        except sqlite3.OperationalError as error:
            if self.database.in_transaction:
                self.database.execute("rollback")
            raise Failure(
                f"answer_cache={self.path} cannot be written ({error}); "
                "stored answers are safe: make room and run this again"
            ) from None
