"""A teacher's answers to one problem → one answer per mode, or the reason why there is no pair."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from distill.answer_cache import Answer
from distill.config import AnswerSelection, Config, Verify
from distill.facts import Tally
from distill.pass_counts import PassCounts
from distill.rejection_rules import fault, parts_of
from ratiocine.completion_parts import Parts, render
from ratiocine.grading import canonical, grade
from ratiocine.prompts import user_text
from ratiocine.records import MODES, Mode, Problem, Stop, is_answered
from ratiocine.rewards import RewardConfig, Rollout

SHOWN = 1000  # characters of a rejected answer at either end


@dataclass(frozen=True)
class Candidate:
    """A usable answer."""

    parts: Parts
    tokens: int
    right: bool | None
    """None without a reference."""
    vote: str | None
    """Equal for answers with the same value; None if no value was found."""


def usable(
    config: Config, problem: Problem, mode: Mode, answers: Sequence[Answer], tally: Tally
) -> tuple[list[Candidate], list[JudgedAnswer]]:
    """The answers without fault, and all with what became of them, in the order of samples; all are
    counted in the tally."""
    candidates = []
    judged = []
    tally.identical += len(answers) > 1 and len({answer.text for answer in answers}) == 1
    for answer in answers:
        parts = parts_of(answer.text, mode, config.thinking_prompt.trace)
        tally.answers += 1
        tally.unanswered += not is_answered(answer.stop)
        tally.tokens += answer.n_completion
        tally.closed += parts.closed and bool(parts.think)
        stop = "stop" if _is_complete(config, answer.stop) else answer.stop
        if reason := fault(answer.text, stop, parts, mode, user_text(problem)):
            tally.outcomes[reason] += 1
            judged.append(JudgedAnswer(answer.text, answer.stop, reason))
            continue
        if problem.reference is None:
            outcome, right, value = "not_judged", None, parts.boxed
        else:
            found = grade(problem, parts)
            outcome, right, value = found.verdict, found.verdict == "right", found.extracted
        tally.outcomes[outcome] += 1
        judged.append(JudgedAnswer(answer.text, answer.stop, outcome))
        vote = canonical(value) if value else None
        candidates.append(Candidate(parts, answer.n_completion, right, vote))
    return candidates, judged


def _is_complete(config: Config, stop: Stop) -> bool:
    """Whether an answer of a cache ended as `engine.stop_reasons` accepts today."""
    engine = config.teacher.engine
    if engine is None or engine.name != "openai":
        return stop == "stop"
    return stop == "stop" or stop in engine.complete


def select_answer(
    candidates: Sequence[Candidate], how: AnswerSelection, problem: Problem, reward: RewardConfig
) -> Candidate:
    """One of the candidates. `first` and `shortest` prefer right ones; `majority` does not look at
    the reference; `reward` decides by itself what being right is worth."""
    if how == "reward":
        return _highest_reward(candidates, problem, reward)
    if how == "majority":
        votes = Counter(c.vote for c in candidates if c.vote is not None)
        winner = votes.most_common(1)[0][0] if votes else None
        return next(c for c in candidates if c.vote == winner or winner is None)
    pool = [c for c in candidates if c.right] or list(candidates)
    return min(pool, key=lambda c: c.tokens) if how == "shortest" else pool[0]


def _highest_reward(
    candidates: Sequence[Candidate], problem: Problem, reward: RewardConfig
) -> Candidate:
    rollouts = [
        Rollout(problem, render(c.parts.answer, c.parts.think), c.tokens) for c in candidates
    ]
    components = reward.components(rollouts)
    if "format" in components:  # usable answers have the format of their mode
        components["format"] = [1.0] * len(rollouts)
    totals = reward.totals(components)
    return candidates[totals.index(max(totals))]


@dataclass(frozen=True)
class JudgedAnswer:
    """One answer of a teacher and what became of it."""

    text: str
    stop: Stop
    outcome: str
    """Its fault, or its verdict where it has none."""

    @staticmethod
    def written(text: str, outcome: str) -> JudgedAnswer:
        """An answer that no model generated."""
        return JudgedAnswer(text, "stop", outcome)

    def row(self) -> dict[str, str]:
        """For `rejected.jsonl`; of a long text the beginning and the end."""
        text = self.text
        if len(text) > 2 * SHOWN:
            text = f"{text[:SHOWN]} … {text[-SHOWN:]}"
        return {"outcome": self.outcome, "finish_reason": self.stop, "text": text}


Judged = Mapping[Mode, Sequence[JudgedAnswer]]


@dataclass(frozen=True)
class PairResult:
    """The outcome of one problem: a pair, or a reason."""

    sides: tuple[str, str] | None
    """The direct and the reasoning completion."""
    reason: str | None = None
    """Why there is no pair."""
    counts: PassCounts | None = None
    """Right answers and answers of each mode, where there is a reference."""
    judged: Judged = field(default_factory=dict)
    """All answers, by mode."""


def pair_result(
    config: Config,
    problem: Problem,
    answers: Mapping[Mode, Sequence[Answer]],
    tallies: Mapping[Mode, Tally],
) -> PairResult:
    """One answer per mode, or the reason why there is no pair."""
    found = {mode: usable(config, problem, mode, answers[mode], tallies[mode]) for mode in MODES}
    candidates = {mode: some for mode, (some, _) in found.items()}
    judged = {mode: every for mode, (_, every) in found.items()}
    counts: PassCounts | None = None
    if problem.reference is not None:
        counts = {
            mode: (sum(c.right is True for c in candidates[mode]), len(answers[mode]))
            for mode in MODES
        }
    if lacking := [mode for mode in MODES if not candidates[mode]]:
        return PairResult(None, f"no_usable_{'_'.join(lacking)}", counts, judged)
    selected = {
        mode: select_answer(candidates[mode], config.answer_selection, problem, config.reward)
        for mode in MODES
    }
    reason = _rejection(config, selected, counts)
    return PairResult(None if reason else _sides(selected), reason, counts, judged)


def _rejection(
    config: Config, selected: Mapping[Mode, Candidate], counts: PassCounts | None
) -> str | None:
    """Why the selected answers are no pair, or None."""
    if counts is None:
        votes = {candidate.vote for candidate in selected.values()}
        disagree = None not in votes and len(votes) > 1
        return "modes_disagree" if disagree and config.verify != "none" else None
    own_rules = [rule for rule in config.select.pass_rates if rule.run is None]
    if not all(rule.accepts(*counts[rule.mode]) for rule in own_rules):
        return "pass_rate"
    right = {mode: bool(candidate.right) for mode, candidate in selected.items()}
    return _unverified(right, config.verify)


def _sides(selected: Mapping[Mode, Candidate]) -> tuple[str, str]:
    ift, reasoning = (selected[mode].parts for mode in MODES)
    return render(ift.answer), render(reasoning.answer, reasoning.think)


def _unverified(right: Mapping[Mode, bool], verify: Verify) -> str | None:
    """The sides that are wrong, as a reason, where `verify` needs them right."""
    wrong = [mode for mode in MODES if not right[mode]]
    accepted = {
        "none": True,
        "either": len(wrong) < len(MODES),
        "reasoning": right["reasoning"],
        "both": not wrong,
    }
    return None if accepted[verify] else f"wrong_{'_'.join(wrong)}"
