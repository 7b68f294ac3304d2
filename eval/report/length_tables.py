"""Tables of lengths and thinking: tokens of right and wrong answers, and how arms answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from eval.report.arms import Arm
from eval.report.csv_table import Table, rounded_table
from eval.report.study import ARM_COLUMNS, Study, described
from eval.report.truncation import looping_share
from ratiocine.scores import mean_efficiency
from ratiocine.stats import over_seeds

if TYPE_CHECKING:
    import numpy as np

LENGTH_COLUMNS = ("n_right", "n_wrong", "right", "wrong", "wrong_to_right", "low", "high")
RESAMPLES = 2000
BLOCK = 100  # resamples drawn at a time


def lengths(study: Study) -> Table:
    """Mean tokens of right and wrong answers; the ratio wrong to right with its bootstrap interval
    over problems; and that ratio with right answers weighted to the difficulty levels of wrong."""
    sums = [_right_and_wrong(arm, study.keys) for arm in study.arms]
    rows = [
        (*described(arm), *cells, _ratio_within_levels(study, arm))
        for arm, cells in zip(study.arms, _length_cells(sums), strict=True)
    ]
    columns = (*ARM_COLUMNS, *LENGTH_COLUMNS, "within_levels")
    return rounded_table("lengths", "Tokens of right and of wrong answers", columns, rows)


def lengths_by_level(study: Study) -> Table:
    levels = _levels(study)
    found = [(arm, level, keys) for arm in study.arms for level, keys in levels.items()]
    sums = [_right_and_wrong(arm, keys) for arm, _, keys in found]
    rows = [
        (*described(arm), level, *cells)
        for (arm, level, _), cells in zip(found, _length_cells(sums), strict=True)
    ]
    columns = (*ARM_COLUMNS, "level", *LENGTH_COLUMNS)
    caption = "Tokens of right and of wrong answers, by level of difficulty"
    return rounded_table("lengths_by_level", caption, columns, rows)


def _levels(study: Study) -> dict[str, list[str]]:
    """The problems of each level of difficulty."""
    first, found = study.evaluations[0], dict[str, list[str]]()
    for key in study.keys:
        if (level := first.level(key)) is not None:
            found.setdefault(level, []).append(key)
    return {level: found[level] for level in sorted(found)}


def _right_and_wrong(arm: Arm, keys: Sequence[str]) -> np.ndarray:
    """By answered problem: right answers and their tokens, wrong answers and their tokens."""
    import numpy as np

    names = ("right answered", "right answered n_completion", "answered", "answered n_completion")
    sums, seen, order = np.zeros((len(keys), 4)), np.zeros(len(keys), dtype=bool), []
    for one in arm.evaluations:
        of_one = np.stack([one.columns.sums(name)[one.at(keys)] for name in names], axis=1)
        # In the order of first answers, on which the resamples depend.
        new = (of_one[:, 2] > 0) & ~seen
        order.append(np.flatnonzero(new))
        seen |= new
        sums += of_one
    sums[:, 2:] -= sums[:, :2]
    found: np.ndarray = sums[np.concatenate(order)]
    return found


def _length_cells(of_arms: Sequence[np.ndarray]) -> Iterator[tuple[float | None, ...]]:
    """The cells of `LENGTH_COLUMNS`, of the sums of each arm."""
    import numpy as np

    resampled = _resampled_sums(of_arms)
    for sums, drawn in zip(of_arms, resampled, strict=True):
        n_right, right, n_wrong, wrong = (float(value) for value in sums.sum(axis=0))
        if not n_right or not n_wrong:
            means = [total / n if n else None for total, n in ((right, n_right), (wrong, n_wrong))]
            yield int(n_right), int(n_wrong), *means, None, None, None
            continue
        whole = drawn[(drawn[:, 0] > 0) & (drawn[:, 1] > 0) & (drawn[:, 2] > 0)]
        ratios = whole[:, 3] / whole[:, 2] / (whole[:, 1] / whole[:, 0])
        low, high = (float(value) for value in np.quantile(ratios, [0.025, 0.975]))
        means = [right / n_right, wrong / n_wrong]
        ratio = wrong / n_wrong / (right / n_right)
        yield int(n_right), int(n_wrong), *means, ratio, low, high


def _resampled_sums(of_arms: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Totals of bootstrap resamples over problems: resamples × the columns of the sums. Arms with
    equally many problems have the same resamples, which are drawn once."""
    import numpy as np

    found = [np.empty((RESAMPLES, 4)) for _ in of_arms]
    for n in {len(sums) for sums in of_arms if len(sums)}:
        members = [at for at, sums in enumerate(of_arms) if len(sums) == n]
        together = np.concatenate([of_arms[at] for at in members], axis=1)
        random, even = np.random.default_rng(0), np.full(n, 1 / n)
        for first in range(0, RESAMPLES, BLOCK):
            drawn = random.multinomial(n, even, size=BLOCK) @ together
            for number, at in enumerate(members):
                found[at][first : first + BLOCK] = drawn[:, 4 * number : 4 * number + 4]
    return found


def _ratio_within_levels(study: Study, arm: Arm) -> float | None:
    """With the right answers' lengths weighted by the levels of the wrong ones."""
    expected, seen = 0.0, 0
    for keys in _levels(study).values():
        n_right, n = arm.total("right answered", keys), arm.total("answered", keys)
        if n_right and n > n_right:
            right = arm.total("right answered n_completion", keys)
            expected += (n - n_right) * (right / n_right)
            seen += arm.total("answered n_completion", keys) - right
    return seen / expected if expected else None


def thinking(study: Study) -> Table:
    """Share of completions with a trace; and, where a mode is expected (`thinking=`, or ratio 0 or
    1), the share of completions in the other mode."""
    rows = []
    for arm in study.arms:
        thought = [
            (one.columns.sums("thought") / one.columns.sums("one"))[one.at(study.keys)].tolist()
            for one in arm.evaluations
        ]
        expected = arm.total("has_expected", study.keys)
        other_mode = arm.total("flipped", study.keys) / expected if expected else None
        rows.append((*described(arm), len(study.keys), *over_seeds(thought), other_mode))
    columns = (*ARM_COLUMNS, "n", "thought", "low", "high", "other_mode")
    return rounded_table("thinking", "Completions that think", columns, rows)


def generation(study: Study) -> Table:
    """How the arms answer: lengths of traces and answers, truncation, extraction, efficiency."""
    rows = []
    for arm in study.arms:
        several = [one.columns for one in arm.evaluations]
        efficiency = mean_efficiency(several, [one.at(study.keys) for one in arm.evaluations])
        found = (
            arm.mean(name, study.keys, verdict)
            for name in ("n_think", "n_answer")
            for verdict in ("right", "wrong")
        )
        means = (mean if mean is None else round(mean, 2) for mean in found)
        shares = [arm.share(name, study.keys) for name in ("truncated", "without_answer")]
        loops = looping_share(arm, study.keys)
        both = (efficiency.outcome, efficiency.process) if efficiency else (None, None)
        rows.append((*described(arm), *means, *shares, *both, loops))
    columns = (
        *(*ARM_COLUMNS, "thinking_tokens_right", "thinking_tokens_wrong"),
        *("answer_tokens_right", "answer_tokens_wrong", "truncated", "not_extracted"),
        *("outcome_efficiency", "process_efficiency", "looping"),
    )
    caption = "Mean tokens of traces and answers, truncation, loops, extraction and efficiency"
    return rounded_table("generation", caption, columns, rows)
