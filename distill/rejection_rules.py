"""Faults of a teacher's answer, judged from its text alone: pure functions by the name under which
they are counted."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from ratiocine.completion_parts import CLOSE, OPEN, Parts, looping, one_block, split, stray_tags
from ratiocine.prompts import CONTROL_TOKEN
from ratiocine.records import Mode

REFUSAL = re.compile(
    r"(?:i['’]?m (?:sorry|unable)|i am (?:sorry|unable)|sorry,"
    r"|i (?:cannot|can['’]?t|won['’]?t) (?:help|assist|answer|provide|do)"
    r"|as an ai\b)",
    re.IGNORECASE,
)
SCIENTIFIC = ("GREEK", "LATIN", "MATHEMATICAL")  # scripts that belong to any language


def parts_of(text: str, mode: Mode, trace: str) -> Parts:
    """The parts of a teacher's answer. With `trace="steps"`, all paragraphs of a reasoning answer
    but the last are its trace."""
    parts = split(text)
    if mode == "ift" or trace == "tags" or parts.think is not None:
        return parts
    steps, blank, answer = text.strip().rpartition("\n\n")
    return split(f"{OPEN}{steps}{CLOSE}{answer}") if blank else parts


def stop_fault(stop: str) -> str:
    """The name of an incomplete answer's fault."""
    named = {"refused": "refused_by_server", "failed": "failed_at_server", "length": "truncated"}
    return named.get(stop, stop)


def fault(text: str, stop: str, parts: Parts, mode: Mode, prompt: str) -> str | None:
    """Why an answer cannot be a target of a pair, or None."""
    if stop != "stop":
        return stop_fault(stop)
    return next((name for name, wrong in RULES.items() if wrong(text, parts, mode, prompt)), None)


def misplaced(text: str, mode: Mode) -> str | None:
    """Whether an answer has tags or control tokens where no target may have them, by name."""
    rules = ("trace_in_direct_answer", "control_token", "stray_tags")
    return next((name for name in rules if RULES[name](text, split(text), mode, "")), None)


def _script_shares(text: str) -> dict[str, float]:
    """The share of each script among the letters."""
    names = [unicodedata.name(letter, "OTHER").split()[0] for letter in text if letter.isalpha()]
    return {name: names.count(name) / len(names) for name in set(names)}


def _other_script(text: str, prompt: str) -> bool:
    """Whether a tenth of the letters belong to a script that the prompt does not use."""
    expected = {*_script_shares(prompt), *SCIENTIFIC}
    shares = _script_shares(text)
    return any(share >= 0.1 for name, share in shares.items() if name not in expected)


RULES: dict[str, Callable[[str, Parts, Mode, str], bool]] = {
    "empty": lambda text, parts, mode, prompt: not text.strip(),
    "unclosed_trace": lambda text, parts, mode, prompt: not parts.closed,
    "no_trace": lambda text, parts, mode, prompt: mode == "reasoning" and not parts.think,
    "trace_in_direct_answer": lambda text, parts, mode, prompt: mode == "ift" and bool(parts.think),
    "control_token": lambda text, parts, mode, prompt: CONTROL_TOKEN.search(text) is not None,
    "stray_tags": lambda text, parts, mode, prompt: stray_tags(one_block(text)),
    "no_answer_after_trace": lambda text, parts, mode, prompt: not parts.answer,
    "refusal": lambda text, parts, mode, prompt: REFUSAL.match(parts.answer) is not None,
    "loop": lambda text, parts, mode, prompt: looping(text),
    "other_script": lambda text, parts, mode, prompt: _other_script(text, prompt),
}
