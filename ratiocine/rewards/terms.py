"""Rule rewards: what a completion of a problem is worth, alone or among the other completions of its prompt.

Pure functions of a `Rollout`, each a named term with settings of its own; `RewardConfig` adds them up by weight. Accuracy *is*
`grading.grade`: a completion that cannot be read is wrong, and only a problem at fault has no reward at all. Where a paper and
its code differ both are settings, and the docstring says so. Lengths are in tokens.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import cos, pi
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ratiocine.config import Hashed
from ratiocine.grading import folded, last_number, read_number
from ratiocine.prompts import ANSWER_CLOSE, ANSWER_OPEN, CLOSE, OPEN
from ratiocine.records import Problem
from ratiocine.rewards import detection
from ratiocine.rewards.rollout import Graded, Rollout, Term
from ratiocine.rewards.unicode_scripts import OF_LANGUAGE, scripts

Finite = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]
Tokens = Annotated[int, Field(gt=0, le=10**9)]


class Accuracy(Graded):
    """1 where the grader says right, else 0 (DeepSeek-R1, arXiv 2501.12948, §2.2.2)."""

    name: Hashed[Literal["accuracy"]]

    def one(self, rollout: Rollout) -> float:
        return float(rollout.right)


PLAIN = r"(?!</?(?:think|answer)>)"  # here begins no tag
BLANK = "[\\s\u200b-\u200f\u2060\ufeff]"  # what cannot be seen is no trace and no answer
BETWEEN = rf"(?:{PLAIN}{BLANK})*{PLAIN}(?!{BLANK}).(?:{PLAIN}.)*"  # not empty, and without tags
TAGGED = re.compile(rf"\s*<think>{BETWEEN}</think>\s*<answer>{BETWEEN}</answer>\s*", re.DOTALL)
THOUGHT = re.compile(rf"\s*<think>{BETWEEN}</think>{BETWEEN}", re.DOTALL)


class Format(Term):
    """1 where the turn was ended and is one think block and one answer, each once, in this order and not empty, with nothing
    around them: as `<think>…</think><answer>…</answer>` (`r1`), or as students here are taught to write, the answer behind the
    trace without tags of its own (`think`)."""

    name: Hashed[Literal["format"]]
    style: Hashed[Literal["r1", "think"]] = "think"

    def one(self, rollout: Rollout) -> float:
        pattern = TAGGED if self.style == "r1" else THOUGHT
        return float(rollout.finished and pattern.fullmatch(rollout.whole) is not None)


class Binary(Term):
    """`right` where there is a trace and the answer is right, else `wrong` (DeepScaleR's trainer: 1 and 0; its reward class has
    1 and −1)."""

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
    """Three levels: right, wrong with a box, and wrong without one (oat-zero's math oracle: 1, −0.5, −1). What is right
    without a box is right, as for the grader."""

    graded = True
    name: Hashed[Literal["levels"]]

    def one(self, rollout: Rollout) -> float:
        return 1.0 if rollout.right else -0.5 if rollout.parts.boxed else -1.0


class Partial(Graded):
    """1 where right, 0.1 where a number could be read from the answer, else 0 (ReFT, arXiv 2401.08967, §3.2)."""

    name: Hashed[Literal["partial"]]

    def one(self, rollout: Rollout) -> float:
        said = rollout.grade.extracted
        if rollout.right or said is None:
            return float(rollout.right)
        return 0.1 if read_number(said) is not None or last_number(said) is not None else 0.0


class TagCount(Term):
    """A quarter for each of the four tags that stands exactly once on its line (Open-R1's tag_count_reward)."""

    name: Hashed[Literal["tag_count"]]

    def one(self, rollout: Rollout) -> float:
        tags = (f"{OPEN}\n", f"\n{CLOSE}\n", f"\n{ANSWER_OPEN}\n", f"\n{ANSWER_CLOSE}")
        return sum(rollout.whole.count(tag) == 1 for tag in tags) / len(tags)


class Language(Term):
    """The share of words of the trace in the target language, told by writing system; 0 without words (DeepSeek-R1, §2.3.2).
    Languages that share a writing system are not told apart."""

    name: Hashed[Literal["language"]]
    language: Hashed[str] = "en"

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.language not in OF_LANGUAGE:
            raise ValueError(f"language={self.language!r} is not one of {', '.join(OF_LANGUAGE)}")
        return self

    def one(self, rollout: Rollout) -> float:
        words = scripts(rollout.parts.think or "") if rollout.parts.closed else []
        return (
            sum(word in OF_LANGUAGE[self.language] for word in words) / len(words) if words else 0.0
        )


class Cosine(Term):
    """Cosine length reward (arXiv 2502.03373, §4.2): from the first value at length 0 to the second at `limit` tokens, shorter
    being better where right and longer where wrong; `exceed` from `limit` − 16 on. The defaults are those of §4.2's scripts;
    §4.3 has right: [6, 5] with wrong: [−10, 0]. Open-R1 counts characters, and by its defaults prefers short wrong answers."""

    graded = True
    name: Hashed[Literal["cosine"]]
    limit: Hashed[Tokens]
    right: Hashed[tuple[Finite, Finite]] = (2.0, 1.0)
    wrong: Hashed[tuple[Finite, Finite]] = (-10.0, 0.0)
    exceed: Hashed[Finite] = -10.0
    margin: Hashed[Annotated[int, Field(ge=0, le=10**9)]] = 16

    @model_validator(mode="after")
    def _wrong_is_not_paid(self) -> Self:
        if max(*self.wrong, self.exceed) > 0:
            raise ValueError(
                f"cosine: wrong={list(self.wrong)} and exceed={self.exceed:g} should be 0 or less: wrong answers are not paid"
            )
        if min(self.right) <= max(self.wrong):
            raise ValueError(
                f"cosine: right={list(self.right)} should be more than wrong={list(self.wrong)} at every length"
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
    """Kimi k1.5's length reward among the completions of one prompt (arXiv 2501.12599, §2.3.3): λ = 0.5 − (length − shortest) /
    (longest − shortest) where right, min(0, λ) where wrong, 0 where all are of one length."""

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
    """DAPO's soft punishment (arXiv 2503.14476, eq. 13): 0 up to `limit` − `cache` tokens, falling to −1 at `limit`."""

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


class Repetition(Term):
    """What is said again costs. `sparse`: `penalty` times the share of n-grams of lower-case words that stood before; `dense`:
    `penalty` for every token that is part of an n-gram of tokens that stood before (arXiv 2502.03373 and its code: 40 tokens,
    −0.05 each). 0 for fewer than n."""

    name: Hashed[Literal["repetition"]]
    form: Hashed[Literal["sparse", "dense"]] = "sparse"
    n: Hashed[Annotated[int, Field(ge=1, le=1000)]] = 3
    penalty: Hashed[Annotated[float, Field(le=0, allow_inf_nan=False)]] = -1.0

    def one(self, rollout: Rollout) -> float:
        if self.form == "dense":
            assert rollout.token_ids is not None
            return self.penalty * sum(repeated(rollout.token_ids, self.n))
        words = rollout.text.lower().split()
        grams = [tuple(words[at : at + self.n]) for at in range(len(words) - self.n + 1)]
        return self.penalty * (1 - len(set(grams)) / len(grams)) if grams else 0.0


def repeated(tokens: Sequence[int], n: int) -> list[bool]:
    """Of each token whether it is part of an n-gram that stood before."""
    seen: set[tuple[int, ...]] = set()
    found = [False] * len(tokens)
    for at in range(len(tokens) - n + 1):
        gram = tuple(tokens[at : at + n])
        if gram in seen:
            found[at : at + n] = [True] * n
        seen.add(gram)
    return found


class Instructions(Graded):
    """The share of a problem's instructions that the answer follows; for problems without any, accuracy."""

    name: Hashed[Literal["instructions"]]

    def one(self, rollout: Rollout) -> float:
        return rollout.grade.detail.get("followed", float(rollout.right))


class Label(Term):
    """1 where the answer is the reference's class or one of the two holds the other (Visual-RFT's classification reward, as
    published). It pays for naming several classes at once, and for a fragment of one; accuracy does not."""

    graded = True
    name: Hashed[Literal["label"]]

    def one(self, rollout: Rollout) -> float:
        said, wanted = (
            folded(text or "") for text in (rollout.grade.extracted, rollout.problem.reference)
        )
        return float(
            rollout.right or (bool(said and wanted) and (said in wanted or wanted in said))
        )


class Detection(Term):
    """How well the boxes of an answer, a JSON list of `{"box": [left, top, right, bottom], "confidence": 0.9}`, are those of
    the problem (`meta.boxes`): by `overlap`, or by the `confidence` given to matched and to unmatched ones (Visual-RFT)."""

    name: Hashed[Literal["detection"]]
    by: Hashed[Literal["overlap", "confidence"]] = "overlap"
    threshold: Hashed[Annotated[float, Field(ge=0, lt=1)]] = 0.5

    def lacking(self, problem: Problem) -> str | None:
        return (
            None
            if detection.are_boxes(problem.meta.get("boxes"))
            else "meta.boxes, a list of [left, top, right, bottom]"
        )

    def one(self, rollout: Rollout) -> float:
        boxes = detection.read(rollout.parts.answer)
        if boxes is None or not rollout.parts.closed or self.lacking(rollout.problem):
            return 0.0
        judge = detection.detection_reward if self.by == "overlap" else detection.confidence_reward
        return judge(boxes, rollout.problem.meta["boxes"], self.threshold)
