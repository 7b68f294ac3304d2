"""python -m eval.regrade DIR --out NEW: grade the saved completions of a finished evaluation again.

No model is loaded; all cores grade. For a new version of the grader or a corrected reference: the
same completions with new verdicts, in a new folder with a manifest of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from eval.benchmarks import check_problems, load
from eval.config import Config, benchmark_inputs
from ratiocine import cli
from ratiocine.column_builder import ColumnsBuilder
from ratiocine.columns import Columns
from ratiocine.completion_parts import looping
from ratiocine.errors import BadInput
from ratiocine.evaluate import grade_completion
from ratiocine.executors import map_in_processes, num_cpus
from ratiocine.grading import GRADER_VERSION
from ratiocine.progress import progress
from ratiocine.records import (
    UNANSWERED,
    JsonObject,
    Problem,
    ScoredCompletion,
    is_truncated,
)
from ratiocine.runs import Run, check_finished, open_run, read_config
from ratiocine.scores import FILE, score_table
from ratiocine.stores import (
    COMPLETIONS,
    FilePart,
    completion_line,
    completions_file,
    file_parts,
    read_part,
    read_rows,
)

PART = 256  # completions that a process grades at a time
TEXTS = ("prompt", "completion", "token_ids", "logprobs")  # which no number of a score is from


def main() -> None:
    parser = cli.argument_parser("eval.regrade", __doc__)
    parser.add_argument(
        "folder", type=Path, metavar="DIR", help="a finished `python -m eval` folder"
    )
    parser.add_argument("--out", type=Path, required=True, help="the new folder")
    parser.add_argument(
        "--num-workers",
        type=int,
        default=num_cpus(),
        metavar="N",
        help="processes (default: cores)",
    )
    options = parser.parse_args()
    if options.num_workers < 1:
        raise BadInput(f"--num-workers {options.num_workers} is below 1; give 1 or more")
    regrade(options.folder, options.out, options.num_workers)


def regrade(folder: Path, out: Path, num_workers: int) -> None:
    """Write `out` from the completions of `folder`, and print how many verdicts changed.

    Raises BadInput where `folder` is no finished evaluation, or its benchmarks lack a problem.
    """
    manifest = check_finished(folder, "eval")
    config = cli.check(Config, read_config(folder))
    problems = load(config).problems
    keys = (row["key"] for row in read_rows(completions_file(folder)))
    check_problems(str(folder), keys, problems)
    run = open_run(
        "eval",
        config.model_copy(update={"tracker": "none", "out": str(out)}),
        {
            **benchmark_inputs(config),
            "completions": manifest.outputs[completions_file(folder).name],
            "grader": GRADER_VERSION,
        },
    )
    if run.finished:
        print(f"{run.out} is finished")
        return
    columns, changes = _write(run, folder, problems, num_workers)
    facts = replace(
        manifest.evaluation,
        grader=GRADER_VERSION,
        regraded_from=manifest.hash,
        changed=dict(changes),
    )
    run.write_json(FILE, score_table(columns, facts.shape).to_json())
    run.finish(**facts.to_json())
    details = "".join(f"; {n} {change}" for change, n in changes.items())
    print(f"{changes.total()} of {len(columns)} verdicts changed{details}: {run.out}")


def _write(
    run: Run, folder: Path, problems: Mapping[str, Problem], num_workers: int
) -> tuple[Columns, Counter[str]]:
    """Write the graded completions, in their order; returns their columns and the number of
    changes by what changed."""
    parts = file_parts(completions_file(folder), PART)
    builder, changes = ColumnsBuilder(), Counter[str]()
    found = map_in_processes(
        partial(_graded_part, folder, problems), parts, min(num_workers, len(parts)) or 1
    )
    n = sum(part.n for part in parts)
    with (
        run.writing(COMPLETIONS) as path,
        open(path, "wb") as file,
        progress(n, "regrade", "completions") as bar,
    ):
        for part in found:
            for row, line in zip(part.rows, part.lines, strict=True):
                builder.add(row, 0)  # the columns are for scores alone
                file.write(line)
            changes.update(part.changes)
            bar.update(len(part.lines))
    return builder.columns(), changes


@dataclass(frozen=True)
class _Part:
    """Graded completions."""

    lines: list[bytes]
    """As they are stored."""
    rows: list[JsonObject]
    """Without their texts."""
    changes: list[str]
    """Changed verdicts, as "before → after"."""


def _graded_part(folder: Path, problems: Mapping[str, Problem], part: FilePart) -> _Part:
    found = _Part([], [], [])
    for old in read_part(completions_file(folder), part):
        new = _graded(old, problems[old.key])
        found.lines.append(completion_line(new))
        found.rows.append({name: v for name, v in new.row().items() if name not in TEXTS})
        if old.verdict != new.verdict:
            found.changes.append(f"{old.verdict} → {new.verdict}")
    return found


def _graded(row: ScoredCompletion, problem: Problem) -> ScoredCompletion:
    finished = row.stop == "stop"
    answer = "" if row.stop in UNANSWERED else row.completion
    judgement = grade_completion(problem, answer, finished=finished, opened=row.opened)
    loops = is_truncated(row.stop) and looping(row.completion)
    return replace(row, **vars(judgement), reference=problem.reference, looping=loops)


if __name__ == "__main__":
    cli.leave("regrade", main)
