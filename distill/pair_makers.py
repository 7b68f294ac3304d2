"""Problem → pair, by teacher: from a solution, from published answers, or from the answers of a
model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from distill import oracle, reference, replay
from distill.answer_cache import Answer, AnswerCache
from distill.answer_selection import Judged, JudgedAnswer, PairResult, pair_result
from distill.config import Config, teacher_name
from distill.facts import AnswerFacts, Tally
from distill.rejection_rules import misplaced
from distill.select import Prompts
from distill.teacher import cached_answers, request_answers
from ratiocine import models
from ratiocine.completion_parts import one_block, render, split
from ratiocine.grading import grade
from ratiocine.prompts import completion_ids
from ratiocine.records import MODES, Mode, Problem

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PairMaker = Callable[[Problem], PairResult]
Trace = Callable[[Problem], str]
Fault = Callable[[Problem, str], str | None]
# Teachers that write one solution: its trace, and why a trace is unusable.
SOLUTIONS: dict[str, tuple[Trace, Fault]] = {
    "oracle": (oracle.trace, replay.fault),
    "reference": (reference.trace, reference.fault),
}


def pair_maker(config: Config, prompts: Prompts) -> tuple[PairMaker, AnswerFacts | None]:
    """A function that makes the pair of a problem, and the facts of the answers, which it completes
    (None for `oracle` and `reference`). Requests all answers of a model first."""
    if config.teacher.name in SOLUTIONS:
        return lambda problem: from_solution(config, problem), None
    tallies: dict[Mode, Tally] = {mode: Tally() for mode in MODES}
    if config.teacher.name == "published":
        tokenizer = models.load_tokenizer(config.model)

        def from_published(problem: Problem) -> PairResult:
            for mode in MODES:
                if not isinstance(problem.meta.get(mode), str):
                    return PairResult(None, f"no_{mode}_answer")
            return pair_result(config, problem, _published(problem, tokenizer), tallies)

        return from_published, AnswerFacts(config.verify, tallies)
    cache = AnswerCache(Path(config.answer_cache))
    requested = request_answers(config, prompts, cache)
    teachers = {mode: teacher_name(config, mode) for mode in MODES}

    def from_model(problem: Problem) -> PairResult:
        answers = {
            mode: cached_answers(config, teachers[mode], problem, mode, cache) for mode in MODES
        }
        return pair_result(config, problem, answers, tallies)

    facts = AnswerFacts(
        config.verify, tallies, config.confounds(), requested.engines, requested.spent
    )
    return from_model, facts


def from_solution(config: Config, problem: Problem) -> PairResult:
    """A pair whose sides both end in the reference; a direct answer of the row comes first."""
    trace, fault = SOLUTIONS[config.teacher.name]
    judged: Judged
    if problem.reference is None:
        return PairResult(None, "no_reference")
    think, answer = trace(problem), oracle.answer(problem)
    if share := config.teacher.mistakes:
        think = oracle.with_mistake(problem, think, share, config.seed)
    if reason := fault(problem, think):
        return PairResult(None, reason, judged={"reasoning": [JudgedAnswer.written(think, reason)]})
    direct = problem.meta.get("ift")
    if not isinstance(direct, str) or not direct.strip():
        if "meta.ift" in (config.data.columns or {}):
            return PairResult(None, "no_ift_answer")
        direct = answer
    sides = render(direct), render(answer, think)
    for mode, side in zip(MODES, sides, strict=True):
        if reason := misplaced(side, mode):
            judged = {mode: [JudgedAnswer.written(side, reason)]}
            return PairResult(None, reason, judged=judged)
        if (verdict := grade(problem, split(side)).verdict) != "right":
            judged = {mode: [JudgedAnswer.written(side, verdict)]}
            return PairResult(None, f"graded_{verdict}", judged=judged)
    return PairResult(sides)


def _published(problem: Problem, tokenizer: PreTrainedTokenizerBase) -> Mapping[Mode, list[Answer]]:
    """Both answers of the data set."""
    texts = {mode: one_block(problem.meta[mode]) for mode in MODES}
    return {
        mode: [Answer.published(problem.id, text, len(completion_ids(tokenizer, text)))]
        for mode, text in texts.items()
    }
