"""Named benchmarks → test problems, and what is known of them before any model answers."""

from __future__ import annotations

from collections import Counter

from eval.config import Config
from ratiocine import sources
from ratiocine.errors import BadInput
from ratiocine.evaluate import key
from ratiocine.grading import understood
from ratiocine.problems import Problem

BUDGET = 2048  # tokens, where neither the command line nor the benchmark says


def load(config: Config) -> tuple[list[Problem], dict[str, int], dict[str, dict[str, list[str]]]]:
    """The test problems of all benchmarks, the tokens each may take by key, and the ids of dropped rows by benchmark and
    reason."""
    problems: list[Problem] = []
    budgets, dropped = {}, {}
    for data in config.sources():
        loaded = sources.load(data, "test", seed=config.seed, limit=config.limit)
        problems += loaded.problems
        budgets.update({key(problem): config.budget or data.budget or BUDGET for problem in loaded.problems})
        dropped[data.name] = loaded.dropped
    if not problems:
        raise BadInput(f"benchmarks={','.join(config.benchmarks)} hold no test problem")
    return problems, budgets, dropped


def check(config: Config) -> None:
    """Load every benchmark and say, for each, how many problems it has, which rows were dropped because `grade` refuses their
    own reference, and which references only equal text can match. Raises BadInput where rows are malformed, or their number
    is not the one that the pinned files have."""
    for data in config.sources():
        loaded = sources.load(data, "test", seed=config.seed)
        n, lost = len(loaded.problems), sum(map(len, loaded.dropped.values()))
        kinds = ", ".join(f"{count} {kind}" for kind, count in Counter(p.kind for p in loaded.problems).most_common())
        whole = data.hub.count if data.hub else None
        print(f"{data.name}: {n} problems ({kinds}), {lost} dropped" + (f", {whole} in the whole set" if whole else ""))
        for reason, ids in loaded.dropped.items():
            print(f"  {reason}: {', '.join(ids)}")
        if by_text := [problem.id for problem in loaded.problems if not understood(problem)]:
            print(f"  matched by text only: {', '.join(by_text)}")
        if whole and data.root is None and n + lost != whole:
            raise BadInput(f"benchmark {data.name}: {n + lost} rows, where the pinned files have {whole}")
