"""Which arms of a study are compared with each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import inf, log

from eval.report.arms import Arm, counterparts, varying
from eval.report.evaluations import answer_formats, right_shares
from eval.report.hypotheses import Hypothesis
from eval.report.study import Study, only
from ratiocine.executors import num_cpus
from ratiocine.stats import PairedDifference, pooled

EQUAL_COST = 1.5

Pair = tuple[Arm, Arm]  # base, and the arm that is compared with it


def difference(pair: Pair, keys: Sequence[str]) -> PairedDifference:
    """Accuracy of an arm minus that of its base, over these problems and the seeds of both."""
    both = counterparts(*pair)
    first, second = (
        [right_shares(evaluations[side], keys) for evaluations in both] for side in (0, 1)
    )
    return PairedDifference.of(first, second, varying(both))


class Comparisons:
    """The paired differences of a study over its categories and benchmarks.

    The variance between seeds is pooled over the pairs of trained arms, for the groups of one
    answer format. Pairs with a strategy are pooled among themselves: they are the same students
    again, and change nothing of the others."""

    def __init__(self, study: Study) -> None:
        own = (ratio_pairs, ratio_pairs_with_strategies, baseline_pairs)
        every = (*CONTRASTS.values(), *own)
        pairs = {_labels(pair): pair for of_kind in every for pair in of_kind(study)}
        plain = {arm.label for arm in study.arms if not arm.trained or arm in study.plain}
        same_students = set(map(_labels, strategy_pairs(study)))
        self._found: dict[tuple[str, str, str], PairedDifference] = {}
        both = (study.groups, study.benchmarks)
        # A benchmark that is a category of its own is compared once.
        distinct = {tuple(keys): keys for groups in both for keys in groups.values()}
        jobs = [(pair, keys) for pair in pairs.values() for keys in distinct.values()]
        with ThreadPoolExecutor(num_cpus()) as threads:  # numpy resamples without the global lock
            results = threads.map(lambda job: difference(*job), jobs)
            of = {
                (*_labels(pair), id(keys)): one
                for (pair, keys), one in zip(jobs, results, strict=True)
            }
        for groups in both:
            names = [(*labels, group) for labels in pairs for group in groups]
            found = [
                of[(*labels, id(distinct[tuple(keys)]))]
                for labels in pairs
                for keys in groups.values()
            ]
            formats = [answer_formats(study.evaluations[0], keys) for keys in groups.values()]
            kinds = [
                (plain.issuperset(labels), labels in same_students, one)
                for labels in pairs
                for one in formats
            ]
            self._found |= zip(names, pooled(found, kinds), strict=True)

    def of(self, pair: Pair, group: str) -> PairedDifference:
        """Of a pair in a category, a benchmark or `all`."""
        return self._found[(*_labels(pair), group)]


def _labels(pair: Pair) -> tuple[str, str]:
    return pair[0].label, pair[1].label


def is_tested(hypothesis: Hypothesis, study: Study, pair: Pair) -> bool:
    """Whether a hypothesis is on this pair of its contrast, in a group of the study."""
    known = hypothesis.group in study.groups or hypothesis.group in study.benchmarks
    return known and hypothesis.model in (None, pair[1].model)


def ratio_pairs(study: Study) -> list[Pair]:
    """Each ratio and the lowest one (0, in most studies), otherwise trained alike.

    A scenario without an arm at the lowest ratio is compared with the mixed one there.
    """
    return _by_ratio(study.plain)


def ratio_pairs_with_strategies(study: Study) -> list[Pair]:
    """The same of arms that answer with the same strategy."""
    found: list[Pair] = []
    if study.plain != study.trained:
        arms = [arm for arm in study.trained if arm.has_strategy]
        for condition in dict.fromkeys(arm.condition for arm in arms):
            found += _by_ratio([arm for arm in arms if arm.condition == condition])
    return found


def _by_ratio(arms: Sequence[Arm]) -> list[Pair]:
    found = []
    for arm in arms:
        lower = [
            other
            for other in arms
            if _ratio(other) < _ratio(arm) < inf
            and (
                other.alike(arm, "ratio")
                or (other.axes.scenario == "mixed" and other.alike(arm, "ratio", "scenario"))
            )
        ]
        ranks = [(_ratio(other), other.axes.scenario != arm.axes.scenario) for other in lower]
        base = only(other for other, rank in zip(lower, ranks, strict=True) if rank == min(ranks))
        found += [] if base is None else [(base, arm)]
    return found


def _ratio(arm: Arm) -> float:
    return inf if arm.ratio is None else arm.ratio


def _equal_examples(arm: Arm) -> bool:
    return arm.axes.equalize in (None, "examples")


def scenario_pairs(study: Study) -> list[Pair]:
    """Each other scenario and the mixed one at the same ratio; for a scenario with modes by
    domain, the same without reasoning."""
    found = []
    for arm in study.plain:
        scenario = arm.axes.scenario
        usual = "mixed" if arm.ratio is not None else scenario.replace("reasoning", "ift")
        base = None if usual == scenario else study.with_axes(arm, scenario=usual)
        found += [] if base is None else [(base, arm)]
    return found


def compute_pairs(study: Study) -> list[Pair]:
    """Each ratio, and ratio 0 trained for the FLOPs (or tokens) of reasoning."""
    found = []
    for equalize in ("flops", "tokens"):
        for arm in study.plain:
            if arm.ratio and _equal_examples(arm):
                base = study.with_axes(arm, equalize=equalize, ratio=0.0) or study.with_axes(
                    arm, equalize=equalize, ratio=0.0, scenario="mixed"
                )
                found += [] if base is None else [(base, arm)]
    return found


def reward_pairs(study: Study) -> list[Pair]:
    """Each arm trained with rewards, and the arm (or model) it started from."""
    by_hash = {
        evaluation.student.hash: arm
        for arm in study.plain
        for evaluation in arm.evaluations
        if evaluation.student is not None
    }
    found = []
    for arm in study.plain:
        if arm.student is not None and arm.rewarded:
            parent = arm.student.parent
            base = study.untrained(arm) if parent is None else by_hash.get(parent.hash)
            found += [] if base is None else [(base, arm)]
    return found


def main_pairs(study: Study) -> list[Pair]:
    """The highest ratio and the lowest, for every model and data: with mixed modes and equal
    examples, where there are such arms."""
    kinds: list[list[Pair]] = []
    for pair in ratio_pairs(study):
        if not pair[1].rewarded:
            _add_alike(kinds, pair, "ratio", "scenario", "equalize")
    found = []
    for kind in kinds:
        usual = [
            (base, arm)
            for base, arm in kind
            if arm.axes.scenario == "mixed" and _equal_examples(arm)
        ]
        lines: list[list[Pair]] = []
        for pair in usual or kind:
            _add_alike(lines, pair, "ratio")
        for line in lines:
            highest = max(_ratio(arm) for _, arm in line)
            arm = only(arm for _, arm in line if arm.ratio == highest)
            found += [pair for pair in line if pair[1] is arm]
    return found


def inference_flops_pairs(study: Study) -> list[Pair]:
    """Each arm with reasoning, and the arm without of another model whose answers cost most nearly
    the same: at most `EQUAL_COST` times more or less FLOPs over all problems."""
    flops = {arm.label: arm.inference_flops(study.keys) or 0.0 for arm in study.plain}
    priced = [arm for arm in study.plain if flops[arm.label] and not arm.rewarded]
    found = []
    for arm in (arm for arm in priced if arm.ratio):

        def apart(other: Arm, price: float = flops[arm.label]) -> float:
            return abs(log(flops[other.label] / price))

        others = [other for other in priced if other.ratio == 0 and other.model != arm.model]
        nearest = min(others, key=apart, default=None)
        if nearest is not None and apart(nearest) <= log(EQUAL_COST):
            found.append((nearest, arm))
    return found


def strategy_pairs(study: Study) -> list[Pair]:
    """Each arm with a strategy, and the same students asked once, greedily where they were."""
    found = []
    for arm in (arm for arm in study.trained if arm.has_strategy):
        same = [
            other
            for other in study.trained
            if not other.has_strategy and other.seeds == arm.seeds and _same_students(other, arm)
        ]
        greedy = [one for one in same if one.evaluations[0].facts.decoding.temperature == 0]
        found += [(base, arm) for base in (greedy or same)[:1]]
    return found


def _same_students(arm: Arm, other: Arm) -> bool:
    students = zip(arm.evaluations, other.evaluations, strict=True)
    return all(
        one.student is not None and two.student is not None and one.student.hash == two.student.hash
        for one, two in students
    )


def baseline_pairs(study: Study) -> list[Pair]:
    """Each arm and its starting model; the first arm where that was not evaluated."""
    found = []
    for arm in study.arms:
        base = (study.untrained(arm) if arm.trained else None) or study.arms[0]
        found += [] if base is arm else [(base, arm)]
    return found


def _add_alike(groups: list[list[Pair]], pair: Pair, *apart: str) -> None:
    """Add a pair to the group whose arms differ from its arm in these axes alone."""
    group = next((group for group in groups if group[0][1].alike(pair[1], *apart)), None)
    if group is None:
        groups.append(group := [])
    group.append(pair)


CONTRASTS: Mapping[str, Callable[[Study], list[Pair]]] = {
    "ratio": main_pairs,
    "rewards": reward_pairs,
    "scenario": scenario_pairs,
    "training_flops": compute_pairs,
    "inference_flops": inference_flops_pairs,
    "strategy": strategy_pairs,
}
