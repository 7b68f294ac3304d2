"""python -m eval.regrade DIR --out NEW: judge the saved completions of a finished evaluation again, without a model.

For when the grader has changed, or a reference was mended: same completions, new verdicts, a new folder with its own manifest.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import yaml

from eval.benchmarks import load
from eval.config import Config, benchmark_inputs
from ratiocine import cli
from ratiocine.cost import Shape
from ratiocine.errors import BadInput
from ratiocine.evaluate import scores, verdict_of
from ratiocine.grading import GRADER_VERSION
from ratiocine.progress import progress
from ratiocine.runs import check_finished, open_run
from ratiocine.stores import CompletionStore, read_completions


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m eval.regrade", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument(
        "folder", type=Path, metavar="DIR", help="a finished `python -m eval` folder"
    )
    parser.add_argument("--out", type=Path, required=True, help="the folder to write")
    options = parser.parse_args()
    regrade(options.folder, options.out)


def regrade(folder: Path, out: Path) -> None:
    """Write `out` from the traces of `folder`; says how many verdicts changed, and which arm."""
    manifest = check_finished(folder)
    if manifest["verb"] != "eval":
        raise BadInput(f"{folder} holds a `{manifest['verb']}` run, not an evaluation")
    config = cli.check(Config, yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8")))
    problems = load(config).problems
    rows = list(read_completions(folder / "completions.jsonl"))
    if gone := [row["key"] for row in rows if row["key"] not in problems]:
        raise BadInput(
            f"{folder} has answers to problems that its benchmarks no longer hold, such as {gone[0]}"
        )
    run = open_run(
        "eval",
        config.model_copy(update={"tracker": "none", "out": str(out)}),
        {**benchmark_inputs(config), "traces": manifest["outputs"]["completions.jsonl"]},
    )
    if run.finished:
        print(f"{run.out} is finished")
        return
    changed: Counter[str] = Counter()
    judged = []
    with progress(len(rows), "regrade", "answers") as bar:
        for row in rows:
            problem = problems[row["key"]]
            found = verdict_of(
                problem, row["completion"], row["stop"] == "stop", opened=row["opened"]
            )
            new = {**row, **found, "reference": problem.reference}
            changed[f"{row['verdict']} → {new['verdict']}"] += row["verdict"] != new["verdict"]
            judged.append(new)
            bar.update()
    with run.writing("completions.jsonl") as path:
        CompletionStore(path).append(judged)
    run.write_json(
        "scores.json", scores(judged, Shape(**manifest["shape"]) if manifest["shape"] else None)
    )
    own = ("schema_version", "verb", "hash", "inputs", "outputs", "seed", "versions", "revision")
    kept = {name: value for name, value in manifest.items() if name not in own}
    run.finish(
        **{**kept, "grader": GRADER_VERSION}, regraded_from=manifest["hash"], changed=dict(+changed)
    )
    print(
        f"{sum(changed.values())} of {len(rows)} verdicts changed"
        + "".join(f"; {n} {arm}" for arm, n in (+changed).items())
    )


if __name__ == "__main__":
    cli.leave("regrade", main)
