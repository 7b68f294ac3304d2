"""Verifiable instructions (IFEval, Zhou et al. 2023, arXiv 2311.07911): whether a response follows
each, strictly and loosely.

The rules are those of the published checkers, edge cases included, so that scores are comparable.
Delta: the original counts sentences and capital words with NLTK's trained tokenizer, whose data
must be downloaded; here rules count them.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Arguments = Mapping[str, Any]
MAX_LENGTH = 200_000  # characters; a longer response follows no instruction


def check(
    names: Sequence[str], arguments: Sequence[Arguments], response: str
) -> tuple[list[bool], list[bool]]:
    """Whether a response follows each instruction: strictly, and loosely (with or without its first
    line, its last line, and asterisks)."""
    if len(response) > MAX_LENGTH:
        return [False] * len(names), [False] * len(names)
    lines = response.split("\n")
    cut = ["\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1])]
    versions = [
        text for version in (response, *cut) for text in (version, version.replace("*", ""))
    ]
    strict, loose = [], []
    for name, given in zip(names, arguments, strict=True):
        known = _known(given)
        rule = INSTRUCTIONS[name].follows
        strict.append(bool(response.strip()) and rule(response, known))
        loose.append(any(version.strip() and rule(version, known) for version in versions))
    return strict, loose


def checkable(names: Sequence[str], arguments: Sequence[Arguments]) -> bool:
    """Whether all instructions are known, with the arguments that they need."""
    if not 0 < len(names) == len(arguments):
        return False
    for name, given in zip(names, arguments, strict=True):
        if name not in INSTRUCTIONS or not isinstance(given, Mapping):
            return False
        known, needed = _known(given), INSTRUCTIONS[name].arguments
        if not all(isinstance(known.get(key), kind) for key, kind in needed.items()):
            return False
    return True


def _known(arguments: Arguments) -> Arguments:
    """Without those of other instructions, which are null."""
    return {key: value for key, value in arguments.items() if value is not None}


def _compared(count: int, arguments: Arguments, threshold: str, relation: str = "relation") -> bool:
    return (
        count < arguments[threshold]
        if arguments[relation] == "less than"
        else count >= arguments[threshold]
    )


def _valid(word: str) -> str:
    """A word as the published checkers take it, as a pattern; the word itself if it is none."""
    try:
        re.compile(word)
    except re.error:
        return re.escape(word)
    return word


def _pattern(word: str, boundary: str = "") -> re.Pattern[str]:
    found = _valid(word)
    boundary = boundary if found == word else ""
    return re.compile(f"{boundary}{found}{boundary}", re.IGNORECASE)


def _keywords(text: str, a: Arguments) -> bool:
    return all(_pattern(word).search(text) for word in a["keywords"])


def _keyword_frequency(text: str, a: Arguments) -> bool:
    return _compared(len(_pattern(a["keyword"].strip()).findall(text)), a, "frequency")


def _forbidden_words(text: str, a: Arguments) -> bool:
    return not any(_pattern(word, r"\b").search(text) for word in a["forbidden_words"])


def _letter_frequency(text: str, a: Arguments) -> bool:
    return _compared(
        Counter(text.lower())[a["letter"].strip().lower()], a, "let_frequency", "let_relation"
    )


def _language(text: str, a: Arguments) -> bool:
    return _detected(text, a["language"])


def _detected(text: str, language: str) -> bool:
    """Whether langdetect finds this language; true if it finds none."""
    from langdetect import DetectorFactory, LangDetectException, detect

    DetectorFactory.seed = 0
    try:
        return detect(text) == language
    except LangDetectException:
        return True


def _sentences(text: str, a: Arguments) -> bool:
    marked = re.sub(
        r"\b(?:Mr|Mrs|Ms|Dr|Prof|St|vs|etc|e\.g|i\.e|[A-Z])\.|(?<=\d)\.(?=\d)", " ", text
    )
    found = [
        part
        for part in re.split(r"(?<=[.!?…])[\"'”’)\]]*\s+|\n{2,}", marked)
        if re.search(r"\w", part)
    ]
    return _compared(len(found), a, "num_sentences")


def _paragraphs(text: str, a: Arguments) -> bool:
    """Paragraphs are divided by `***`; only the first and the last may be empty."""
    parts = [part.strip() for part in re.split(r"\s?\*\*\*\s?", text)]
    if not all(parts[1:-1]):
        return False
    ends = {0: parts[0], len(parts) - 1: parts[-1]}  # one, if there is only one part
    return len(parts) - sum(not part for part in ends.values()) == a["num_paragraphs"]


def _words(text: str, a: Arguments) -> bool:
    return _compared(len(re.findall(r"\w+", text)), a, "num_words")


def _first_word(text: str, a: Arguments) -> bool:
    """Paragraphs are divided by an empty line; empty ones count for the position, not for the
    number of paragraphs."""
    parts = text.split("\n\n")
    filled, n = sum(bool(part.strip()) for part in parts), a["nth_paragraph"]
    if n > filled or not parts[n - 1].strip():
        return False
    word = parts[n - 1].split()[0].lstrip("'").lstrip('"')
    return (
        filled == a["num_paragraphs"]
        and re.split(r"[.,?!'\"]", word)[0].lower() == a["first_word"].lower()
    )


def _placeholders(text: str, a: Arguments) -> bool:
    return len(re.findall(r"\[.*?\]", text)) >= a["num_placeholders"]


def _postscript(text: str, a: Arguments) -> bool:
    marker = a["postscript_marker"].strip()
    patterns = {"P.P.S": r"\s*p\.\s?p\.\s?s.*$", "P.S.": r"\s*p\.\s?s\..*$"}
    pattern = patterns.get(marker) or rf"\s*{_valid(marker.lower())}.*$"
    return bool(re.search(pattern, text.lower(), re.MULTILINE))


def _bullets(text: str, a: Arguments) -> bool:
    stars = re.findall(r"^\s*\*[^\*].*$", text, re.MULTILINE)
    return len(stars) + len(re.findall(r"^\s*-.*$", text, re.MULTILINE)) == a["num_bullets"]


def _constrained(text: str, a: Arguments) -> bool:
    return any(f"My answer is {word}." in text for word in ("yes", "no", "maybe"))


def _highlights(text: str, a: Arguments) -> bool:
    single = [part for part in re.findall(r"\*[^\n\*]*\*", text) if part.strip("*").strip()]
    double = [part for part in re.findall(r"\*\*[^\n\*]*\*\*", text) if part[2:-2].strip()]
    return len(single) + len(double) >= a["num_highlights"]


def _sections(text: str, a: Arguments) -> bool:
    mark = _valid(a["section_spliter"].strip())
    return len(re.findall(rf"\s?{mark}\s?\d+\s?", text)) >= a["num_sections"]


def _json(text: str, a: Arguments) -> bool:
    text = text.strip()
    for mark in ("```json", "```Json", "```JSON", "```"):
        text = text.removeprefix(mark)
    try:
        json.loads(text.removesuffix("```").strip())
    except (ValueError, RecursionError):
        return False
    return True


def _title(text: str, a: Arguments) -> bool:
    return any(title.lstrip("<").rstrip(">").strip() for title in re.findall(r"<<[^\n]+>>", text))


def _two_responses(text: str, a: Arguments) -> bool:
    parts = [part.strip() for part in text.split("******")]
    filled = [part for part in parts if part]
    return all(parts[1:-1]) and len(filled) == 2 and filled[0] != filled[1]


def _repeat(text: str, a: Arguments) -> bool:
    return text.strip().lower().startswith(a["prompt_to_repeat"].strip().lower())


def _end(text: str, a: Arguments) -> bool:
    return text.strip().strip('"').lower().endswith(a["end_phrase"].strip().lower())


def _capital_words(text: str, a: Arguments) -> bool:
    words = re.findall(r"\w+(?:[-'.]\w+)*", text)
    return _compared(
        sum(word.isupper() for word in words), a, "capital_frequency", "capital_relation"
    )


def _quotation(text: str, a: Arguments) -> bool:
    text = text.strip()
    return len(text) > 1 and text[0] == text[-1] == '"'


@dataclass(frozen=True)
class Instruction:
    """Whether a response follows an instruction, and the arguments that this needs."""

    follows: Callable[[str, Arguments], bool]
    arguments: Mapping[str, type] = field(default_factory=dict)


INSTRUCTIONS: Mapping[str, Instruction] = {
    "keywords:existence": Instruction(_keywords, {"keywords": list}),
    "keywords:frequency": Instruction(
        _keyword_frequency, {"keyword": str, "frequency": int, "relation": str}
    ),
    "keywords:forbidden_words": Instruction(_forbidden_words, {"forbidden_words": list}),
    "keywords:letter_frequency": Instruction(
        _letter_frequency, {"letter": str, "let_frequency": int, "let_relation": str}
    ),
    "language:response_language": Instruction(_language, {"language": str}),
    "length_constraints:number_sentences": Instruction(
        _sentences, {"num_sentences": int, "relation": str}
    ),
    "length_constraints:number_paragraphs": Instruction(_paragraphs, {"num_paragraphs": int}),
    "length_constraints:number_words": Instruction(_words, {"num_words": int, "relation": str}),
    "length_constraints:nth_paragraph_first_word": Instruction(
        _first_word, {"nth_paragraph": int, "num_paragraphs": int, "first_word": str}
    ),
    "detectable_content:number_placeholders": Instruction(_placeholders, {"num_placeholders": int}),
    "detectable_content:postscript": Instruction(_postscript, {"postscript_marker": str}),
    "detectable_format:number_bullet_lists": Instruction(_bullets, {"num_bullets": int}),
    "detectable_format:constrained_response": Instruction(_constrained),
    "detectable_format:number_highlighted_sections": Instruction(
        _highlights, {"num_highlights": int}
    ),
    "detectable_format:multiple_sections": Instruction(
        _sections, {"section_spliter": str, "num_sections": int}
    ),
    "detectable_format:json_format": Instruction(_json),
    "detectable_format:title": Instruction(_title),
    "combination:two_responses": Instruction(_two_responses),
    "combination:repeat_prompt": Instruction(_repeat, {"prompt_to_repeat": str}),
    "startend:end_checker": Instruction(_end, {"end_phrase": str}),
    "startend:quotation": Instruction(_quotation),
    "change_case:capital_word_frequency": Instruction(
        _capital_words, {"capital_frequency": int, "capital_relation": str}
    ),
    "change_case:english_capital": Instruction(
        lambda text, a: text.isupper() and _detected(text, "en")
    ),
    "change_case:english_lowercase": Instruction(
        lambda text, a: text.islower() and _detected(text, "en")
    ),
    "punctuation:no_comma": Instruction(lambda text, a: "," not in text),
}
