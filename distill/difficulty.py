"""python -m distill.difficulty model=JUDGE data=DATA out=FILE: difficulty of problems by a judge.

As DeepScaleR's difficulty judge: the score of a problem is the mean of 8 samples at temperature
0.7, each between 1 and 10. Differences: the prompt is in words of our own and names no standard of
one subject; a reply without a score is counted by reason; a problem without any score has none.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import replace
from itertools import chain
from pathlib import Path
from statistics import fmean

from pydantic import Field, NonNegativeFloat, PositiveInt, field_validator, model_validator

from distill import pass_counts
from distill.answer_cache import Answer, AnswerCache, answer_key
from distill.config import Price, Spend
from distill.difficulty_scores import HIGHEST, LOWEST, Correlation, ProblemScore, Scores
from distill.missing_answers import MissingAnswers, portions, report_cached
from distill.rejection_rules import stop_fault
from distill.spending import Spending
from distill.teacher_config import local_name, served_name
from ratiocine import cli, engines
from ratiocine.completion_parts import split
from ratiocine.config import Hashed, PositiveShare, Seed, StrictConfig, TokenCount, Unhashed
from ratiocine.data import DataConfig, sources
from ratiocine.devices import Device, Dtype
from ratiocine.engines import EngineConfig, Request, TransformersConfig
from ratiocine.errors import BadInput, Failure
from ratiocine.evaluate import key
from ratiocine.models import ModelConfig
from ratiocine.progress import count_earlier, progress
from ratiocine.prompts import user_text
from ratiocine.records import Mode, Problem
from ratiocine.runs import check_writable, write_whole

PROMPT = (
    "Below is a problem. Do not solve it. Judge how difficult a correct solution is, on a scale "
    "from 1 to 10, for a person with a good general education: 1 for a single obvious step, 3 for "
    "several routine steps, 5 for a problem that needs an idea, 7 for one that a contest for "
    "gifted pupils would end with, 10 for one that few experts solve. Decimals are allowed. End "
    "your reply with a line that holds the score alone:\nDifficulty: SCORE"
)
SCALE = re.compile(r"\s*(?:/|\(?(?:out )?of)\s*10(?!\.?\d)")  # "7/10", "7 out of 10"
WORD = re.compile(r"[^\s:={]*\d[^\s:=}]*")  # with a digit
NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")


class PassRates(StrictConfig):
    """The pass rates that scores are compared with."""

    run: Unhashed[str]
    """A finished `distill` run over the same data."""
    mode: Unhashed[Mode] = "reasoning"


class DifficultyConfig(StrictConfig):
    """conf/distill.difficulty.yaml documents the keys."""

    model: Hashed[ModelConfig | None] = None
    engine: Hashed[EngineConfig] = TransformersConfig()
    data: Hashed[DataConfig]
    out: Unhashed[str]
    limit: Hashed[PositiveInt | None] = None
    samples: Hashed[PositiveInt] = 8
    temperature: Hashed[NonNegativeFloat] = 0.7
    top_p: Hashed[PositiveShare] = 1.0
    max_new_tokens: Hashed[TokenCount] = 2048
    thinking: Hashed[bool | None] = None
    seed: Hashed[Seed] = 0
    pass_rates: Unhashed[PassRates | None] = None
    retry_refused: Unhashed[bool] = False
    answer_cache: Unhashed[str] = Field(default="runs/answers.sqlite")
    dtype: Hashed[Dtype] = "auto"
    device: Unhashed[Device] = "auto"
    threads: Unhashed[PositiveInt | None] = None

    @field_validator("out", mode="before")
    @classmethod
    def _given(cls, value: object) -> object:
        if value is None:
            raise ValueError("give the JSON file to write: out=FILE")
        return value

    @model_validator(mode="after")
    def _has_judge(self) -> DifficultyConfig:
        if self.engine.name != "openai" and self.model is None:
            raise ValueError(f"engine={self.engine.name} needs a judge: model=NAME or model=FOLDER")
        if self.engine.name == "openai" and self.model is not None:
            raise ValueError(
                "model= means nothing with engine=openai, whose judge is engine.model="
                f"{self.engine.model}"
            )
        if self.samples > 1 and self.temperature == 0:
            raise ValueError(
                f"samples={self.samples} at temperature=0 would be the same reply "
                f"{self.samples} times"
            )
        return self

    @property
    def judge(self) -> str:
        """The judge in the keys of the answer cache."""
        if self.engine.name == "openai":
            return served_name(self.engine)
        assert self.model is not None
        return local_name(self.model, self.dtype)


def run(config: DifficultyConfig) -> None:
    out = Path(config.out)
    if out.is_dir():
        raise BadInput(f"out={out} is a folder: give the name of a file")
    check_writable(out.parent)
    rates = config.pass_rates
    counts = None if rates is None else pass_counts.read(Path(rates.run), rates.mode)
    loaded = sources.load(config.data, "train", seed=config.seed, limit=config.limit)
    if not loaded.problems:
        raise BadInput(f"data={config.data.label} holds no problem to judge")
    cache = AnswerCache(Path(config.answer_cache))
    requests = {key(problem): request(config, problem) for problem in loaded.problems}
    query(config, list(requests.values()), cache)
    complete = {"stop"}
    if config.engine.name == "openai":
        complete |= config.engine.complete
    problems = {
        name: problem_score(_replies(config.judge, asked, cache), complete)
        for name, asked in requests.items()
    }
    correlated = None
    if rates is not None and counts is not None:
        correlated = correlation(rates, problems, counts)
    scores = _scores(config, problems, correlated)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(out, scores.to_json())
    _print_summary(config, scores)


def request(config: DifficultyConfig, problem: Problem) -> Request:
    """The request for the scores of one problem, whose task instruction the judge does not see."""
    text = f"{PROMPT}\n\nProblem:\n{user_text(replace(problem, instruction=''))}"
    return Request(
        f"difficulty/{key(problem)}",
        ({"role": "user", "content": text},),
        config.max_new_tokens,
        thinking=config.thinking,
        temperature=config.temperature,
        top_p=config.top_p,
        seed=config.seed,
        samples=tuple(range(config.samples)),
    )


def query(config: DifficultyConfig, requests: Sequence[Request], cache: AnswerCache) -> None:
    """Request every reply that the cache lacks; the engine is loaded only if it lacks any."""
    missing = MissingAnswers(
        requests,
        config.judge,
        cache,
        Spending(Price(), Spend()),
        servers=engines.servers(config.engine),
        retry_refused=config.retry_refused,
    )
    lacking, wanted = iter(missing), len(requests) * config.samples
    first = next(lacking, None)
    if first is None:
        return report_cached([missing], wanted, "replies", config.engine)
    engine = engines.load(
        config.engine,
        config.model or ModelConfig(name="served", kind="served"),
        required=set() if config.thinking is None else {"thinking"},
        dtype=config.dtype,
        device=config.device,
        threads=config.threads,
    ).engine
    n_new = 0
    with progress(wanted, "difficulty", "replies", initial=missing.n_cached) as bar:
        for portion in portions(engine, chain([first], lacking)):
            for completions in engine.generate(portion):
                cache.add(missing.answered(completion) for completion in completions)
                n_new += len(completions)
                bar.update(len(completions))
                count_earlier(bar, n_new + missing.n_cached - bar.n)
        count_earlier(bar, n_new + missing.n_cached - bar.n)
    report_cached([missing], wanted, "replies", config.engine)


def _replies(judge: str, asked: Request, cache: AnswerCache) -> Iterator[Answer]:
    for answer in cache.get([answer_key(judge, asked, sample) for sample in asked.samples]):
        assert answer is not None
        yield answer


def problem_score(replies: Iterator[Answer], complete: Set[str]) -> ProblemScore:
    """The mean over the replies, whose `stop` must be one of `complete`."""
    samples, unparsable = list[float | None](), dict[str, str]()
    for number, reply in enumerate(replies):
        parts = split(reply.text)
        score = None
        if reply.stop not in complete:
            unparsable[str(number)] = stop_fault(reply.stop)
        elif not parts.closed:
            unparsable[str(number)] = "unclosed_trace"
        elif (score := last_score(parts.answer)) is None:
            unparsable[str(number)] = "no_score"
        samples.append(score)
    parsed = [score for score in samples if score is not None]
    return ProblemScore(fmean(parsed) if parsed else None, samples, unparsable)


def last_score(text: str) -> float | None:
    """The last number of a reply; None if that is no plain integer or decimal from 1 to 10."""
    words = WORD.findall(SCALE.sub("", text))
    number = words[-1].strip("*_`$\"'()[].,;!") if words else ""
    if not NUMBER.fullmatch(number):
        return None
    return score if LOWEST <= (score := float(number)) <= HIGHEST else None


def correlation(
    rates: PassRates,
    problems: Mapping[str, ProblemScore],
    counts: Mapping[str, tuple[int, int]],
) -> Correlation:
    """Spearman's correlation of the scores with the failure rates, where a problem has both."""
    both = [
        (row.score, 1 - counts[name][0] / counts[name][1])
        for name, row in problems.items()
        if row.score is not None and counts.get(name, (0, 0))[1]
    ]
    scores, failures = [score for score, _ in both], [failed for _, failed in both]
    if len(both) < 3 or len(set(scores)) == 1 or len(set(failures)) == 1:
        return Correlation(rates.run, rates.mode, len(both), None, None)
    from scipy.stats import spearmanr

    found = spearmanr(scores, failures)
    return Correlation(
        rates.run, rates.mode, len(both), float(found.statistic), float(found.pvalue)
    )


