"""Truncated completions: their shares, what they could change in a comparison, and the sentences
that say so wherever a verdict stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from eval.report.arms import Arm, EvaluationPairs, counterparts
from eval.report.csv_table import Row, Table, Tables, rounded_table
from eval.report.evaluations import Evaluation, right_shares
from eval.report.pairings import Comparisons, main_pairs
from eval.report.study import FEW_PAIRS, Study

NOTABLE = 0.05  # share of truncated completions from which it is stated
CAPTION = "Truncated answers, and the difference if all those of one of the two arms were right"
MOSTLY = 0.5  # share of loops among truncated completions from which it is stated
RAISE = "evaluate again with a larger limit (max_new_tokens=auto proposes one)"


def truncated_share(arm: Arm, keys: Sequence[str]) -> float:
    """The share of an arm's completions that were begun and not ended."""
    return arm.share("truncated", keys)


def looping_share(arm: Arm, keys: Sequence[str]) -> float | None:
    """The share of an arm's completions that are truncated and repeat themselves; None in
    evaluations of earlier releases."""
    return arm.share("loops", keys) if arm.share("has_looping", keys) == 1 else None


def loops_of(arms: Sequence[Arm], keys: Sequence[str]) -> dict[str, float]:
    """By label, the share of loops among the truncated completions of the arms where these are
    notable."""
    return _loops(
        *((arm.label, truncated_share(arm, keys), looping_share(arm, keys)) for arm in arms)
    )


def notable(*shares: float) -> bool:
    """Whether one of these shares of truncated completions is to be stated."""
    return max(shares) >= NOTABLE


def shares_if_right(evaluation: Evaluation, keys: Sequence[str]) -> list[float]:
    """Share of right completions of each problem, were all truncated ones right."""
    columns, at = evaluation.columns, evaluation.at(keys)
    found: list[float] = (
        columns.sums("right_or_truncated")[at] / columns.sums("graded")[at]
    ).tolist()
    return found


@dataclass(frozen=True)
class Truncation:
    """The truncated completions of a base and of what is compared with it."""

    base: float
    """Share of the base's completions."""
    other: float
    base_looping: float | None
    """Share of the base's completions that are truncated and repeat themselves; None in evaluations
    of earlier releases."""
    other_looping: float | None
    low: float
    """Difference of accuracy if all truncated answers of the base were right, and no other."""
    high: float
    """The same of the other side."""

    @property
    def notable(self) -> bool:
        return notable(self.base, self.other)

    def loops(self, base: str, other: str) -> dict[str, float]:
        """The share of loops among the truncated completions of each side, if notable."""
        return _loops((base, self.base, self.base_looping), (other, self.other, self.other_looping))

    def could_turn(self, difference: float) -> bool:
        """Whether a difference of this sign is not certain for every value of the truncated
        answers."""
        return self.low <= 0 if difference > 0 else self.high >= 0


def truncation(pairs: EvaluationPairs, keys: Sequence[str]) -> Truncation:
    """Over pairs (base, other) of evaluations and these problems."""

    def mean(side: int, *, if_right: bool) -> float:
        return fmean(
            fmean(shares_if_right(pair[side], keys) if if_right else right_shares(pair[side], keys))
            for pair in pairs
        )

    def share(side: int, name: str) -> float:
        sides = [(pair[side].columns, pair[side].at(keys)) for pair in pairs]
        n = sum(columns.total("one", at) for columns, at in sides)
        return sum(columns.total(name, at) for columns, at in sides) / n

    def looping(side: int) -> float | None:
        return share(side, "loops") if share(side, "has_looping") == 1 else None

    return Truncation(
        share(0, "truncated"),
        share(1, "truncated"),
        looping(0),
        looping(1),
        low=mean(1, if_right=False) - mean(0, if_right=True),
        high=mean(1, if_right=True) - mean(0, if_right=False),
    )


def _loops(*sides: tuple[str, float, float | None]) -> dict[str, float]:
    """By label, from the truncated and the looping share of completions."""
    return {label: (looping or 0.0) / cut for label, cut, looping in sides if notable(cut)}


def mostly_loops(loops: Mapping[str, float]) -> bool:
    """Whether no larger limit would end most of the truncated answers of any arm."""
    return bool(loops) and min(loops.values()) >= MOSTLY


def loop_sentence(loops: Mapping[str, float]) -> str | None:
    """The shares of loops among the truncated answers by label, where a larger limit would not end
    most of them; None without such."""
    found = {label: share for label, share in loops.items() if share >= MOSTLY}
    if not found:
        return None
    listed = ", ".join(f"{label} {_percent(share)}" for label, share in found.items())
    return f"Truncated answers that repeat themselves, which no larger limit ends: {listed}."


