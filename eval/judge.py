"""python -m eval.judge DIR --judge URL MODEL [--judge URL MODEL …] --out FILE: what language models say of the saved answers.

For answers that rules judge badly. Every judge sees the question, the end of the answer and the reference, and says yes or no,
as in table 6 of arXiv 2509.22193 but in words of our own; the majority is reported beside the rule's verdicts, with their
agreement. It replaces none.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eval.report import check_name, write
from ratiocine import cli
from ratiocine.engines import OpenAIConfig, OpenAIEngine, Request
from ratiocine.errors import BadInput
from ratiocine.progress import progress
from ratiocine.prompts import split
from ratiocine.runs import check_finished
from ratiocine.stats import wilson
from ratiocine.stores import CompletionStore, read_completions

END = 2000  # characters of an answer that a judge is shown
PROMPT = (
    "Below are a question, the end of an answer to it, and the reference answer. Do not answer the question yourself. Find the "
    "final result in the answer and in the reference, and compare what they mean; wording and notation do not matter. If they "
    "agree, reply \\boxed{yes}. If they do not, or if the answer holds no final result, reply \\boxed{no}."
)
INSTRUCTIONS = (
    "Below are an instruction and a response to it. Check every formal requirement of the instruction, and leave out of "
    "account any thinking before the response. If all requirements are met, reply \\boxed{yes}, otherwise \\boxed{no}."
)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m eval.judge", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument(
        "folder", type=Path, metavar="DIR", help="a finished `python -m eval` folder"
    )
    parser.add_argument(
        "--judge",
        nargs=2,
        action="append",
        required=True,
        metavar=("URL", "MODEL"),
        help="repeat it for a jury",
    )
    parser.add_argument(
        "--key-env", default="OPENAI_API_KEY", help="environment variable that holds the key"
    )
    parser.add_argument(
        "--max-new-tokens",
        type=int,
        default=1024,
        help="tokens that a judge may take (default: 1024)",
    )
    parser.add_argument("--out", type=Path, required=True, help="the JSON file to write")
    options = parser.parse_args()
    check_name(options.out)
    found = judged(options)
    for name, row in found["benchmarks"].items():
        low, high = row["ci95"]
        print(
            f"{name:18}{row['n']:>6}  rule {row['rule']:.1%}  jury {row['jury']:.1%}  agree {row['agreement']:.1%} "
            f"({low:.1%} – {high:.1%})  kappa {row['kappa']:.2f}"
        )


def judged(options: argparse.Namespace) -> dict[str, Any]:
    """Ask every judge of every graded answer; what was said already is kept beside the output file until all is said."""
    if check_finished(options.folder)["verb"] != "eval":
        raise BadInput(f"{options.folder} holds no `eval` run")
    rows = {
        f"{r['key']}#{r['sample']}": r
        for r in read_completions(options.folder / "completions.jsonl")
        if r["verdict"] != "ungradable"
    }
    store = CompletionStore(options.out.with_name(f".{options.out.name}.partial"))
    with progress(len(rows) * len(options.judge), "judge", "verdicts") as bar:
        bar.update(len(store.rows))
        for number, (url, model) in enumerate(options.judge):
            done = {row["answer"] for row in store.rows if row["judge"] == number}
            engine = OpenAIEngine(
                OpenAIConfig(name="openai", base_url=url, model=model, api_key_env=options.key_env)
            )
            engine.check()
            requests = [
                Request(name, message(row), options.max_new_tokens)
                for name, row in rows.items()
                if name not in done
            ]
            for traces in engine.generate(requests):
                said = [(split(trace.text).boxed or "").strip().lower() for trace in traces]
                store.append(
                    [
                        {
                            "judge": number,
                            "answer": trace.id,
                            "says": word == "yes",
                            "clear": word in ("yes", "no"),
                        }
                        for trace, word in zip(traces, said, strict=True)
                    ]
                )
                bar.update(len(traces))
    votes: dict[str, list[bool]] = {name: [] for name in rows}
    for row in store.rows:
        votes[row["answer"]].append(row["says"])
    jury = {name: 2 * sum(said) > len(said) for name, said in votes.items()}
    found = {
        "schema_version": 1,
        "judges": [model for _, model in options.judge],
        "unclear": sum(not row["clear"] for row in store.rows),
        "benchmarks": compared(rows, jury),
        "differing": sorted(
            name for name, says in jury.items() if says != (rows[name]["verdict"] == "right")
        ),
    }
    write(options.out, json.dumps(found, indent=2, ensure_ascii=False) + "\n")
    store.path.unlink(missing_ok=True)
    return found


def message(row: Mapping[str, Any]) -> tuple[dict[str, str], ...]:
    """What a judge is asked about one answer."""
    if row["reference"] is None:
        text = f"{INSTRUCTIONS}\n\nInstruction:\n{row['prompt']}\n\nResponse:\n{row['completion'][-END:]}"
    else:
        text = f"{PROMPT}\n\nQuestion:\n{row['prompt']}\n\nAnswer:\n{row['completion'][-END:]}\n\nReference:\n{row['reference']}"
    return ({"role": "user", "content": text},)


def compared(rows: Mapping[str, Mapping[str, Any]], jury: Mapping[str, bool]) -> dict[str, Any]:
    """Accuracy by rule and by jury, and how often they agree, by benchmark; Cohen's kappa is 0 where either never varies."""
    found = {}
    for benchmark in sorted({row["benchmark"] for row in rows.values()}):
        cells = Counter(
            (r["verdict"] == "right", jury[k])
            for k, r in rows.items()
            if r["benchmark"] == benchmark
        )
        n = cells.total()
        rule, said = (
            (cells[True, True] + cells[True, False]) / n,
            (cells[True, True] + cells[False, True]) / n,
        )
        same = cells[True, True] + cells[False, False]
        chance = rule * said + (1 - rule) * (1 - said)
        found[benchmark] = {
            "n": n,
            "rule": rule,
            "jury": said,
            "agreement": same / n,
            "ci95": list(wilson(same, n)),
            "kappa": (same / n - chance) / (1 - chance) if chance < 1 else 0.0,
        }
    return found


if __name__ == "__main__":
    cli.leave("judge", main)
