"""A teacher's answers to one problem → one answer of each mode, or the reason why no pair comes of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from distill.answer_cache import Answer
from distill.config import Config, Pick, Verify
from distill.rejection_rules import fault, taken_apart
from ratiocine.grading import canonical, grade
from ratiocine.prompts import Parts, render, user_text
from ratiocine.records import MODES, Mode, Problem
from ratiocine.rewards import RewardConfig, Rollout


@dataclass
class Tally:
    """What became of all answers of one mode: how many there were, their faults, and how those without one were judged."""

    answers: int = 0
    tokens: int = 0
    closed: int = 0
    alike: int = 0  # problems of which all answers, and more than one, are word for word the same
    outcomes: Counter[str] = field(default_factory=Counter)

    def told(self) -> dict[str, float | dict[str, int]]:
        n = max(1, self.answers)
        return {
            "answers": self.answers,
            "mean_tokens": round(self.tokens / n, 1),
            "closed_trace": round(self.closed / n, 4),
            "problems_with_equal_answers": self.alike,
            "outcomes": dict(self.outcomes.most_common()),
        }


@dataclass(frozen=True)
class Candidate:
    """A usable answer. `right` is None where there is no reference; `says` is one text for answers that say the same."""

    parts: Parts
    tokens: int
    right: bool | None
    says: str | None


def usable(
    config: Config, problem: Problem, mode: Mode, answers: Sequence[Answer], tally: Tally
) -> list[Candidate]:
    """The answers that could be one side of a pair, by sample; what is wrong with the others goes to the tally."""
    found = []
    tally.alike += len(answers) > 1 and len({answer["text"] for answer in answers}) == 1
    for answer in answers:
        parts = taken_apart(answer["text"], mode, config.thinking_prompt.trace)
        tally.answers += 1
        tally.tokens += answer["n_completion"]
        tally.closed += parts.closed and bool(parts.think)
        if wrong := fault(answer["text"], answer["stop"], parts, mode, user_text(problem)):
            tally.outcomes[wrong] += 1
            continue
        verdict = grade(problem, parts) if problem.reference is not None else None
        tally.outcomes[verdict.verdict if verdict else "not_judged"] += 1
        says = verdict.extracted if verdict else parts.boxed
        found.append(
            Candidate(
                parts,
                answer["n_completion"],
                None if verdict is None else verdict.verdict == "right",
                canonical(says) if says else None,
            )
        )
    return found


def pick(
    candidates: Sequence[Candidate], how: Pick, problem: Problem, reward: RewardConfig
) -> Candidate:
    """One of the candidates. Right ones come before others, but a majority is formed without a look at the reference, and a
    reward says itself what right is worth."""
    if how == "reward":
        texts = [render(c.parts.answer, c.parts.think) for c in candidates]
        rollouts = [
            Rollout(problem, text, c.tokens) for text, c in zip(texts, candidates, strict=True)
        ]
        found = reward.components(rollouts)
        if "format" in found:  # that of either mode, which usable answers have
            found["format"] = [1.0] * len(rollouts)
        worth = reward.totals(found)
        return candidates[worth.index(max(worth))]
    if how == "majority":
        votes = Counter(c.says for c in candidates if c.says is not None)
        winner = votes.most_common(1)[0][0] if votes else None
        return next(c for c in candidates if c.says == winner or winner is None)
    pool = [c for c in candidates if c.right] or list(candidates)
    return min(pool, key=lambda c: c.tokens) if how == "shortest" else pool[0]


@dataclass(frozen=True)
class PairResult:
    """Both sides of a problem's pair (direct, reasoning), or why there is none; and how many of each mode's answers were right,
    of how many, where that is known."""

    sides: tuple[str, str] | None
    reason: str | None = None
    rates: dict[Mode, tuple[int, int]] | None = None


def choose(
    config: Config,
    problem: Problem,
    answers: Mapping[Mode, Sequence[Answer]],
    tallies: Mapping[Mode, Tally],
) -> PairResult:
    """A pair is kept only whole: one answer of each mode, or why there is none."""
    candidates = {
        mode: usable(config, problem, mode, answers[mode], tallies[mode]) for mode in MODES
    }
    if problem.reference is None:
        rates = None
    else:
        rates = {
            mode: (sum(c.right is True for c in candidates[mode]), len(answers[mode]))
            for mode in MODES
        }
    if lacking := [mode for mode in MODES if not candidates[mode]]:
        return PairResult(None, f"no_usable_{'_'.join(lacking)}", rates)
    picked = {
        mode: pick(candidates[mode], config.answer_selection, problem, config.reward)
        for mode in MODES
    }
    if rates is None:
        said = {candidate.says for candidate in picked.values()}
        if config.verify != "none" and None not in said and len(said) > 1:
            return PairResult(None, "modes_disagree")
        return PairResult(_sides(picked))
    if any(
        rule.run is None and not rule.holds(*rates[rule.mode]) for rule in config.select.pass_rates
    ):
        return PairResult(None, "pass_rate", rates)
    reason = _unverified(
        {mode: bool(candidate.right) for mode, candidate in picked.items()}, config.verify
    )
    return PairResult(None if reason else _sides(picked), reason, rates)


def _sides(picked: Mapping[Mode, Candidate]) -> tuple[str, str]:
    ift, reasoning = (picked[mode].parts for mode in MODES)
    return render(ift.answer), render(reasoning.answer, reasoning.think)


def _unverified(right: Mapping[Mode, bool], verify: Verify) -> str | None:
    """Which of the sides that `verify` needs right are not."""
    wrong = [mode for mode in MODES if not right[mode]]
    if (
        verify == "none"
        or (verify == "either" and len(wrong) < len(MODES))
        or (verify == "reasoning" and right["reasoning"])
    ):
        return None
    return f"wrong_{'_'.join(wrong)}" if wrong else None
