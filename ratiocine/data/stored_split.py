"""The test split of a source, stored beside pairs from its training split: the source may change or
move later."""

from __future__ import annotations

import json
from pathlib import Path

from ratiocine.data.config import DataConfig
from ratiocine.data.sources import has, read
from ratiocine.records import JsonObject, Problem

TEST_FILE = "test.jsonl"
"""In the folder of the pairs; also a benchmark file by itself."""
PAIRS_FILE = "pairs.parquet"


def is_stored(data: DataConfig) -> bool:
    """Whether a source can lose its test split: it is divided here, or read from local files. Those
    of families and of hub data sets are generated or published as such."""
    local = data.path is not None or (data.data_dir is not None and bool(data.files))
    return (data.test_size is not None or local) and not data.mix and has(data, "test")


def write_test_split(path: Path, data: DataConfig, seed: int) -> None:
    """Write the test split of a source under its label, a problem per line in the shared schema."""
    named = data.model_copy(update={"name": data.label})
    with open(path, "w", encoding="utf-8") as file:
        for problem in read(named, "test", seed):
            file.write(json.dumps(row_of(problem), ensure_ascii=False, default=str) + "\n")


def pairs_beside(data: DataConfig) -> Path | None:
    """The pairs from the training split of a source, beside its stored test split; None for any
    other source."""
    if data.path is None or Path(data.path).name != TEST_FILE:
        return None
    pairs = Path(data.path).with_name(PAIRS_FILE)
    return pairs if pairs.is_file() else None


def row_of(problem: Problem) -> JsonObject:
    """A row of the shared schema. Inverse of `problem_of`, but for `row`, `line` and what the
    source states for all rows: its name and instruction."""
    answers = [problem.reference, *problem.accepted]
    row: JsonObject = {
        "id": problem.id,
        "question": problem.question,
        "context": problem.context,
        "choices": list(problem.choices),
        "answer": answers if problem.accepted else problem.reference,
        "kind": problem.kind,
        "category": problem.category,
        "tolerance": problem.tolerance,
        "decimal": problem.decimal if problem.decimal != "point" else None,
        # Earlier turns are in the context already.
        "meta": {name: value for name, value in problem.meta.items() if name != "history"},
    }
    return {name: value for name, value in row.items() if value or name in ("question", "answer")}


def stored_source(data: DataConfig, file: Path) -> DataConfig:
    """The stored test split of a source, as a source: its rows state what `data` stated."""
    return DataConfig(
        name=data.label,
        path=str(file),
        instruction=data.instruction,
        domain=data.domain,
        max_new_tokens=data.max_new_tokens,
    )
