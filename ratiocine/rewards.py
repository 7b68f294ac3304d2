"""Rule rewards: what a completion of a problem is worth, alone or among the other completions of its prompt.

Pure functions of a `Rollout`, each a named term with settings of its own; `RewardConfig` adds them up by weight. Accuracy *is*
`grading.grade`: a completion that cannot be read is wrong, and only a problem at fault has no reward at all. Where a paper and
its code differ both are settings, and the docstring says so. Lengths are in tokens.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import cos, pi
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, NonNegativeInt, PositiveInt, model_validator

from ratiocine import geometry
from ratiocine.grading import Grade, grade
from ratiocine.numbers import last_number
from ratiocine.problems import Problem
from ratiocine.prompts import ANSWER_CLOSE, ANSWER_OPEN, CLOSE, OPEN, Parts, split
from ratiocine.wording import folded


@dataclass(frozen=True)
class Rollout:
    """One completion of one prompt. `length` is its number of tokens, end-of-turn token included; `token_ids` are None where
    the engine gives none. `opened` says that the prompt itself ends inside a think block, `finished` that the model ended its
    turn."""

    problem: Problem
    text: str
    length: int
    token_ids: tuple[int, ...] | None = None
    finished: bool = True
    opened: bool = False

    @cached_property
    def parts(self) -> Parts:
        return split(self.text, finished=self.finished, opened=self.opened)

    @cached_property
    def grade(self) -> Grade:
        return grade(self.problem, self.parts)

    @property
    def right(self) -> bool:
        return self.grade.verdict == "right"

    @property
    def whole(self) -> str:
        """What a format is checked on: the completion, behind the tag that its prompt may have opened."""
        return f"{OPEN}\n{self.text}" if self.opened else self.text


class Term(BaseModel):
    """One term of a reward: its weight, and the term without whose full reward it counts for nothing (`gate`)."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    weight: FiniteFloat = 1.0
    gate: str | None = None

    def one(self, rollout: Rollout) -> float:
        """The reward of one completion, before the weight."""
        raise NotImplementedError

    def group(self, rollouts: Sequence[Rollout]) -> list[float]:
        """The rewards of all completions of one prompt."""
        return [self.one(rollout) for rollout in rollouts]


class Accuracy(Term):
    """1 where the grader says right, else 0 (DeepSeek-R1, arXiv 2501.12948, §2.2.2)."""

    name: Literal["accuracy"]

    def one(self, rollout: Rollout) -> float:
        return float(rollout.right)


PLAIN = r"(?!</?(?:think|answer)>)"  # here begins no tag
BETWEEN = rf"(?:{PLAIN}\s)*{PLAIN}\S(?:{PLAIN}.)*"  # not empty, and without tags
TAGGED = re.compile(rf"\s*<think>{BETWEEN}</think>\s*<answer>{BETWEEN}</answer>\s*", re.DOTALL)
THOUGHT = re.compile(rf"\s*<think>{BETWEEN}</think>{BETWEEN}", re.DOTALL)


class Format(Term):
    """1 where the turn was ended and is one think block and one answer, each once, in this order and not empty, with nothing
    around them: as `<think>…</think><answer>…</answer>` (`r1`), or as students here are taught to write, the answer behind the
    trace without tags of its own (`think`)."""

    name: Literal["format"]
    style: Literal["r1", "think"] = "think"

    def one(self, rollout: Rollout) -> float:
        pattern = TAGGED if self.style == "r1" else THOUGHT
        return float(rollout.finished and pattern.fullmatch(rollout.whole) is not None)


class Binary(Term):
    """`right` where a trace was closed and the answer is right, else `wrong` (DeepScaleR's trainer: 1 and 0; its reward class
    has 1 and −1)."""

    name: Literal["binary"]
    right: FiniteFloat = 1.0
    wrong: FiniteFloat = 0.0

    def one(self, rollout: Rollout) -> float:
        return self.right if rollout.right and rollout.parts.think is not None else self.wrong


class Levels(Term):
    """Three levels: right, wrong with a box, and no box (oat-zero's math oracle: 1, −0.5, −1)."""

    name: Literal["levels"]

    def one(self, rollout: Rollout) -> float:
        return 1.0 if rollout.right else -0.5 if rollout.parts.boxed else -1.0


