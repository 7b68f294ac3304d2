"""Finished outputs of real models (NovaSky-AI/Sky-T1 evaluation logs) beside the verdicts that
their source gave them.

Every disagreement was looked at by hand: `adjudicated.tsv` says for each whether the completion's
answer is right, and why.
"""

import csv
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from ratiocine.completion_parts import split
from ratiocine.grading import grade
from ratiocine.records import Problem

TABLE = Path(__file__).with_name("adjudicated.tsv")
MARKS = {
    "<|begin_of_thought|>": "<think>",
    "<|end_of_thought|>": "</think>",
    "<|begin_of_solution|>": "",
    "<|end_of_solution|>": "",
}


def judged(folder: Path) -> Iterator[tuple[str, str, bool, bool]]:
    """(id, model, right by our grader, right by the source) of every finished output. The source
    lost the line breaks of some MATH-500 references (a vector became one number); here that data
    set's own are used."""
    with (folder / "math500_test.jsonl").open(encoding="utf-8") as file:
        own = {
            row["question"].split("[asy]")[0].strip(): row["answer"]
            for row in map(json.loads, file)
        }
    with (folder / "cot_pairs_skythought.jsonl").open(encoding="utf-8") as file:
        for row in map(json.loads, file):
            reference = own.get(row["question"].split("[asy]")[0].strip(), row["answer"])
            problem = Problem(
                row["id"], row["question"], reference, "expression", "math-oe", "source"
            )
            for trace in row["traces"]:
                if not trace["finished"]:
                    continue
                text = trace["text"]
                for mark, ours in MARKS.items():
                    text = text.replace(mark, ours)
                yield (
                    row["id"],
                    trace["model"],
                    grade(problem, split(text)).verdict == "right",
                    bool(trace["correct"]),
                )


def table() -> dict[tuple[str, str], dict[str, str]]:
    with TABLE.open(encoding="utf-8", newline="") as file:
        return {(row["id"], row["model"]): row for row in csv.DictReader(file, delimiter="\t")}


@pytest.mark.slow
def test_every_disagreement_with_the_source_is_adjudicated(benchmarks: Path) -> None:
    found = list(judged(benchmarks))
    differing = {(name, model): ours for name, model, ours, theirs in found if ours != theirs}
    assert differing.keys() == table().keys()
    right = sum(ours == (table()[key]["answer"] == "right") for key, ours in differing.items())
    agreed = len(found) - len(differing)
    print(f"{len(found)} outputs, {agreed} agree, ours right in {right} of {len(differing)} others")
    print(Counter((ours, theirs) for *_, ours, theirs in found))
    assert right >= 0.95 * len(differing)


def test_each_adjudication_says_why() -> None:
    rows = table().values()
    assert len(rows) > 50
    assert all(row["answer"] in ("right", "wrong") and len(row["why"]) > 10 for row in rows)
