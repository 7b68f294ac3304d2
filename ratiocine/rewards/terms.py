"""Rule-based rewards: pure functions of a rollout, or of all rollouts of one prompt.

Each is a named term with its own settings; `RewardConfig` adds them up by weight. Accuracy *is*
`grading.grade`: an unreadable completion is wrong, and only a faulty problem has no reward. Where a
paper and its code differ, both are settings and the docstring says so. Lengths are in tokens.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import cos, pi
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ratiocine.completion_parts import ANSWER_CLOSE, ANSWER_OPEN, CLOSE, OPEN
from ratiocine.config import Hashed
from ratiocine.grading import UNSPACED, folded, last_number, read_number
from ratiocine.records import Problem
from ratiocine.rewards import detection
from ratiocine.rewards.rollout import Graded, Rollout, Term
from ratiocine.rewards.unicode_scripts import OF_LANGUAGE, scripts

Finite = Annotated[float, Field(ge=-1e6, le=1e6)]
Tokens = Annotated[int, Field(gt=0, le=10**9)]


class Accuracy(Graded):
    """1 if the answer is right, else 0 (DeepSeek-R1, arXiv 2501.12948, §2.2.2)."""

    name: Hashed[Literal["accuracy"]]

    def one(self, rollout: Rollout) -> float:
        return float(rollout.right)


PLAIN = r"(?!</?(?:think|answer)>)"  # no tag begins here
BLANK = "[\\s\u200b-\u200f\u2060\ufeff]"  # zero-width characters are no content
BETWEEN = rf"(?:{PLAIN}{BLANK})*{PLAIN}(?!{BLANK}).(?:{PLAIN}.)*"  # not blank, and without tags
TAGGED = re.compile(rf"\s*<think>{BETWEEN}</think>\s*<answer>{BETWEEN}</answer>\s*", re.DOTALL)
THOUGHT = re.compile(rf"\s*<think>{BETWEEN}</think>{BETWEEN}", re.DOTALL)


class Format(Term):
    """1 if the turn is finished and consists of exactly one non-empty think block and one non-empty
    answer, else 0.

    `r1`: `<think>…</think><answer>…</answer>`. `think`: the answer follows the think block without
    tags, as in SFT here.
    """

    name: Hashed[Literal["format"]]
    style: Hashed[Literal["r1", "think"]] = "think"

    def one(self, rollout: Rollout) -> float:
        pattern = TAGGED if self.style == "r1" else THOUGHT
        return float(rollout.finished and pattern.fullmatch(rollout.whole) is not None)


class Binary(Term):
    """`right` for a right answer with a trace, else `wrong` (DeepScaleR's trainer: 1 and 0; its
    reward class: 1 and −1)."""

    graded = True
    name: Hashed[Literal["binary"]]
    right: Hashed[Finite] = 1.0
    wrong: Hashed[Finite] = 0.0

    @model_validator(mode="after")
    def _right_is_worth_more(self) -> Self:
        if self.right <= self.wrong:
            raise ValueError(
                f"binary: right={self.right:g} should be more than wrong={self.wrong:g}"
            )
        return self

    def one(self, rollout: Rollout) -> float:
        return self.right if rollout.right and rollout.parts.think else self.wrong


class Levels(Term):
    """1 if right, −0.5 if wrong with a non-empty `\\boxed{}`, else −1 (oat-zero's math oracle).
    Unlike there, a right answer needs no box."""

    graded = True
    name: Hashed[Literal["levels"]]

    def one(self, rollout: Rollout) -> float:
        return 1.0 if rollout.right else -0.5 if rollout.parts.boxed else -1.0


class Partial(Graded):
    """1 if right, 0.1 if the answer has a number, else 0 (ReFT, arXiv 2401.08967, §3.2)."""

    name: Hashed[Literal["partial"]]

    def one(self, rollout: Rollout) -> float:
        answer = rollout.grade.extracted
        if rollout.right or answer is None:
            return float(rollout.right)
        return 0.1 if read_number(answer) is not None or last_number(answer) is not None else 0.0


class TagCount(Term):
    """A quarter for each of the four tags that occurs exactly once, on its own line (Open-R1's
    tag_count_reward)."""

    name: Hashed[Literal["tag_count"]]

    def one(self, rollout: Rollout) -> float:
        tags = (f"{OPEN}\n", f"\n{CLOSE}\n", f"\n{ANSWER_OPEN}\n", f"\n{ANSWER_CLOSE}")
        return sum(rollout.whole.count(tag) == 1 for tag in tags) / len(tags)


class Language(Term):
    """The share of the trace's words in the target language; 0 without words (DeepSeek-R1, §2.3.2).
    Words are classified by script only: languages with one script are not distinguished."""

    name: Hashed[Literal["language"]]
    language: Hashed[str] = "en"

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.language not in OF_LANGUAGE:
            raise ValueError(f"language={self.language!r} is not one of {', '.join(OF_LANGUAGE)}")
        return self

    def one(self, rollout: Rollout) -> float:
        words = scripts(rollout.parts.think or "") if rollout.parts.closed else []
        expected = OF_LANGUAGE[self.language]
        return sum(script in expected for script in words) / len(words) if words else 0.0


class Cosine(Term):
    """Cosine length reward (arXiv 2502.03373, §4.2): from the first value of `right` or `wrong` at
    length 0 to the second at `limit` tokens; `exceed` from `limit` − `margin` on.

    The defaults are those of §4.2's scripts; §4.3 has right: [6, 5] with wrong: [−10, 0]. Open-R1
    counts characters, and its defaults prefer short wrong answers.
    """

    graded = True
    name: Hashed[Literal["cosine"]]
    limit: Hashed[Tokens]
    right: Hashed[tuple[Finite, Finite]] = (2.0, 1.0)
    wrong: Hashed[tuple[Finite, Finite]] = (-10.0, 0.0)
    exceed: Hashed[Finite] = -10.0
    margin: Hashed[Annotated[int, Field(ge=0, le=10**9)]] = 16

    @model_validator(mode="after")
    def _wrong_is_not_paid(self) -> Self:
        right, wrong = list(self.right), list(self.wrong)
        if max(*wrong, self.exceed) > 0:
            raise ValueError(
                f"cosine: wrong={wrong} and exceed={self.exceed:g} should be 0 or less: wrong "
                "answers are not paid"
            )
        if min(right) <= max(wrong):
            raise ValueError(
                f"cosine: right={right} should be more than wrong={wrong} at every length"
            )
        if self.limit <= self.margin:
            raise ValueError(f"cosine: limit={self.limit} should be more than margin={self.margin}")
        return self

    def one(self, rollout: Rollout) -> float:
        if rollout.length + self.margin >= self.limit:
            return self.exceed
        short, long = self.right if rollout.right else self.wrong
        return long + 0.5 * (short - long) * (1 + cos(pi * rollout.length / self.limit))


class GroupLength(Term):
    """Kimi k1.5's length reward over the completions of one prompt (arXiv 2501.12599, §2.3.3): λ =
    0.5 − (length − shortest) / (longest − shortest) if right, min(0, λ) if wrong, 0 if all lengths
    are equal."""

    graded = True
    name: Hashed[Literal["group_length"]]

    def group(self, rollouts: Sequence[Rollout]) -> list[float]:
        lengths = [rollout.length for rollout in rollouts]
        shortest, longest = min(lengths), max(lengths)
        if shortest == longest:
            return [0.0] * len(rollouts)
        shares = [0.5 - (length - shortest) / (longest - shortest) for length in lengths]
        return [
            share if rollout.right else min(0.0, share)
            for share, rollout in zip(shares, rollouts, strict=True)
        ]


class Overlong(Term):
    """DAPO's soft overlong punishment (arXiv 2503.14476, eq. 13): 0 up to `limit` − `cache` tokens,
    falling to −1 at `limit`."""

    name: Hashed[Literal["overlong"]]
    limit: Hashed[Tokens]
    cache: Hashed[Tokens]

    @model_validator(mode="after")
    def _cache_within_the_limit(self) -> Self:
        if self.cache > self.limit:
            raise ValueError(f"overlong: cache={self.cache} is more than limit={self.limit}")
        return self

    def one(self, rollout: Rollout) -> float:
        return min(0.0, max(-1.0, (self.limit - self.cache - rollout.length) / self.cache))


WORDS = re.compile(rf"[{UNSPACED}]|[^\s{UNSPACED}]+")


class Repetition(Term):
    """Penalty for repeated n-grams; 0 for texts shorter than n.

    `sparse`: `penalty` times the share of repeated n-grams of lower-case words (letters, in scripts
    without blanks between words). `dense`: `penalty`
    for every token of a repeated n-gram of tokens (arXiv 2502.03373 and its code: 40 tokens, −0.05
    each).
    """

    name: Hashed[Literal["repetition"]]
    form: Hashed[Literal["sparse", "dense"]] = "sparse"
    n: Hashed[Annotated[int, Field(ge=1, le=1000)]] = 3
    penalty: Hashed[Annotated[float, Field(le=0)]] = -1.0

    def one(self, rollout: Rollout) -> float:
        if self.form == "dense":
            assert rollout.token_ids is not None
            return self.penalty * sum(repeated(rollout.token_ids, self.n))
        words = WORDS.findall(rollout.text.lower())
        grams = [tuple(words[at : at + self.n]) for at in range(len(words) - self.n + 1)]
        return self.penalty * (1 - len(set(grams)) / len(grams)) if grams else 0.0


def repeated(tokens: Sequence[int], n: int) -> list[bool]:
    """For each token, whether it is part of an n-gram that occurred before."""
    seen: set[tuple[int, ...]] = set()
    found = [False] * len(tokens)
    for at in range(len(tokens) - n + 1):
        gram = tuple(tokens[at : at + n])
        if gram in seen:
            found[at : at + n] = [True] * n
        seen.add(gram)
    return found


class Instructions(Graded):
    """The share of the problem's instructions that are followed; accuracy for problems of another
    kind."""

    name: Hashed[Literal["instructions"]]

    def one(self, rollout: Rollout) -> float:
        return rollout.grade.detail.get("followed", float(rollout.right))


class Label(Term):
    """1 if the answer is right, or if answer or reference contains the other (Visual-RFT's
    classification reward, as published). Unlike accuracy, it rewards several classes at once, and a
    fragment of one."""

    graded = True
    name: Hashed[Literal["label"]]

    def one(self, rollout: Rollout) -> float:
        answer = folded(rollout.grade.extracted or "")
        reference = folded(rollout.problem.reference or "")
        contained = answer in reference or reference in answer
        return float(rollout.right or (bool(answer and reference) and contained))


class Detection(Term):
    """Agreement of an answer's boxes, a JSON list of `{"box": [left, top, right, bottom],
    "confidence": 0.9}`, with those of the problem (`meta.boxes`): by `overlap`, or by the
    `confidence` of matched and unmatched boxes (Visual-RFT)."""

    name: Hashed[Literal["detection"]]
    by: Hashed[Literal["overlap", "confidence"]] = "overlap"
    threshold: Hashed[Annotated[float, Field(ge=0, lt=1)]] = 0.5

    def lacking(self, problem: Problem) -> str | None:
        if detection.are_boxes(problem.meta.get("boxes")):
            return None
        return "meta.boxes, a list of [left, top, right, bottom]"

    def one(self, rollout: Rollout) -> float:
        boxes = detection.read(rollout.parts.answer)
        if boxes is None or not rollout.parts.closed or self.lacking(rollout.problem):
            return 0.0
        judge = detection.detection_reward if self.by == "overlap" else detection.confidence_reward
        return judge(boxes, rollout.problem.meta["boxes"], self.threshold)
