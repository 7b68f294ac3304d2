"""The wording around answers of every kind: statements, denials, wrapping."""

from __future__ import annotations

import re

STATED = re.compile(
    r"(?:####|\b(?:final\s+)?answer(?:\s+is)?\s*(?::|\bis\b)"
    r"|\banswer\s+is\b)[ \t]*:?[ \t]*(?:\*\*)?\s*(?=([^\n]{1,400}))",
    re.IGNORECASE,
)
DENIED = re.compile(r"(?:\w+n't|not|never|neither|incorrect|wrong)\b", re.IGNORECASE)
STYLES = (
    r"\\(?:text(?:bf|rm|it|sf|tt)?|math(?:rm|bf|it|sf|tt|cal)|boldsymbol|mbox|fbox|underline|emph)"
)
# Just before an answer: a denial, or words that make it only a bound.
BEFORE_DENIED = re.compile(
    r"(?:\b(?:not|never|neither|cannot|can't|no longer|maybe|but|except|eliminate|exclude)|n['’]t"
    r"|\b(?:greater|more|less|fewer|larger|smaller) than)\s+(?:[\w'’]+\s+){0,2}[$(]*$",
    re.IGNORECASE,
)
WRAPPED = re.compile(STYLES + r"\s*\{([^{}]*)\}")
WRAPPER = re.compile(STYLES + r"\s*\{")


def unwrapped(text: str) -> str:
    """The text without `\\text{…}` and the like, emphasis and math delimiters around it."""
    text = WRAPPED.sub(r"\1", _undelimited(text))
    if (match := WRAPPER.match(text)) and text.endswith("}"):
        text = text[match.end() : -1]
    return _undelimited(text)


def _undelimited(text: str) -> str:
    text = text.strip().lstrip("*$").strip()
    while text.endswith(("*", "$")) and not text.endswith("\\$"):
        text = text[:-1].rstrip()
    return text


def folded(text: str) -> str:
    """The text in lower case, with single spaces, without final stops."""
    return " ".join(text.casefold().split()).rstrip(".")
