"""python -m eval.judge DIR --judge URL MODEL [--judge …] --out FILE: grade by language models.

For answers that rules grade badly. Every judge gets the question, the end of the completion and the
reference, and replies yes or no, as in table 6 of arXiv 2509.22193 but in words of our own. The
majority is reported beside the verdicts of the rules, with their agreement; it replaces none.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from eval.report import check_name, write
from ratiocine import cli
from ratiocine.completion_parts import split
from ratiocine.engines import OpenAIConfig, OpenAIEngine, Request
from ratiocine.errors import BadInput
from ratiocine.hashing import digest
from ratiocine.progress import progress
from ratiocine.records import Completion, ScoredCompletion
from ratiocine.runs import check_finished
from ratiocine.stats import wilson
from ratiocine.stores import RowStore, read_completions

END = 2000  # characters of a completion in a judge's prompt
PROMPT = (
    "Below are a question, the end of an answer to it, and the reference answer. Do not answer the "
    "question yourself. Find the final result in the answer and in the reference, and compare what "
    "they mean; wording and notation do not matter. If they agree, reply \\boxed{yes}. If they do "
    "not, or if the answer holds no final result, reply \\boxed{no}."
)
INSTRUCTIONS = (
    "Below are an instruction and a response to it. Check every formal requirement of the "
    "instruction, and leave out of account any thinking before the response. If all requirements "
    "are met, reply \\boxed{yes}, otherwise \\boxed{no}."
)


def main() -> None:
    parser = cli.argument_parser("eval.judge", __doc__)
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
    options = cli.parse_args(parser, {"--budget": "--max-new-tokens"})
    check_name(options.out)
    found = judge(options)
    for name, row in found.benchmarks.items():
        low, high = row.ci95
        print(
            f"{name:18}{row.n:>6}  rule {row.rule:.1%}  jury {row.jury:.1%}  "
            f"agree {row.agreement:.1%} ({low:.1%} – {high:.1%})  kappa {row.kappa:.2f}"
        )


@dataclass(frozen=True)
class Vote:
    """One judge's reply on one completion."""

    judge: int
    """Position among the judges."""
    answer: str
    """Key and sample of the completion."""
    says: bool
    """Whether the reply was yes."""
    clear: bool
    """Whether the reply was yes or no."""


@dataclass(frozen=True)
class Agreement:
    """Verdicts of the rules beside those of the jury, over the completions of a benchmark."""

    n: int
    rule: float
    """Accuracy by the rules."""
    jury: float
    """Accuracy by the majority of the judges."""
    agreement: float
    """Share of completions with the same verdict."""
    ci95: tuple[float, float]
    """Wilson interval of the agreement."""
    kappa: float
    """Cohen's; 0 where either verdict never varies."""


@dataclass(frozen=True)
class Judgements:
    """The JSON file of this tool."""

    schema_version: int
    judges: list[str]
    unclear: int
    """Replies that were neither yes nor no."""
    benchmarks: dict[str, Agreement]
    differing: list[str]
    """Key and sample of the completions with different verdicts."""


def judge(options: argparse.Namespace) -> Judgements:
    """Query every judge about every graded completion, and write the output file.

    Replies are stored beside the output file until all have come, so that an interrupted command
    continues. Raises BadInput where the folder is no finished evaluation.
    """
    manifest = check_finished(options.folder, "eval")
    if options.max_new_tokens < 1:
        raise BadInput(f"--max-new-tokens {options.max_new_tokens} is not at least 1")
    # Another evaluation, jury or limit has another file of replies.
    asked = digest(manifest.hash, *map(str, options.judge), options.max_new_tokens)[:8]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    rows = {
        f"{row.key}#{row.sample}": row
        for row in read_completions(options.folder)
        if row.verdict != "ungradable"
    }
    store = RowStore(options.out.with_name(f".{options.out.name}.{asked}.partial"))
    n = len(rows) * len(options.judge)
    with progress(n, "judge", "verdicts", initial=len(store.rows)) as bar:
        for number, (url, model) in enumerate(options.judge):
            done = {vote.answer for vote in _votes(store) if vote.judge == number}
            engine = OpenAIEngine(
                OpenAIConfig(name="openai", base_url=url, model=model, api_key_env=options.key_env)
            )
            engine.check_connection()
            requests = [
                Request(name, message(row), options.max_new_tokens)
                for name, row in rows.items()
                if name not in done
            ]
            for replies in engine.generate(requests):
                store.append(asdict(_vote(number, reply)) for reply in replies)
                bar.update(len(replies))
    found = judgements(rows, _votes(store), [model for _, model in options.judge])
    write(options.out, json.dumps(asdict(found), indent=2, ensure_ascii=False) + "\n")
    store.path.unlink(missing_ok=True)
    return found


def _votes(store: RowStore) -> list[Vote]:
    return [Vote(**row) for row in store.rows]


def _vote(judge: int, reply: Completion) -> Vote:
    word = (split(reply.text).boxed or "").strip().lower()
    return Vote(judge, reply.id, word == "yes", word in ("yes", "no"))


def message(row: ScoredCompletion) -> tuple[dict[str, str], ...]:
    """The messages to a judge about one completion."""
    end = row.completion[-END:]
    if row.reference is None:
        text = f"{INSTRUCTIONS}\n\nInstruction:\n{row.prompt}\n\nResponse:\n{end}"
    else:
        question = f"Question:\n{row.prompt}\n\nAnswer:\n{end}"
        text = f"{PROMPT}\n\n{question}\n\nReference:\n{row.reference}"
    return ({"role": "user", "content": text},)


def judgements(
    rows: Mapping[str, ScoredCompletion], votes: Sequence[Vote], judges: list[str]
) -> Judgements:
    """The majority of the votes beside the verdicts of the rules; a tie counts as wrong."""
    replies: dict[str, list[bool]] = {name: [] for name in rows}
    for vote in votes:
        replies[vote.answer].append(vote.says)
    jury = {name: 2 * sum(said) > len(said) for name, said in replies.items()}
    benchmarks = {}
    for benchmark in sorted({row.benchmark for row in rows.values()}):
        names = [name for name, row in rows.items() if row.benchmark == benchmark]
        benchmarks[benchmark] = agreement(Counter((rows[name].right, jury[name]) for name in names))
    differing = sorted(name for name, right in jury.items() if right != rows[name].right)
    unclear = sum(not vote.clear for vote in votes)
    return Judgements(1, judges, unclear, benchmarks, differing)


def agreement(cells: Counter[tuple[bool, bool]]) -> Agreement:
    """From the number of completions by verdict of the rules and verdict of the jury."""
    n = cells.total()
    rule = (cells[True, True] + cells[True, False]) / n
    jury = (cells[True, True] + cells[False, True]) / n
    same = cells[True, True] + cells[False, False]
    chance = rule * jury + (1 - rule) * (1 - jury)
    kappa = (same / n - chance) / (1 - chance) if chance < 1 else 0.0
    low, high = wilson(same, n)
    return Agreement(n, rule, jury, same / n, (low, high), kappa)


if __name__ == "__main__":
    cli.leave("judge", main)
