"""Patterns of reasoning in traces: families of regular expressions, counted in every set of pairs.

The first four are the habits of Gandhi et al. 2025 (arXiv 2503.01307), who count them by a language
model; these are English phrases. Case is ignored.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from ratiocine.completion_parts import split

FAMILIES: Mapping[str, str] = {
    "verification": r"\b(?:double[- ]?check|verif(?:y|ies|ied|ying)|sanity check"
    r"|check(?:ing)? (?:that|this|it|whether|if|my|our|the)|plug(?:ging)? \S+ back)\b",
    "backtracking": r"\b(?:wait|hold on|hmm|on second thought|scratch that|go(?:ing)? back"
    r"|(?:start|begin|try)(?:ing)? (?:over|again))\b",
    "subgoal": r"\b(?:first,|step \d+|(?:next|then|now),? (?:i|we|let)\b|sub-?goals?\b)",
    "backward_chaining": r"\bwork(?:ing)? backwards?\b",
    "correction": r"\b(?:(?:is|was|'s) (?:wrong|incorrect|not (?:right|correct))"
    r"|(?:made|make|is|was) (?:a|an) (?:\w+ )?(?:mistake|error))\b",
    "alternative": r"\b(?:alternatively|another (?:way|approach|method|possibility))\b",
}


def patterns(own: Mapping[str, str]) -> dict[str, re.Pattern[str]]:
    """The compiled families, those of the configuration included."""
    return {
        name: re.compile(pattern, re.IGNORECASE) for name, pattern in {**FAMILIES, **own}.items()
    }


def count_patterns(text: str, families: Mapping[str, re.Pattern[str]]) -> dict[str, int]:
    """Matches in the trace of a reasoning completion, by family."""
    trace = split(text).think or ""
    return {name: sum(1 for _ in pattern.finditer(trace)) for name, pattern in families.items()}


def pattern_fault(
    found: Mapping[str, int], required: Collection[str], excluded: Collection[str]
) -> str | None:
    """The first family that a trace lacks or should not have, as a reason to reject it."""
    if missing := next((name for name in required if not found[name]), None):
        return f"without_{missing}"
    unwanted = next((name for name in excluded if found[name]), None)
    return f"with_{unwanted}" if unwanted else None
