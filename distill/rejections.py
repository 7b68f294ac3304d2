"""Problems without a pair, and why."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import IO

from distill.answer_selection import Judged
from distill.pair_selection import PairSummary
from ratiocine.evaluate import key
from ratiocine.records import Pair, Problem, is_answered

FILE = "rejected.jsonl"
SHOWN = 200  # characters of a question


@dataclass
class Rejections:
    """Problems without a pair: a line each, with the row and line in its file, the reason, the
    beginning of the question, the reference and the teacher's answers, and their counts by
    reason."""

    file: IO[str]
    counts: Counter[str] = field(default_factory=Counter)
    unanswered: list[str] = field(default_factory=list)
    """Problems without the answer of an engine, with their places."""

    def add(self, problem: Problem, reason: str, judged: Judged | None = None) -> None:
        place = {"row": problem.row, "line": problem.line}
        every = [one for some in (judged or {}).values() for one in some]
        if not all(is_answered(one.stop) for one in every):
            self.unanswered.append(problem.named(key(problem)))
        answers = {mode: [one.row() for one in some] for mode, some in (judged or {}).items()}
        self._write(
            key(problem), reason, place, problem.question, problem.reference, answers=answers
        )

    def add_pair(self, pair: Pair, summary: PairSummary, reason: str) -> None:
        name = f"{summary.source}/{summary.id}"
        self._write(name, reason, {"row": summary.row}, pair.prompt, pair.reference)

    def _write(
        self,
        name: str,
        reason: str,
        place: Mapping[str, int | None],
        question: str,
        reference: str | None,
        **more: object,
    ) -> None:
        self.counts[reason] += 1
        row = {
            "key": name,
            "reason": reason,
            **{of: number for of, number in place.items() if number is not None},
            "question": question[:SHOWN],
            "reference": reference,
            **{name: value for name, value in more.items() if value},
        }
        self.file.write(json.dumps(row, ensure_ascii=False) + "\n")
