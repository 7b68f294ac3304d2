"""The answer of `eval.recommend` where no arm is worth taking: none has a right answer, or is above
chance."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from eval.options import Choice, Option
from eval.recommendation import Query, accuracy_words, asked, cost_words
from eval.report import RAISE, chance_of, truncation_sentence


def chance(options: Sequence[Option], keys: Sequence[str]) -> float:
    """The accuracy of guesses on these problems; 0 where it was not recorded."""
    evaluations = [one for option in options for one in option.arm.evaluations]
    return fmean(chance_of(evaluations, key) or 0.0 for key in keys)


def all_useless(options: Sequence[Option], guessed: float) -> bool:
    """Whether every accuracy is 0, or none is shown (by its 95 % interval) to be above chance."""
    if not any(option.accuracy for option in options):
        return True
    return guessed > 0 and all(option.low <= guessed for option in options)


def refusal(choice: Choice, query: Query, keys: Sequence[str], guessed: float) -> list[str]:
    """Why no arm is recommended, what was measured, and what to do."""
    options = choice.options
    if any(option.accuracy for option in options):
        verdict = f"No arm is shown to be above chance ({100 * guessed:.1f} %) for {asked(query)}:"
    else:
        verdict = f"No arm works for {asked(query)}: not one answer is right;"
    alike = choice.others and not any(other.worse for other in choice.others)
    apart = f"the data do not tell the {len(options)} arms apart, and " if alike else ""
    truncated = truncation_sentence([one.arm for one in options], keys, f"First {RAISE}.")
    return [
        f"{verdict} {apart}none is recommended.",
        *(
            f"  - {one.arm.label}: {accuracy_words(one)}, {cost_words(one, query)}"
            for one in options
        ),
        *([truncated] if truncated else []),
        "What to try: reading some answers, easier problems, a larger starting model, more pairs "
        "or epochs, another learning rate.",
    ]
