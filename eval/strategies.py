"""python -m eval.strategies DIR [DIR …] --out PAGE: accuracy and cost of strategies.

A strategy decides how many samples a problem gets and which answer is taken; the samples of an
evaluation (`samples=16 temperature=0.7`) are enough to score each without generating again. With
more samples than a strategy uses, its value is the mean over disjoint groups of them. Cost counts
every token that it asks for, the prompt once.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean

from eval.benchmarks import check_problems, load
from eval.config import Config
from eval.report import (
    Evaluation,
    check_name,
    load_evaluations,
    render,
    shared_keys,
    strategy_figure,
    write,
)
from ratiocine import cli, cost
from ratiocine.errors import BadInput
from ratiocine.grading import canonical
from ratiocine.progress import progress
from ratiocine.records import ScoredCompletion
from ratiocine.stats import interval, pareto
from ratiocine.strategies import STRATEGIES, Sample, SelfConsistency, Strategy, replay

SINGLE = SelfConsistency(n=1)
REPLAYABLE = [name for name, one in STRATEGIES.items() if one.replayable]
FREE = ("span", "instructions")  # kinds of problems whose answers are not equal or different


def main() -> None:
    options = parser().parse_args()
    check_name(options.out)
    if options.out.suffix == ".json":
        raise BadInput(f"--out {options.out}: the numbers go there; give the page another ending")
    chosen = [strategy(words) for words in options.strategies or ()]
    with_tokens = any("logprobs" in one.needs for one in chosen)
    evaluations = load_evaluations(options.folders, with_tokens=with_tokens)
    if not chosen:
        chosen = doubled(min(one.facts.decoding.samples for one in evaluations))
    chosen = [SINGLE, *(one for one in chosen if one != SINGLE)]
    for evaluation in evaluations:
        check_samples(evaluation, chosen)
    found = points(evaluations, chosen)
    write(
        options.out.with_suffix(".json"),
        json.dumps({"schema_version": 1, "points": [asdict(one) for one in found]}, indent=2)
        + "\n",
    )
    write(options.out, page(found))
    print(table(found))
    print(f"page: {options.out}")


def parser() -> argparse.ArgumentParser:
    found = cli.argument_parser("eval.strategies", __doc__)
    found.add_argument(
        "folders",
        nargs="+",
        type=Path,
        metavar="DIR",
        help="a finished `python -m eval` folder with several samples",
    )
    found.add_argument(
        "--strategies",
        nargs="+",
        metavar="'NAME KEY=VALUE'",
        help=f"with settings in place of those in conf/strategy; NAME is "
        f"{', '.join(REPLAYABLE)}; default self_consistency with 2, 4, 8, … samples",
    )
    found.add_argument(
        "--out",
        type=Path,
        default=Path("strategies.html"),
        help="the page; its numbers go beside it as .json",
    )
    return found


def strategy(words: str) -> Strategy:
    """A strategy by its name and settings, such as `short_m_at_k k=8 m=3`. Raises BadInput for an
    unknown one, and for a setting that it does not have."""
    import yaml

    name, *settings = words.split() or [""]
    if name not in STRATEGIES:
        raise BadInput(f"unknown strategy '{name}'; there are {', '.join(REPLAYABLE)}")
    if name not in REPLAYABLE:
        raise BadInput(
            f"{name} asks for more than samples of the problem; python -m eval strategy={name} "
            f"runs it, and of saved samples there are {', '.join(REPLAYABLE)}"
        )
    values = cli.named("strategy", name, STRATEGIES[name]).model_dump()
    for setting in settings:
        key, given, value = setting.partition("=")
        if not given:
            raise BadInput(f"--strategies '{words}': {setting} is no KEY=VALUE")
        values[key] = yaml.safe_load(value)
    found = cli.check(STRATEGIES[name], values)
    if found.budget is not None:
        raise BadInput(f"--strategies '{words}': budget= is for python -m eval strategy={name}")
    return found


def doubled(samples: int) -> list[Strategy]:
    """Self-consistency with 2, 4, 8, … of so many samples."""
    return [SelfConsistency(n=2**k) for k in range(1, samples.bit_length()) if 2**k <= samples]


def check_samples(evaluation: Evaluation, strategies: Sequence[Strategy]) -> None:
    """Raise BadInput where the saved samples are fewer than a strategy may ask for, or lack the
    log-probabilities that it needs."""
    n = evaluation.facts.decoding.samples
    if evaluation.config.get("strategy"):
        raise BadInput(
            f"{evaluation.label}: an evaluation with strategy=, which keeps no samples; "
            "python -m eval.report compares it with others"
        )
    for one in strategies:
        if one.most > n:
            raise BadInput(
                f"{words_of(one)} takes up to {one.most} samples, and {evaluation.label} has {n}; "
                f"evaluate with samples={one.most} temperature=0.7, or use fewer"
            )
        if "logprobs" in one.needs and not evaluation.config.get("logprobs"):
            raise BadInput(
                f"{one.name} needs log-probabilities, which {evaluation.label} lacks; evaluate "
                "with logprobs=true"
            )


def words_of(one: Strategy) -> str:
    """A strategy as it is asked for."""
    settings = one.model_dump(exclude={"name", "budget"})
    return " ".join([one.name, *(f"{key}={value}" for key, value in settings.items())])


@dataclass(frozen=True)
class StrategyResult:
    """A strategy on an evaluation."""

    number: int
    evaluation: str
    strategy: str
    n: int
    """Problems."""
    accuracy: float
    low: float
    high: float
    """95 % interval of the accuracy."""
    samples: float
    """Mean samples per problem."""
    tokens: float
    """Mean generated tokens per problem."""
    flops: float | None
    """Mean inference FLOPs per problem, exact; None for a served model."""
    on_front: bool
    """Whether no other one is at least as accurate and cheaper: by FLOPs where all are known, else
    by tokens."""


def points(
    evaluations: Sequence[Evaluation], strategies: Sequence[Strategy]
) -> list[StrategyResult]:
    """Every strategy on every evaluation, over the problems that all of these share and whose
    answers can be counted. Raises BadInput where there are none."""
    keys = countable(evaluations)
    rows = []
    with progress(len(evaluations) * len(strategies) * len(keys), "strategies", "problems") as bar:
        for evaluation in evaluations:
            for one in strategies:
                outcomes = []
                for key in keys:
                    outcomes.append(_outcome(evaluation, one, evaluation.answers[key]))
                    bar.update()
                rows.append((evaluation.label, one, outcomes))
    results = []
    for number, (label, one, outcomes) in enumerate(rows, 1):
        values = [outcome.value for outcome in outcomes]
        flops = [outcome.flops for outcome in outcomes if outcome.flops is not None]
        results.append(
            StrategyResult(
                number,
                label,
                "one sample" if one == SINGLE else words_of(one),
                len(values),
                fmean(values),
                *interval(values),
                samples=fmean(outcome.samples for outcome in outcomes),
                tokens=fmean(outcome.tokens for outcome in outcomes),
                flops=fmean(flops) if len(flops) == len(values) else None,
                on_front=False,
            )
        )
    return _on_front(results)


def countable(evaluations: Sequence[Evaluation]) -> list[str]:
    """The shared problems whose answers are equal or different; prints which benchmarks have
    others."""
    problems = load(cli.check(Config, dict(evaluations[0].config))).problems
    keys = shared_keys(evaluations)
    check_problems(evaluations[0].label, keys, problems)
    free = {problems[key].source for key in keys if problems[key].kind in FREE}
    found = [key for key in keys if problems[key].kind not in FREE]
    if not found:
        raise BadInput(
            f"{', '.join(sorted(free))}: answers in free text, and to instructions, cannot be "
            "counted; strategies are for benchmarks of numbers, expressions, choices and strings"
        )
    if free:
        print(f"left out, as answers in free text cannot be counted: {', '.join(sorted(free))}")
    return found


def _on_front(results: Sequence[StrategyResult]) -> list[StrategyResult]:
    front = set(pareto.front(costs(results)[0], [one.accuracy for one in results]))
    return [replace(one, on_front=at in front) for at, one in enumerate(results)]


def costs(results: Sequence[StrategyResult]) -> tuple[list[float], str]:
    """The cost of each, and its name: FLOPs where all are known, else tokens."""
    flops = [one.flops for one in results if one.flops is not None]
    if len(flops) == len(results):
        return flops, "inference FLOPs per problem"
    return [one.tokens for one in results], "generated tokens per problem"


@dataclass(frozen=True)
class _Outcome:
    """A strategy on one problem, on average over groups of its samples."""

    value: float
    """Probability that the answer is right."""
    samples: float
    tokens: float
    flops: float | None


def _outcome(
    evaluation: Evaluation, one: Strategy, answers: Sequence[ScoredCompletion]
) -> _Outcome:
    ordered = sorted(answers, key=lambda answer: answer.sample)
    shape, values, asked, tokens, flops = evaluation.facts.shape, [], [], [], []
    for group in _groups(ordered, one.most):
        answer = replay(one, [_sample(row) for row in group])
        values.append(sum(w * group[at].right for at, w in answer.weights.items()))
        asked.append(len(answer.tokens))
        tokens.append(sum(answer.tokens))
        if shape is not None:
            flops.append(cost.generations(shape, group[0].n_prompt, answer.tokens))
    return _Outcome(
        fmean(values), fmean(asked), fmean(tokens), fmean(flops) if shape is not None else None
    )


def _groups(rows: Sequence[ScoredCompletion], size: int) -> Iterator[Sequence[ScoredCompletion]]:
    """Disjoint groups of this size; what is left of the last is not used."""
    for start in range(0, len(rows) - size + 1, size):
        yield rows[start : start + size]


def _sample(row: ScoredCompletion) -> Sample:
    answered = row.extracted is not None and row.verdict != "ungradable"
    return Sample(
        canonical(row.extracted) if answered and row.extracted is not None else None,
        row.n_completion,
        fmean(row.logprobs) if row.logprobs else None,
        text=row.completion,
        answer=row.extracted if answered else None,
        stop=row.stop,
        logprobs=row.logprobs,
    )


def table(results: Sequence[StrategyResult]) -> str:
    """Text for a terminal."""
    width = max(len(one.strategy) for one in results)
    lines = list[str]()
    for one in results:
        if not lines or one.evaluation != results[one.number - 2].evaluation:
            lines.append(
                f"{one.evaluation}\n  {'':{width}}{'accuracy':>10}{'95 %':>16}{'samples':>9}"
                f"{'tokens':>9}{'FLOPs':>10}"
            )
        flops = "–" if one.flops is None else f"{one.flops:.3g}"
        between = f"{one.low:.1%} – {one.high:.1%}"
        lines.append(
            f"  {one.strategy:{width}}{one.accuracy:>10.1%}{between:>16}{one.samples:>9.1f}"
            f"{one.tokens:>9.1f}{flops:>10}{'  on the front' if one.on_front else ''}"
        )
    return "\n".join(lines)


def page(results: Sequence[StrategyResult]) -> str:
    """The chart and the table as one self-contained page."""
    import markupsafe

    values, name = costs(results)
    by_evaluation: dict[str, list[tuple[int, float, float, float, float]]] = {}
    for one, value in zip(results, values, strict=True):
        point = (one.number, value, one.accuracy, one.low, one.high)
        by_evaluation.setdefault(one.evaluation, []).append(point)
    wide, narrow = (
        markupsafe.Markup(strategy_figure(by_evaluation, name, narrow=narrow))
        for narrow in (False, True)
    )
    return render("strategies.html.j2", results=results, cost=name, wide=wide, narrow=narrow)


if __name__ == "__main__":
    cli.leave("strategies", main)
