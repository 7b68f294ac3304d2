"""Tables of lengths and thinking: tokens of right and wrong answers, and how arms answer."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from eval.report.csv_table import Table, rounded_table
from eval.report.study import ARM_COLUMNS, Study, described
from ratiocine.records import ScoredCompletion
from ratiocine.scores import summary
from ratiocine.stats import over_seeds

Answers = Sequence[ScoredCompletion]
LENGTH_COLUMNS = ("n_right", "n_wrong", "right", "wrong", "wrong_to_right", "low", "high")
RESAMPLES = 2000


def lengths(study: Study) -> Table:
    """Mean tokens of right and wrong answers; the ratio wrong to right with its bootstrap interval
    over problems; and that ratio with right answers weighted to the difficulty levels of wrong."""
    rows = []
    for arm in study.arms:
        answers = arm.answers(study.keys)
        rows.append((*described(arm), *_length_cells(answers), _ratio_within_levels(answers)))
    columns = (*ARM_COLUMNS, *LENGTH_COLUMNS, "within_levels")
    return rounded_table("lengths", "Tokens of right and of wrong answers", columns, rows)


def lengths_by_level(study: Study) -> Table:
    rows = []
    for arm in study.arms:
        answers = arm.answers(study.keys)
        for level in sorted({row.level for row in answers if row.level is not None}):
            cells = _length_cells([row for row in answers if row.level == level])
            rows.append((*described(arm), level, *cells))
    columns = (*ARM_COLUMNS, "level", *LENGTH_COLUMNS)
    caption = "Tokens of right and of wrong answers, by level of difficulty"
    return rounded_table("lengths_by_level", caption, columns, rows)


def _length_cells(answers: Answers) -> tuple[float | None, ...]:
    """The cells of `LENGTH_COLUMNS`."""
    import numpy as np

    answers = [row for row in answers if row.answered]
    problems = {key: at for at, key in enumerate(dict.fromkeys(row.key for row in answers))}
    # By problem: right answers and their tokens, wrong answers and their tokens.
    sums = np.zeros((len(problems), 4))
    for row in answers:
        at = 0 if row.right else 2
        sums[problems[row.key], at : at + 2] += 1, row.n_completion
    n_right, right, n_wrong, wrong = (float(value) for value in sums.sum(axis=0))
    if not n_right or not n_wrong:
        means = [total / n if n else None for total, n in ((right, n_right), (wrong, n_wrong))]
        return int(n_right), int(n_wrong), *means, None, None, None
    random, even = np.random.default_rng(0), np.full(len(sums), 1 / len(sums))
    drawn = random.multinomial(len(sums), even, size=RESAMPLES) @ sums
    whole = drawn[(drawn[:, 0] > 0) & (drawn[:, 1] > 0) & (drawn[:, 2] > 0)]
    ratios = whole[:, 3] / whole[:, 2] / (whole[:, 1] / whole[:, 0])
    low, high = (float(value) for value in np.quantile(ratios, [0.025, 0.975]))
    means = [right / n_right, wrong / n_wrong]
    return int(n_right), int(n_wrong), *means, wrong / n_wrong / (right / n_right), low, high


def _ratio_within_levels(answers: Answers) -> float | None:
    """With the right answers' lengths weighted by the levels of the wrong ones."""
    by_level: dict[str, tuple[list[int], list[int]]] = {}
    for row in answers:
        if row.level is not None and row.answered:
            of_level = by_level.setdefault(row.level, ([], []))
            of_level[not row.right].append(row.n_completion)
    both = [(right, wrong) for right, wrong in by_level.values() if right and wrong]
    if not both:
        return None
    expected = sum(len(wrong) * fmean(right) for right, wrong in both)
    return sum(sum(wrong) for _, wrong in both) / expected


def thinking(study: Study) -> Table:
    """Share of completions with a trace; and, where a mode is expected (`thinking=`, or ratio 0 or
    1), the share of completions in the other mode."""
    rows = []
    for arm in study.arms:
        thought = [
            [fmean(row.thought for row in evaluation.answers[key]) for key in study.keys]
            for evaluation in arm.evaluations
        ]
        answers = arm.answers(study.keys)
        flipped = [row.thought != row.expected for row in answers if row.expected is not None]
        other_mode = fmean(flipped) if flipped else None
        rows.append((*described(arm), len(study.keys), *over_seeds(thought), other_mode))
    columns = (*ARM_COLUMNS, "n", "thought", "low", "high", "other_mode")
    return rounded_table("thinking", "Completions that think", columns, rows)


def generation(study: Study) -> Table:
    """How the arms answer: lengths of traces and answers, truncation, extraction, efficiency."""
    rows = []
    for arm in study.arms:
        found = summary(arm.answers(study.keys))
        tokens = (found.thinking_tokens, found.answer_tokens)
        means = (mean for one in tokens for mean in (one.right, one.wrong))
        efficiency = found.efficiency
        rows.append(
            (
                *(*described(arm), *means, found.truncated, found.not_extracted),
                efficiency and efficiency.outcome,
                efficiency and efficiency.process,
            )
        )
    columns = (
        *(*ARM_COLUMNS, "thinking_tokens_right", "thinking_tokens_wrong"),
        *("answer_tokens_right", "answer_tokens_wrong", "truncated", "not_extracted"),
        *("outcome_efficiency", "process_efficiency"),
    )
    caption = "Mean tokens of traces and answers, truncation, extraction and efficiency"
    return rounded_table("generation", caption, columns, rows)
