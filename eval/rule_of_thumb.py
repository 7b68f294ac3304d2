"""The rule of thumb of arXiv 2509.22193 for what was not measured: a ratio by category and size.

Its two versions differ. Both are findings on other models (Qwen2.5 and, in v2, Gemma 3) and data,
and are never combined with measurements. v1 is read from its abstract and introduction, v2 from its
abstract, sections 3 and 4 and Table 1. Neither states ratios as a table: a version's words and the
ratio that they amount to are both given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from eval.report import PublishedAccuracy, published_rows
from ratiocine.records import CATEGORIES, JsonObject

REFERENCE = "arXiv 2509.22193 (Boizard et al.)"
TRAINING = "general-purpose training"  # of the accuracies shown


@dataclass(frozen=True)
class Version:
    """What is compared in a version of the paper, and what it concludes over all."""

    name: str
    title: str
    date: str
    compared: str
    conclusion: str


@dataclass(frozen=True)
class Rule:
    """The ratio for a category from a size on, up to the next rule's."""

    version: str
    category: str
    min_size: float
    """Weights."""
    ratio: float
    scenario: str
    reason: str


VERSIONS = (
    Version(
        "v1",
        "When Does Reasoning Matter?",
        "September 2025",
        "formats at equal size",
        "reasoning usually raises accuracy, and more so in larger models; direct answers cost less "
        "to train and to generate at a given accuracy",
    ),
    Version(
        "v2",
        "Scale or Reason?",
        "June 2026",
        "formats at equal FLOPs",
        "a larger model with direct answers is as good or better in most cases",
    ),
)
BIG = 7e9
_HELPS = "reasoning helps most in open-ended and math tasks"
_SCALE = "at equal FLOPs a larger model with direct answers is on or near the Pareto front"
RULES = (
    Rule("v1", "general-mc", 0, 0.0, "mixed", "gains are small or inconsistent"),
    Rule("v1", "general-oe", 0, 1.0, "mixed", _HELPS),
    Rule("v1", "math-mc", 0, 1.0, "mixed", _HELPS),
    Rule("v1", "math-oe", 0, 1.0, "mixed", _HELPS),
    *(Rule("v2", category, 0, 0.0, "mixed", _SCALE) for category in CATEGORIES),
    *(
        Rule(
            *("v2", category, BIG, 0.5, "sequential"),
            "reasoning is on the Pareto front in open-ended tasks, and 25 to 50 % of it, last, "
            "give most of the gain",
        )
        for category in ("general-oe", "math-oe")
    ),
)


def rule_for(version: str, category: str, size: float) -> Rule:
    """The rule of a version for a category and a number of weights."""
    return max(
        (
            rule
            for rule in RULES
            if (rule.version, rule.category) == (version, category) and rule.min_size <= size
        ),
        key=lambda rule: rule.min_size,
    )


def rules(category: str | None = None, size: float | None = None) -> list[Rule]:
    """The rules for a category and a size, or for all of them."""
    found = [rule for rule in RULES if category is None or rule.category == category]
    if size is not None:
        found = [rule for rule in found if rule_for(rule.version, rule.category, size) is rule]
    return sorted(found, key=lambda rule: (rule.version, rule.category, rule.min_size))


def lines(category: str | None = None, size: float | None = None) -> list[str]:
    """The rule of thumb in words."""
    found = [
        f"Rule of thumb of {REFERENCE}: somebody else's finding on other models and data, not a "
        "measurement of yours. Its versions differ:"
    ]
    for version in VERSIONS:
        found.append(
            f"{version.name} ({version.title}, {version.date}), {version.compared}: "
            f"{version.conclusion}."
        )
        found += [
            f"  - {_words(rule)}" for rule in rules(category, size) if rule.version == version.name
        ]
    found += _accuracies(category, size)
    return [*found, "To measure it on your models: python -m launch study=mini."]


def _words(rule: Rule) -> str:
    others = [
        one.min_size
        for one in RULES
        if (one.version, one.category) == (rule.version, rule.category)
    ]
    above = min((size for size in others if size > rule.min_size), default=None)
    where = "any size"
    if rule.min_size:
        where = f"from {rule.min_size / 1e9:g} billion weights"
    elif above:
        where = f"below {above / 1e9:g} billion weights"
    order = "" if rule.scenario == "mixed" else f" ({rule.scenario})"
    return f"{rule.category}, {where}: ratio {rule.ratio:g}{order}; {rule.reason}"


def published_size(row: PublishedAccuracy) -> float:
    """Weights of a published model, by its name."""
    return 1e9 * float(row.model.rpartition("-")[2].removesuffix("b"))


def _accuracies(category: str | None, size: float | None) -> list[str]:
    """The published accuracies of the model nearest in size."""
    if size is None:
        return []
    rows = [row for row in published_rows() if row.training == TRAINING]
    nearest = min(map(published_size, rows), key=lambda one: abs(one - size))
    parts = []
    for name in CATEGORIES if category is None else (category,):
        of = {r.ratio: r for r in rows if r.group == name and published_size(r) == nearest}
        parts.append(f"{name} {100 * of[0].accuracy:.1f} → {100 * of[1].accuracy:.1f} %")
    model = f"Qwen2.5 {nearest / 1e9:g}B"
    return [f"Published accuracies of {model}, ratio 0 → 1 (v2, Table 1): {', '.join(parts)}."]


def to_json(category: str | None, size: float | None, text: Sequence[str]) -> JsonObject:
    """What `--json` writes where nothing was measured."""
    return {
        "schema_version": 2,
        "measured": False,
        "recommended": None,
        "reference": REFERENCE,
        "versions": [asdict(version) for version in VERSIONS],
        "rule_of_thumb": [asdict(rule) for rule in rules(category, size)],
        "text": list(text),
    }