def _scores(
    config: DifficultyConfig, problems: dict[str, ProblemScore], correlated: Correlation | None
) -> Scores:
    reasons = Counter(reason for row in problems.values() for reason in row.unparsable.values())
    return Scores(
        schema_version=1,
        judge=config.judge,
        data=config.data.label,
        samples=config.samples,
        temperature=config.temperature,
        top_p=config.top_p,
        max_new_tokens=config.max_new_tokens,
        seed=config.seed,
        unparsable=dict(reasons.most_common()),
        without_score=sum(row.score is None for row in problems.values()),
        correlation=correlated,
        problems=problems,
    )


def _print_summary(config: DifficultyConfig, scores: Scores) -> None:
    n, n_scored = len(scores.problems), len(scores.problems) - scores.without_score
    print(
        f"{n_scored} of {n} problems have a score; {sum(scores.unparsable.values())} of "
        f"{n * config.samples} replies are unparsable {scores.unparsable or ''}".rstrip()
    )
    if n_scored:
        values = [row.score for row in scores.problems.values() if row.score is not None]
        print(f"mean {fmean(values):.2f}, from {min(values):g} to {max(values):g}: {config.out}")
    if (found := scores.correlation) is not None:
        what = f"Spearman correlation with 1 - pass rate ({found.mode}) over {found.n} problems"
        known = found.rho is not None and found.p is not None
        said = f"{found.rho:.3f} (p = {found.p:.2g})" if known else "undefined: no variation"
        print(f"{what}: {said}")
    if n and not n_scored:
        raise Failure(
            f"not one reply of {config.judge} holds a score ({scores.unparsable}): a stronger "
            f"judge, or more than max_new_tokens={config.max_new_tokens}"
        )


if __name__ == "__main__":
    cli.main("distill.difficulty", DifficultyConfig, run)