class Partial(Term):
    """1 where right, 0.1 where a number could be read from the answer, else 0 (ReFT, arXiv 2401.08967, §3.2)."""

    name: Literal["partial"]

    def one(self, rollout: Rollout) -> float:
        if rollout.right:
            return 1.0
        return 0.1 if rollout.grade.extracted is not None and last_number(rollout.grade.extracted) is not None else 0.0


class TagCount(Term):
    """A quarter for each of the four tags that stands exactly once on its line (Open-R1's tag_count_reward)."""

    name: Literal["tag_count"]

    def one(self, rollout: Rollout) -> float:
        tags = (f"{OPEN}\n", f"\n{CLOSE}\n", f"\n{ANSWER_OPEN}\n", f"\n{ANSWER_CLOSE}")
        return sum(rollout.whole.count(tag) == 1 for tag in tags) / len(tags)


SCRIPTS = {
    "ar": "ARABIC", "de": "LATIN", "el": "GREEK", "en": "LATIN", "es": "LATIN", "fr": "LATIN", "he": "HEBREW",
    "hi": "DEVANAGARI", "it": "LATIN", "ja": "CJK HIRAGANA KATAKANA", "ko": "HANGUL", "pt": "LATIN", "ru": "CYRILLIC",
    "th": "THAI", "vi": "LATIN", "zh": "CJK",
}  # fmt: skip
SINGLE = ("CJK", "HIRAGANA", "KATAKANA", "THAI")  # written without spaces: each letter counts as a word


def scripts(text: str) -> list[str]:
    """The writing system of every word; words are runs of letters of one system."""
    found: list[str] = []
    last = ""
    for letter in text:
        script = unicodedata.name(letter, "OTHER").split()[0].split("-")[0] if letter.isalpha() else ""
        if script and (script != last or script in SINGLE):
            found.append(script)
        last = script
    return found


class Language(Term):
    """The share of words of the trace in the target language, told by writing system; 0 without words (DeepSeek-R1, §2.3.2).
    Languages that share a writing system are not told apart."""

    name: Literal["language"]
    language: str = "en"

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.language not in SCRIPTS:
            raise ValueError(f"language={self.language} is not one of {', '.join(SCRIPTS)}")
        return self

    def one(self, rollout: Rollout) -> float:
        words = scripts(rollout.parts.think or "")
        return sum(word in SCRIPTS[self.language].split() for word in words) / len(words) if words else 0.0


class Cosine(Term):
    """Cosine length reward (arXiv 2502.03373, §4.2): from the first value at length 0 to the second at `limit` tokens, shorter
    being better where right and longer where wrong; `exceed` from `limit` − 16 on. The defaults are those of §4.2's scripts;
    §4.3 has right: [6, 5] with wrong: [−10, 0]. Open-R1 counts characters, and by its defaults prefers short wrong answers."""

    name: Literal["cosine"]
    limit: PositiveInt
    right: tuple[FiniteFloat, FiniteFloat] = (2.0, 1.0)
    wrong: tuple[FiniteFloat, FiniteFloat] = (-10.0, 0.0)
    exceed: FiniteFloat = -10.0
    margin: NonNegativeInt = 16

    @model_validator(mode="after")
    def _wrong_is_not_paid(self) -> Self:
        if max(self.wrong) > 0:
            raise ValueError(f"cosine: wrong={list(self.wrong)} pays for wrong answers; give values of 0 or less")
        return self

    def one(self, rollout: Rollout) -> float:
        if rollout.length + self.margin >= self.limit:
            return self.exceed
        short, long = self.right if rollout.right else self.wrong
        return long + 0.5 * (short - long) * (1 + cos(pi * rollout.length / self.limit))


class GroupLength(Term):
    """Kimi k1.5's length reward among the completions of one prompt (arXiv 2501.12599, §2.3.3): λ = 0.5 − (length − shortest) /
    (longest − shortest) where right, min(0, λ) where wrong, 0 where all are of one length."""

    name: Literal["group_length"]

    def group(self, rollouts: Sequence[Rollout]) -> list[float]:
        lengths = [rollout.length for rollout in rollouts]
        shortest, longest = min(lengths), max(lengths)
        if shortest == longest:
            return [0.0] * len(rollouts)
        shares = [0.5 - (length - shortest) / (longest - shortest) for length in lengths]
        return [share if rollout.right else min(0.0, share) for share, rollout in zip(shares, rollouts, strict=True)]


