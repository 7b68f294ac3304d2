"""How answers are worded: what stands around them and what announces them, whatever their kind."""

from __future__ import annotations

import re

STATED = re.compile(
    r"(?:####|\b(?:final\s+)?answer(?:\s+is)?\s*(?::|\bis\b)|\banswer\s+is\b)[ \t]*:?[ \t]*(?:\*\*)?\s*(?=([^\n]{1,400}))",
    re.IGNORECASE,
)
DENIED = re.compile(r"(?:\w+n't|not|never|neither|incorrect|wrong)\b", re.IGNORECASE)
STYLES = r"\\(?:text|textbf|textrm|textit|mathrm|mathbf|mathit|mathsf|boldsymbol|mbox)"
WRAPPED = re.compile(STYLES + r"\s*\{([^{}]*)\}")
WRAPPER = re.compile(STYLES + r"\s*\{")


def unwrapped(text: str) -> str:
    """The text without `\\text{…}` and the like, emphasis and math delimiters around it."""
    text = WRAPPED.sub(r"\1", text.strip().strip("*$").strip())
    if (match := WRAPPER.match(text)) and text.endswith("}"):
        text = text[match.end() : -1]
    return text.strip().strip("*$").strip()


def folded(text: str) -> str:
    """Case, spacing and a final stop do not matter."""
    return " ".join(text.casefold().split()).rstrip(".")
