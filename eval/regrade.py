"""python -m eval.regrade DIR --out NEW: grade the saved completions of a finished evaluation again.

No model is loaded. For a new version of the grader or a corrected reference: the same completions
with new verdicts, in a new folder with a manifest of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from eval.benchmarks import check_problems, load
from eval.config import Config, benchmark_inputs
from ratiocine import cli
from ratiocine.evaluate import grade_completion
from ratiocine.grading import GRADER_VERSION
from ratiocine.progress import progress
from ratiocine.records import UNANSWERED, Problem, ScoredCompletion
from ratiocine.runs import EvalFacts, Run, check_finished, open_run, read_config
from ratiocine.scores import FILE, score_table
from ratiocine.stores import COMPLETIONS, CompletionStore, completions_file, read_completions


def main() -> None:
    parser = cli.argument_parser("eval.regrade", __doc__)
    parser.add_argument(
        "folder", type=Path, metavar="DIR", help="a finished `python -m eval` folder"
    )
    parser.add_argument("--out", type=Path, required=True, help="the new folder")
    options = parser.parse_args()
    regrade(options.folder, options.out)


def regrade(folder: Path, out: Path) -> None:
    """Write `out` from the completions of `folder`, and print how many verdicts changed.

    Raises BadInput where `folder` is no finished evaluation, or its benchmarks lack a problem.
    """
    manifest = check_finished(folder, "eval")
    config = cli.check(Config, read_config(folder))
    problems, rows = load(config).problems, list(read_completions(folder))
    check_problems(str(folder), rows, problems)
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
    graded = []
    with progress(len(rows), "regrade", "completions") as bar:
        for row in rows:
            graded.append(_graded(row, problems[row.key]))
            bar.update()
    changes = Counter(
        f"{old.verdict} → {new.verdict}"
        for old, new in zip(rows, graded, strict=True)
        if old.verdict != new.verdict
    )
    facts = replace(
        manifest.evaluation,
        grader=GRADER_VERSION,
        regraded_from=manifest.hash,
        changed=dict(changes),
    )
    _write(run, graded, facts)
    details = "".join(f"; {n} {change}" for change, n in changes.items())
    print(f"{changes.total()} of {len(rows)} verdicts changed{details}: {run.out}")


def _write(run: Run, graded: Sequence[ScoredCompletion], facts: EvalFacts) -> None:
    with run.writing(COMPLETIONS) as path:
        CompletionStore(path).append(graded)
    run.write_json(FILE, score_table(graded, facts.shape).to_json())
    run.finish(**facts.to_json())


def _graded(row: ScoredCompletion, problem: Problem) -> ScoredCompletion:
    finished = row.stop == "stop"
    answer = "" if row.stop in UNANSWERED else row.completion
    judgement = grade_completion(problem, answer, finished=finished, opened=row.opened)
    return replace(row, **vars(judgement), reference=problem.reference)


if __name__ == "__main__":
    cli.leave("regrade", main)
