"""Named benchmarks → the requests that an engine is asked, and what is known of them before any model answers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

from eval.config import Config
from ratiocine.data import DataConfig, sources
from ratiocine.engines import Message, Request
from ratiocine.errors import BadInput
from ratiocine.evaluate import check_names, key
from ratiocine.grading import understood
from ratiocine.hashing import digest
from ratiocine.prompts import PLAIN_STOP, user_text
from ratiocine.records import Problem


@dataclass
class Suite:
    """The problems of all benchmarks by key, the tokens each may take, the ids of dropped rows by benchmark and reason, and by
    benchmark the solved problems that are shown first."""

    problems: dict[str, Problem] = field(default_factory=dict)
    budgets: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    shots: dict[str, tuple[Message, ...]] = field(default_factory=dict)

    def requests(self, config: Config, done: Collection[tuple[str, int]] = ()) -> list[Request]:
        """What an engine is asked, the longest first; `done` holds the keys and samples that are already there."""
        found = []
        for name, problem in self.problems.items():
            samples = tuple(s for s in range(config.samples) if (name, s) not in done)
            if samples:
                messages = (
                    *self.shots.get(problem.source, ()),
                    {"role": "user", "content": user_text(problem)},
                )
                found.append(
                    Request(
                        name,
                        messages,
                        self.budgets[name],
                        thinking=config.thinking,
                        temperature=config.temperature,
                        stop=PLAIN_STOP if config.model.chat_template == "plain" else (),
                        top_p=config.top_p,
                        seed=config.seed,
                        samples=samples,
                        logprobs=config.logprobs,
                    )
                )
        return sorted(found, key=lambda request: -request.max_new_tokens)


def load(config: Config) -> Suite:
    """Everything that is asked. Raises BadInput where there is nothing."""
    suite = Suite()
    for data in config.sources():
        loaded = sources.load(data, "test", seed=config.seed)
        suite.dropped[data.name] = dict(loaded.dropped)
        if without := [
            p.id for p in loaded.problems if p.reference is None and p.kind != "instructions"
        ]:
            suite.dropped[data.name]["no_reference"] = without
            loaded.problems[:] = [
                p for p in loaded.problems if p.reference is not None or p.kind == "instructions"
            ]
        for reason, ids in suite.dropped[data.name].items():
            print(
                f"{data.name}: {len(ids)} dropped ({reason}): {', '.join(ids[:5])}{' …' if len(ids) > 5 else ''}"
            )
        if config.num_fewshot:
            shown = _shown(data, loaded.problems, config)
            for problem in shown:
                suite.shots[problem.source] = (
                    *suite.shots.get(problem.source, ()),
                    *solved(problem),
                )
            held = {key(problem) for problem in shown}
            if taken := [problem.id for problem in loaded.problems if key(problem) in held]:
                suite.dropped[data.name]["shown_as_example"] = taken
            loaded.problems[:] = [
                problem for problem in loaded.problems if key(problem) not in held
            ]
        for problem in sources.limited(loaded.problems, config.limit, config.seed):
            check_names(data.name, problem.source, problem.category)
            suite.problems[key(problem)] = problem
            suite.budgets[key(problem)] = config.budget_of(data)
    if not suite.problems:
        why = "; ".join(
            f"{len(ids)} {reason}" for of in suite.dropped.values() for reason, ids in of.items()
        )
        raise BadInput(
            f"benchmarks={','.join(config.benchmarks)} hold no test problem"
            + (f" (dropped: {why})" if why else "")
        )
    return suite


def _shown(data: DataConfig, test: list[Problem], config: Config) -> list[Problem]:
    """`shots` solved problems of each source: of the training split where there is one, else of the test split, and then they
    are not scored. None where the answers of a benchmark are not given (IFEval)."""
    pool = (
        sources.load(data, "train", seed=config.seed).problems
        if sources.has(data, "train")
        else test
    )
    chosen: list[Problem] = []
    for source in sorted({problem.source for problem in pool}):
        of_source = [p for p in pool if p.source == source and p.reference is not None]
        chosen += sorted(of_source, key=lambda problem: digest("shots", config.seed, problem.id))[
            : config.num_fewshot
        ]
    return chosen


def solved(problem: Problem) -> tuple[Message, Message]:
    """A problem and its answer as two turns; the worked solution goes before the answer where the data set has one."""
    assert problem.reference is not None
    solution = re.sub("<<[^>]*>>", "", str(problem.meta.get("solution") or ""))
    boxed = f"\\boxed{{{problem.reference}}}"
    answer = solution if boxed in solution else f"{solution}\n{boxed}".strip()
    return {"role": "user", "content": user_text(problem)}, {"role": "assistant", "content": answer}


def check(config: Config) -> None:
    """Load every benchmark and say, for each, how many problems it has, which rows were dropped because `grade` refuses their
    own reference, and which references only equal text can match. Raises BadInput where rows are malformed, or their number
    is not the one that the pinned files have."""
    for data in config.sources():
        loaded = sources.load(data, "test", seed=config.seed)
        n, lost = len(loaded.problems), sum(map(len, loaded.dropped.values()))
        kinds = ", ".join(
            f"{count} {kind}"
            for kind, count in Counter(p.kind for p in loaded.problems).most_common()
        )
        whole = data.hub.count if data.hub else None
        print(
            f"{data.name}: {n} problems ({kinds}), {lost} dropped"
            + (f", {whole} in the whole set" if whole else "")
        )
        for reason, ids in loaded.dropped.items():
            print(f"  {reason}: {', '.join(ids)}")
        if by_text := [problem.id for problem in loaded.problems if not understood(problem)]:
            print(f"  matched by text only: {', '.join(by_text)}")
        if whole and data.data_dir is None and n + lost != whole:
            raise BadInput(
                f"benchmark {data.name}: {n + lost} rows, where the pinned files have {whole}"
            )