def share_sentence(shares: Mapping[str, float]) -> str | None:
    """The truncated shares by label; None where all are below `NOTABLE`."""
    if not shares or not notable(*shares.values()):
        return None
    listed = ", ".join(f"{label} {_percent(share)}" for label, share in shares.items())
    return (
        "Answers truncated (at max_new_tokens, or by a filter of the server), which count only for "
        f"a complete box: {listed}."
    )


def truncation_sentence(arms: Sequence[Arm], keys: Sequence[str], advice: str = "") -> str | None:
    """The arms' shares of truncated answers, and of loops among them; None without notable ones.
    The advice, that of a larger limit, is left out where all are mostly loops."""
    shares = share_sentence({arm.label: truncated_share(arm, keys) for arm in arms})
    if shares is None:
        return None
    loops = loops_of(arms, keys)
    parts = (shares, loop_sentence(loops), "" if mostly_loops(loops) else advice)
    return " ".join(filter(None, parts))


def truncated_answers(study: Study, comparisons: Comparisons) -> Table:
    """The main pairs, with the truncated answers of both arms and what they could change."""
    rows = []
    for base, arm in main_pairs(study):
        for group, keys in study.groups.items():
            found = truncation(counterparts(base, arm), keys)
            seen = comparisons.of((base, arm), group).difference
            shares = (found.base, found.other, found.base_looping, found.other_looping)
            rows.append((group, arm.label, base.label, *shares, seen, found.low, found.high))
    columns = (
        *("group", "arm", "against", "against_truncated", "arm_truncated", "against_looping"),
        *("arm_looping", "difference", "difference_if_against_right", "difference_if_arm_right"),
    )
    return rounded_table("truncated_answers", CAPTION, columns, rows)


def truncation_findings(tables: Tables, *, few_arms: bool = True) -> list[str]:
    """The truncated answers, and what they could change in the main differences; without such, the
    shares of the arms if there are few. Then the loops among them."""
    found = _truncation_findings(tables, few_arms)
    rows = ((row["arm"], row["truncated"], row["looping"]) for row in tables["generation"])
    sentence = loop_sentence(_loops(*rows))
    return [*found, sentence] if found and sentence else found


def _truncation_findings(tables: Tables, few_arms: bool) -> list[str]:
    pairs = tables["truncated_answers"].where(group="all")
    found = [(truncation_of(row), row) for row in pairs]
    if len(pairs) > FEW_PAIRS:
        cut = [(one, row["difference"]) for one, row in found if one.notable]
        turned = sum(one.could_turn(difference) for one, difference in cut)
        sentence = (
            f"In {len(cut)} of {len(pairs)} main comparisons, {_percent(NOTABLE)} or more of an "
            "arm's answers are truncated at max_new_tokens; in "
            f"{turned} the verdict may be due to the token limit."
        )
        return [sentence] if cut else []
    if pairs:
        sentences = [
            bounds_sentence(one, row["difference"], row["against"], row["arm"])
            for one, row in found
        ]
        return [sentence for sentence in sentences if sentence]
    shares = {row["arm"]: row["truncated"] for row in tables["accuracy"].where(group="all")}
    high = {label: share for label, share in shares.items() if notable(share)}
    sentence_of_arms = share_sentence(high) if few_arms else None
    return [sentence_of_arms] if sentence_of_arms else []


def token_limit_warnings(tables: Tables) -> list[str]:
    """The main differences whose sign the token limit may have decided; of many their number."""
    turned = [
        row
        for row in tables["truncated_answers"].where(group="all")
        if (found := truncation_of(row)).notable and found.could_turn(row["difference"])
    ]
    return truncation_findings(tables) if turned else []


def truncation_of(row: Row) -> Truncation:
    """From a row of `truncated_answers`."""
    return Truncation(
        row["against_truncated"],
        row["arm_truncated"],
        row["against_looping"],
        row["arm_looping"],
        row["difference_if_against_right"],
        row["difference_if_arm_right"],
    )


def bounds_sentence(found: Truncation, difference: float, base: str, other: str) -> str | None:
    """What the truncated answers could change in this difference; None where their shares are
    below `NOTABLE`."""
    if not found.notable:
        return None
    shares = share_sentence({base: found.base, other: found.other})
    low, high = (f"{100 * value:+.0f}".replace("-", "−") for value in (found.low, found.high))
    between = f"the difference is between {low} and {high} points"
    if not found.could_turn(difference):
        return f"{shares} Whichever of them were right, {between}, of the same sign."
    depending = (
        f"{shares} Depending on which of them were right, {between}: the verdict may be due to the "
        "token limit"
    )
    mostly = mostly_loops(found.loops(base, other))
    return f"{depending}." if mostly else f"{depending}; {RAISE}."


def compared_sentence(found: Truncation, difference: float, base: str, other: str) -> str | None:
    """`bounds_sentence`, and the loops among the truncated answers."""
    bounds = bounds_sentence(found, difference, base, other)
    loops = loop_sentence(found.loops(base, other))
    return f"{bounds} {loops}" if bounds and loops else bounds


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
