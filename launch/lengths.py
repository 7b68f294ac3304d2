"""Lengths of pairs for the cost estimate: of finished pairs, of a sample of a set's problems, or
assumed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from math import ceil
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Literal

from distill.config import Config as DistillConfig
from distill.pair_makers import SOLUTIONS, from_solution
from launch.config import Assumptions
from ratiocine import cli, models, runs
from ratiocine.data import DataConfig, local_file, sources, token_counts
from ratiocine.errors import BadInput, Failure
from ratiocine.models import ModelConfig
from ratiocine.prompts import completion_ids, prompt_ids, user_text
from ratiocine.records import SIDES, Problem
from train.dataset import pairs_file

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SAMPLE = 32  # problems of each family or file whose lengths are measured
# Means of the published general pairs (arXiv 2509.22193), for answers that are not written yet.
ASSUMED = {"ift": 435.0, "reasoning": 2591.0}
PACKAGED = "smollm2-135m"  # whose tokenizer counts where that of the student is not at hand


@dataclass(frozen=True)
class PairLengths:
    """Number of pairs of a set, and the mean tokens of prompts and of both modes."""

    n: int
    prompt: float
    ift: float
    reasoning: float
    source: str
    """Where the numbers come from, for a message."""
    tokenizer: str | None = None
    """The model whose tokenizer counts; None if unknown."""
    long_trace: int | None = None
    """95 % quantile of the tokens of reasoning completions; None if unknown."""


def finished_lengths(folders: Sequence[str]) -> PairLengths:
    """Of the pairs in finished folders, as their manifests state."""
    facts = [runs.read_manifest(Path(folder)).pairs for folder in folders]
    n = sum(fact.n for fact in facts)
    prompt, ift, reasoning = (
        sum(fact.n * fact.mean_tokens[side] for fact in facts) / n
        for side in ("prompt", "ift", "reasoning")
    )
    counted = {str(runs.read_config(Path(folder))["model"]["name"]) for folder in folders}
    tokens = [
        n
        for folder in folders
        for n in token_counts.columns(pairs_file(folder), {"n": "n_tokens_reasoning"})["n"]
    ]
    source = f"as in {', '.join(map(str, folders))}"
    tokenizer = ", ".join(sorted(counted))
    return PairLengths(n, prompt, ift, reasoning, source, tokenizer, _quantile(tokens))


def _quantile(tokens: Sequence[float]) -> int:
    return ceil(sorted(tokens)[ceil(0.95 * len(tokens)) - 1])


def expected_lengths(
    name: str, config: DistillConfig, student: ModelConfig, known: Assumptions
) -> PairLengths | None:
    """Of pairs to distill: the assumptions, completed from a sample of the problems in tokens of a
    student's model. None where the number of problems is unknown."""
    given = {
        side: table[name]
        for side, table in (
            ("pairs", known.pairs),
            ("prompt", known.prompt),
            ("ift", known.ift),
            ("reasoning", known.reasoning),
        )
        if name in table
    }
    if len(given) == 4:
        return PairLengths(int(given["pairs"]), *_sides(given), "study.assumptions")
    n = given.get("pairs") or count(config.data, "train", config.limit)
    if n is None:
        return None
    counter, tokenizer = _tokenizer(student)
    sample = _sample(config, tokenizer)
    measured = {side: fmean(tokens) for side, tokens in sample.items()}
    found = {**ASSUMED, "prompt": known.prompt_tokens, **measured, **given}
    assumed = [side for side in SIDES if side not in measured and side not in given]
    told = ["measured on a sample"] if measured else []
    if assumed:
        hint = f"study.assumptions.{assumed[0]}={{{name}: N}}"
        told.append(f"{', '.join(assumed)} assumed; {hint} says better")
    own = "reasoning" in sample and "reasoning" not in given
    long_trace = _quantile(sample["reasoning"]) if own else None
    return PairLengths(
        int(n), *_sides(found), "; ".join(told), counter if sample else None, long_trace
    )


def _sides(values: dict[str, float]) -> tuple[float, float, float]:
    return values["prompt"], values["ift"], values["reasoning"]


def count(data: DataConfig, split: Literal["train", "test"], limit: int | None) -> int | None:
    """Problems of a source, at most `limit` of each family or file; None for those of the hub whose
    number is not in conf/data."""
    bound = limit or float("inf")
    if data.families:
        sizes = [getattr(family, split) for family in data.families.values()]
        return int(sum(min(bound, size) for size in sizes))
    if data.mix:
        return data.n
    if data.hub is None and local_file(data, split) is not None:
        try:
            return int(min(bound, sum(1 for _ in sources.read(data, split, 0))))
        except Failure:  # a task whose rows are on the hub
            return limit
    if split == "test" and data.hub is not None and data.hub.count:
        return int(min(bound, data.hub.count))
    return limit


def _tokenizer(student: ModelConfig) -> tuple[str, PreTrainedTokenizerBase]:
    """A student's tokenizer with the name of its model; where it is not at hand, that of the
    packaged model."""
    try:
        return runs.base_name(student.name, student.path), models.load_tokenizer(student)
    except (BadInput, Failure, OSError):
        packaged = cli.named("model", PACKAGED, ModelConfig)
        return PACKAGED, models.load_tokenizer(packaged)


def _sample(config: DistillConfig, tokenizer: PreTrainedTokenizerBase) -> dict[str, list[float]]:
    """Tokens of prompts, and of both modes where the teacher writes solutions of its own or of
    the data; empty for data of the hub."""
    data = config.data
    if not data.families and (data.hub or local_file(data, "train") is None):
        return {}
    read = groupby(sources.read(data, "train", config.seed), lambda problem: problem.source)
    try:
        problems = [problem for _, some in read for problem in islice(some, SAMPLE)]
    except Failure:  # a task whose rows are on the hub
        return {}
    texts = {"prompt": [user_text(problem) for problem in problems]}
    if config.teacher.name in SOLUTIONS:
        sides = [made for problem in problems if (made := _solved(config, problem))]
        texts |= {"ift": [one for one, _ in sides], "reasoning": [other for _, other in sides]}

    def tokens(side: str, text: str) -> float:
        ids = prompt_ids if side == "prompt" else completion_ids
        return len(ids(tokenizer, text))

    return {side: [tokens(side, text) for text in some] for side, some in texts.items() if some}


def _solved(config: DistillConfig, problem: Problem) -> tuple[str, str] | None:
    return from_solution(config, problem).sides
