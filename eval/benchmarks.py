"""Benchmarks by name → requests to an engine, and the checks that need no model."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from heapq import nsmallest
from itertools import chain
from pathlib import Path
from statistics import fmean

from eval import training_rows
from eval.config import Config
from eval.report import count
from ratiocine.data import (
    FAMILIES,
    NO_REFERENCE,
    DataConfig,
    TextReferences,
    pairs_beside,
    sources,
)
from ratiocine.engines import Message, Request
from ratiocine.errors import BadInput
from ratiocine.evaluate import key
from ratiocine.grading import KINDS, understood
from ratiocine.hashing import digest
from ratiocine.prompts import PLAIN_STOP, user_text
from ratiocine.records import Pair, Problem
from ratiocine.scores import check_names
from ratiocine.stores import stream_pairs

LISTED = 5  # ids of dropped rows that are printed


@dataclass
class Suite:
    """The problems of all benchmarks."""

    problems: dict[str, Problem] = field(default_factory=dict)
    """By key."""
    max_new_tokens: dict[str, int] = field(default_factory=dict)
    """By key of the problem."""
    dropped: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    """Ids of dropped rows, by benchmark and reason."""
    shots: dict[str, tuple[Message, ...]] = field(default_factory=dict)
    """Solved examples before a question, by source."""
    guesses: dict[str, float] = field(default_factory=dict)
    """Accuracy of a guess among the answers that an open question allows, by source."""

    def requests(self, config: Config, done: Collection[tuple[str, int]] = ()) -> list[Request]:
        """One request for each problem, the longest first; `done` holds key and sample of the
        completions that exist."""
        found = []
        for name, problem in self.problems.items():
            samples = tuple(s for s in range(config.samples) if (name, s) not in done)
            if samples:
                found.append(self._request(name, problem, samples, config))
        return sorted(found, key=lambda request: -request.max_new_tokens)

    @property
    def chance(self) -> dict[str, float]:
        """Mean chance of a random choice, or of a guess among the answers that the question allows,
        to be right, by benchmark, and by `benchmark/category` of one with several; 0 where that is
        unknown."""
        found: dict[str, dict[str, list[float]]] = {}
        for problem in self.problems.values():
            guess = self.guesses.get(problem.source, 0.0)
            share = 1 / len(problem.choices) if problem.choices else guess
            found.setdefault(problem.source, {}).setdefault(problem.category, []).append(share)
        shares = {name: [*chain(*of.values())] for name, of in found.items()}
        for name, of in found.items():
            if len(of) > 1:
                shares |= {f"{name}/{category}": own for category, own in of.items()}
        return {name: round(fmean(own), 6) for name, own in shares.items()}

    def _request(
        self, name: str, problem: Problem, samples: tuple[int, ...], config: Config
    ) -> Request:
        question = {"role": "user", "content": user_text(problem)}
        return Request(
            name,
            (*self.shots.get(problem.source, ()), question),
            self.max_new_tokens[name],
            thinking=config.thinking,
            temperature=config.temperature,
            stop=PLAIN_STOP if config.model.chat_template == "plain" else (),
            top_p=config.top_p,
            seed=config.seed,
            samples=samples,
            logprobs=config.logprobs,
        )


def load(config: Config) -> Suite:
    """The test problems of all benchmarks. Raises BadInput where there is none."""
    suite = Suite()
    for data in config.sources():
        loaded = _gradable(data, config)
        problems, suite.dropped[data.name] = loaded.problems, loaded.dropped
        for reason, ids in loaded.dropped.items():
            more = " …" if len(ids) > LISTED else ""
            listed = "; ".join(loaded.told(ids[:LISTED]))
            print(f"{data.name}: {len(ids)} dropped ({reason}): {listed}{more}")
        for warning in TextReferences(problems, data.decimal).warnings if data.path else ():
            print(f"{data.name}: {warning}")
        if not problems:
            raise BadInput(f"benchmark {data.name} holds no test problem{_why(loaded.dropped)}")
        if config.num_fewshot:
            problems = _with_examples(suite, data, problems, config)
            for name, turns in suite.shots.items():
                if name == data.name and (n := len(turns) // 2) < config.num_fewshot:
                    print(f"warning: num_fewshot={config.num_fewshot}: {name} has {n} examples")
        for name, family in data.families.items():
            suite.guesses[name] = FAMILIES[family.family or name].guess
        for problem in sources.limited(problems, config.limit, config.seed):
            check_names(data.name, problem.source, problem.category)
            suite.problems[key(problem)] = problem
            suite.max_new_tokens[key(problem)] = config.max_new_tokens_of(data)
    if not suite.problems:
        why = _why(*suite.dropped.values())
        raise BadInput(f"benchmarks={','.join(config.benchmarks)} hold no test problem{why}")
    return suite


def _why(*dropped: Mapping[str, Sequence[str]]) -> str:
    """The reasons in the message about benchmarks without problems."""
    counts = [f"{len(ids)} {reason}" for of in dropped for reason, ids in of.items()]
    reasons = "; ".join(counts)
    hint = f": {NO_REFERENCE}" if any("no_reference" in of for of in dropped) else ""
    return f" (dropped: {reasons}{hint})" if reasons else ""


def check_problems(name: str, keys: Iterable[str], problems: Mapping[str, Problem]) -> None:
    """Raise BadInput where saved completions, with these keys of problems, are of problems that the
    benchmarks lack today."""
    missing = next((key for key in keys if key not in problems), None)
    if missing is not None:
        raise BadInput(
            f"{name} has completions of problems that its benchmarks no longer have, such as "
            f"{missing}"
        )


def _gradable(data: DataConfig, config: Config) -> sources.Loaded:
    """The test problems that can be graded, and the others by reason."""
    loaded = sources.load(data, "test", seed=config.seed)
    problems = list[Problem]()
    for problem in loaded.problems:
        if problem.kind == "instructions" and not KINDS["instructions"].usable(problem):
            loaded.drop(problem, "instructions_not_checkable")
        elif problem.reference is None and problem.kind != "instructions":
            loaded.drop(problem, "no_reference")
        else:
            problems.append(problem)
    return replace(loaded, problems=problems)


def _with_examples(
    suite: Suite, data: DataConfig, problems: list[Problem], config: Config
) -> list[Problem]:
    """Add solved examples to the suite; returns the problems that are none of them."""
    if (pairs := pairs_beside(data)) is not None:
        suite.shots[data.name] = _of_pairs(pairs, config)
        return problems
    examples = _examples(data, problems, config)
    for example in examples:
        shots = suite.shots.get(example.source, ())
        suite.shots[example.source] = (*shots, *solved(example))
    keys = {key(example) for example in examples}
    if taken := [problem.id for problem in problems if key(problem) in keys]:
        suite.dropped[data.name]["shown_as_example"] = taken
    return [problem for problem in problems if key(problem) not in keys]


def _of_pairs(pairs: Path, config: Config) -> tuple[Message, ...]:
    """`num_fewshot` of the pairs beside a test split, with their direct answers."""

    def order(pair: Pair) -> str:
        return digest("shots", config.seed, pair.id)

    chosen = nsmallest(config.num_fewshot, stream_pairs(pairs), key=order)
    return tuple(
        message
        for pair in chosen
        for message in (
            {"role": "user", "content": pair.prompt},
            {"role": "assistant", "content": pair.ift},
        )
    )


def _examples(data: DataConfig, test: Sequence[Problem], config: Config) -> list[Problem]:
    """`num_fewshot` problems of each source: of the training split where there is one, else of the
    test split. None where a benchmark publishes no answers (IFEval)."""
    pool = test
    if sources.has(data, "train"):
        pool = sources.load(data, "train", seed=config.seed).problems
    chosen: list[Problem] = []
    for source in sorted({problem.source for problem in pool}):
        of_source = [p for p in pool if p.source == source and p.reference is not None]
        ordered = sorted(of_source, key=lambda p: digest("shots", config.seed, p.id))
        chosen += ordered[: config.num_fewshot]
    return chosen


def solved(problem: Problem) -> tuple[Message, Message]:
    """A problem and its answer as two turns, with the data set's solution where there is one."""
    assert problem.reference is not None
    solution = re.sub("<<[^>]*>>", "", str(problem.meta.get("solution") or ""))
    boxed = f"\\boxed{{{problem.reference}}}"
    answer = solution if boxed in solution else f"{solution}\n{boxed}".strip()
    return {"role": "user", "content": user_text(problem)}, {"role": "assistant", "content": answer}


