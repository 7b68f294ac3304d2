"""Checks of a teacher's first answers: a server may ignore parameters of a request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import cast

from distill.config import Config
from ratiocine import cli
from ratiocine.completion_parts import split
from ratiocine.errors import Failure
from ratiocine.records import Completion, Mode

IGNORED = 8  # whole answers in one mode that are all of the other, before a run ends
IDENTICAL = 16  # problems whose samples must all be identical before a warning


class SamplingCheck:
    """Whether a teacher samples at all: a server may ignore the temperature."""

    def __init__(self, samples: int) -> None:
        self.samples, self.n_identical, self.settled = samples, 0, samples == 1
        self.texts: dict[str, list[str]] = {}

    def check(self, completions: Iterable[Completion]) -> str | None:
        """A warning, once, if all samples of the first `IDENTICAL` problems are identical."""
        for completion in () if self.settled else completions:
            texts = self.texts.setdefault(completion.id, [])
            texts.append(completion.text)
            if len(texts) == self.samples:
                self.n_identical += 1
                self.settled = len(set(self.texts.pop(completion.id))) > 1
            if self.n_identical == IDENTICAL and not self.settled:
                self.settled = True
                return (
                    f"distill: warning: the {self.samples} answers to each of {IDENTICAL} prompts "
                    "are word for word the same: does the teacher sample? (`transformers serve` "
                    "does so only where generation_config.json says do_sample)"
                )
        return None


class ThinkingCheck:
    """Whether a teacher does as it is told: a server may ignore `enable_thinking`."""

    def __init__(self, config: Config) -> None:
        self.config, self.settled = config, set[Mode]()
        self.by_steps = config.thinking_prompt.trace == "steps"  # a trace without tags
        self.ignored = Counter[Mode]()

    def check(self, completions: Iterable[Completion]) -> None:
        """Raise Failure if the first `IGNORED` whole answers in one mode are all of the other."""
        for completion in completions:
            mode = cast(Mode, completion.id.partition("/")[0])
            if completion.stop != "stop" or mode in self.settled or self.by_steps:
                continue
            parts = split(completion.text)
            if bool(parts.think) == (mode == "reasoning") or completion.opened:
                self.settled.add(mode)
                continue
            self.ignored[mode] += 1
            if self.ignored[mode] == IGNORED:
                asked = "to think and did not" if mode == "reasoning" else "not to think and did"
                raise Failure(
                    f"the teacher was told {asked} in the first {IGNORED} answers: it ignores "
                    f"thinking_prompt={self.config.thinking_prompt.name}; others: "
                    f"{', '.join(cli.options('thinking_prompt'))}"
                )
