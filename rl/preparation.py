"""The problems of a run and their prompts, checked before any weights are read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ratiocine import cli, models, rendering
from ratiocine.completion_parts import CLOSE
from ratiocine.data import DataConfig, sources
from ratiocine.errors import BadInput
from ratiocine.evaluate import key
from ratiocine.grading import KINDS
from ratiocine.hashing import smallest
from ratiocine.prompts import (
    PREFILLED,
    check_switch,
    opens_thinking,
    prompt_ids,
    prompt_text,
    stop_ids,
    user_text,
)
from ratiocine.records import Problem
from rl.config import Config

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

THINK_TERMS = ("format", "binary", "tag_count")  # reward terms that require a think block
SHOWN = 5  # ids that a message lists
NOT_TEXT = ("true", "false", "null", "nan", "inf")  # values of the command line


@dataclass(frozen=True)
class PreparedProblems:
    """Problems with what their prompts depend on."""

    problems: list[Problem]
    """To train on."""
    validation: list[Problem]
    tokenizer: PreTrainedTokenizerBase
    """With the chat template that the student keeps."""
    thinking: bool | None
    """Switch of the chat template; None leaves its default."""
    max_prompt_tokens: int
    """Of the problems to train on."""

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """Tokens that end a completion."""
        return stop_ids(self.tokenizer)


def prepare(config: Config) -> PreparedProblems:
    """Load and check problems. Raises BadInput where a reward needs what a problem or the prompt
    lacks."""
    loaded = sources.load(config.data, "train", seed=config.seed, limit=config.limit)
    for reason, ids in loaded.dropped.items():
        print(f"{config.data.label}: {len(ids)} dropped ({reason}): {_listed(ids)}")
    check_problems(config, loaded.problems)
    train, validation = validation_split(config, loaded.problems)
    tokenizer = models.load_tokenizer(config.model)
    thinking = config.thinking
    if thinking is None and (folder := models.locate(config.model)) is not None:
        thinking = rendering.asked_to_think(folder)
    if thinking is not None:
        check_switch(tokenizer)
    if config.prefill_think:
        if opens_thinking(prompt_text(tokenizer, "?", thinking)):
            raise BadInput(
                "prefill_think=true: the chat template opens a think block already; leave it out"
            )
        tokenizer.chat_template += PREFILLED
    check_prompt(config, tokenizer, thinking)
    longest = longest_prompt(tokenizer, train, thinking)
    return PreparedProblems(train, validation, tokenizer, thinking, longest)


def longest_prompt(
    tokenizer: PreTrainedTokenizerBase, problems: Iterable[Problem], thinking: bool | None
) -> int:
    """Tokens of the longest prompt."""
    return max(len(prompt_ids(tokenizer, user_text(one), thinking=thinking)) for one in problems)


def validation_split(
    config: Config, problems: Sequence[Problem]
) -> tuple[list[Problem], list[Problem]]:
    """Problems to train on, and `val_size` gradable ones, those of the smallest seeded hash. Raises
    BadInput where too few are left for a step."""
    gradable = [key(problem) for problem in problems if KINDS[problem.kind].usable(problem)]
    validation = set(smallest(gradable, config.val_size, config.seed))
    train = [problem for problem in problems if key(problem) not in validation]
    if len(train) < config.problems:
        spare = len(problems) - config.problems
        raise BadInput(
            f"data={config.data.label}: {len(problems)} problems less val_size={config.val_size} "
            f"for validation are fewer than the {config.problems} of a step; try "
            + (
                f"val_size={min(spare, len(problems) // 5)}"
                if spare >= 0
                else "a smaller batch_size"
            )
        )
    return train, [problem for problem in problems if key(problem) in validation]


def check_problems(config: Config, problems: Sequence[Problem]) -> None:
    """Raise BadInput where problems lack what a term of the reward needs."""
    lacking = {p.id: what for p in problems if (what := config.reward.lacking(p)) is not None}
    if config.reward.graded:
        unusable = [p.id for p in problems if not KINDS[p.kind].usable(p)]
        lacking |= dict.fromkeys(unusable, "a reference that can be graded")
    if lacking:
        raise BadInput(
            f"reward={config.reward.name}: {len(lacking)} of {len(problems)} problems of data="
            f"{config.data.label} lack {next(iter(lacking.values()))}: {_listed(list(lacking))}"
        )


def check_prompt(config: Config, tokenizer: PreTrainedTokenizerBase, thinking: bool | None) -> None:
    """Raise BadInput where the prompt closes the think block that the reward requires."""
    marker = "RATIOCINE"
    tail = prompt_text(tokenizer, marker, thinking).rpartition(marker)[2]
    requiring = [term.name for term in config.reward.terms if term.name in THINK_TERMS]
    if CLOSE in tail and requiring:
        raise BadInput(
            f"reward={config.reward.name}: the term '{requiring[0]}' requires a think block, which "
            f"the prompt has closed: it ends with {tail[-40:]!r}; give thinking=true, another chat "
            "template, or a reward without it"
        )


def test_split(data: DataConfig) -> list[str]:
    """The words of `eval` for the test split of the problems; `benchmarks=BENCHMARK` where they
    have none."""
    if data.mix or not sources.has(data, "test"):
        return ["benchmarks=BENCHMARK"]
    named = cli.named("data", data.name, DataConfig)
    source = data.path or (data.hub.repo if data.hub and not named.hub else None)
    if source is None:
        folder = [] if data.data_dir is None else [f"data_dir={cli.quoted(data.data_dir)}"]
        return [f"benchmarks={data.name}", *folder]
    words = [f"benchmarks=[{cli.quoted(source)}]"]
    if data.test_size is not None:
        words.append(f"test_size={data.test_size:g}")
    if data.columns:
        columns = (f"{name}: {_word(column)}" for name, column in data.columns.items())
        words.append(f"columns={{{', '.join(columns)}}}")
    given = {"kind": data.kind, "category": data.category}
    return words + [f"{key}={_word(value)}" for key, value in given.items() if value]


def _word(text: str) -> str:
    """An override's value, in quotes where it may be read as anything but this text."""
    plain = re.fullmatch(r"[A-Za-z][\w-]*", text, re.ASCII)
    return text if plain and text.lower() not in NOT_TEXT else cli.quoted(text)


def _listed(ids: Sequence[str]) -> str:
    return ", ".join(ids[:SHOWN]) + (" …" if len(ids) > SHOWN else "")