class Overlong(Term):
    """DAPO's soft punishment (arXiv 2503.14476, eq. 13): 0 up to `limit` − `cache` tokens, falling to −1 at `limit`."""

    name: Literal["overlong"]
    limit: PositiveInt
    cache: PositiveInt

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

    name: Literal["repetition"]
    form: Literal["sparse", "dense"] = "sparse"
    n: PositiveInt = 3
    penalty: Annotated[float, Field(le=0, allow_inf_nan=False)] = -1.0

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


class Instructions(Term):
    """The share of a problem's instructions that the answer follows; for problems without any, accuracy."""

    name: Literal["instructions"]

    def one(self, rollout: Rollout) -> float:
        return rollout.grade.detail.get("followed", float(rollout.right))


class Label(Term):
    """1 where the answer is the reference's class (Visual-RFT's classification reward): `strict` where they are the same words,
    else also where one holds the other, as published, which pays for naming several classes at once."""

    name: Literal["label"]
    strict: bool = True

    def one(self, rollout: Rollout) -> float:
        said, wanted = (folded(text or "") for text in (rollout.parts.boxed or rollout.parts.answer, rollout.problem.reference))
        if not said or not wanted or not rollout.parts.closed:
            return 0.0
        return float(said == wanted or (not self.strict and (said in wanted or wanted in said)))


class Detection(Term):
    """How well the boxes of an answer, a JSON list of `{"box": [left, top, right, bottom], "confidence": 0.9}`, are those of
    the problem (`meta.boxes`): by `overlap`, or by the `confidence` given to matched and to unmatched ones (Visual-RFT)."""

    name: Literal["detection"]
    by: Literal["overlap", "confidence"] = "overlap"
    threshold: Annotated[float, Field(ge=0, lt=1)] = 0.5

    def one(self, rollout: Rollout) -> float:
        boxes, truth = geometry.read(rollout.parts.answer), rollout.problem.meta.get("boxes")
        if boxes is None or truth is None or not rollout.parts.closed:
            return 0.0
        judge = geometry.detection_reward if self.by == "overlap" else geometry.confidence_reward
        return judge(boxes, truth, self.threshold)


AnyTerm = Annotated[
    Accuracy | Format | Binary | Levels | Partial | TagCount | Language | Cosine | GroupLength | Overlong | Repetition
    | Instructions | Label | Detection,
    Field(discriminator="name"),
]  # fmt: skip


class RewardConfig(BaseModel):
    """conf/reward: the terms that are added up. A term with a `gate` counts only for completions to which the gate, another
    term, gives its most (1)."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    terms: Annotated[list[AnyTerm], Field(min_length=1)]

    @model_validator(mode="after")
    def _gates_are_terms(self) -> Self:
        names = [term.name for term in self.terms]
        if repeated_names := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"the term '{repeated_names[0]}' occurs twice")
        for term in self.terms:
            if term.gate is not None and (term.gate == term.name or term.gate not in names):
                raise ValueError(f"{term.name}: gate={term.gate} is no other term; there are: {', '.join(names)}")
        return self

    def components(self, rollouts: Sequence[Rollout]) -> dict[str, list[float]]:
        """What each term gives to each completion of one prompt, before weights and gates."""
        return {term.name: term.group(rollouts) for term in self.terms}

    def totals(self, components: Mapping[str, Sequence[float]]) -> list[float]:
        """The rewards that these components add up to."""
        found = [0.0] * len(next(iter(components.values())))
        for term in self.terms:
            gate = components[term.gate] if term.gate else [1.0] * len(found)
            for at, (value, opened) in enumerate(zip(components[term.name], gate, strict=True)):
                found[at] += term.weight * value * (opened >= 1)
        return found

    def __call__(self, rollouts: Sequence[Rollout]) -> list[float | None]:
        """The rewards of all completions of one prompt; None where the problem, not the completion, is at fault."""
        totals = self.totals(self.components(rollouts))
        return [
            None if rollout.grade.verdict == "ungradable" else total for rollout, total in zip(rollouts, totals, strict=True)
        ]