def check(config: Config) -> None:
    """Load every benchmark and print its number of problems, the rows that cannot be graded, by
    reason, and the references that match as equal text only.

    Raises BadInput for malformed rows, for a benchmark without problems, and for a number
    of rows unlike that of the pinned files.
    """
    for line in training_rows.warnings(config):
        print(line)
    for data in config.sources():
        loaded = _gradable(data, config)
        problems, dropped = loaded.problems, loaded.dropped
        n, lost = len(problems), sum(map(len, dropped.values()))
        counts = Counter(problem.kind for problem in problems).most_common()
        kinds = ", ".join(f"{of_kind} {kind}" for kind, of_kind in counts)
        pinned = data.hub.count if data.hub else None
        total = f", {pinned} in the whole set" if pinned else ""
        print(f"{data.name}: {count(n, 'problem')} ({kinds}), {lost} dropped{total}")
        for reason, ids in dropped.items():
            print(f"  {reason}: {'; '.join(loaded.told(ids))}")
        for warning in TextReferences(problems, data.decimal).warnings if data.path else ():
            print(f"  {warning}")
        if by_text := [problem.id for problem in problems if not understood(problem)]:
            print(f"  matched by text only: {', '.join(by_text)}")
        if pinned and data.data_dir is None and n + lost != pinned:
            raise BadInput(
                f"benchmark {data.name}: {n + lost} rows, where the pinned files have {pinned}"
            )
        if not n:
            raise BadInput(f"benchmark {data.name} holds no test problem{_why(dropped)}")
