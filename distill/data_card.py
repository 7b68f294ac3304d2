"""The data card of a set of pairs, in the form that the hub shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import yaml

from distill.config import Config
from ratiocine.records import MODES


def text(config: Config, facts: Mapping[str, Any]) -> str:
    """`README.md`: what the pairs are, where they come from, and what was left out."""
    head = {
        "license": str(config.data.license or "unknown").lower(),
        "tags": ["reasoning", "distillation", "paired"],
        "configs": [
            {"config_name": "default", "data_files": [{"split": "train", "path": "pairs.parquet"}]}
        ],
    }
    means = facts["mean_tokens"]
    lines = [
        "---",
        yaml.safe_dump(head, sort_keys=False).strip(),
        "---",
        "",
        f"# {facts['n']} pairs: {config.data.name}, answered by {_teacher(config)}",
        "",
        "Each row is one prompt with two answers: `ift`, given directly, and `reasoning`, with its trace in think tags first. "
        "A row is here only whole.",
        "",
        f"- Prompts: {config.data.name}{_where(config)}. Licence: {config.data.license or 'not said'}.",
        f"- Tokens on average, by the tokenizer of {config.model.name}: prompt {means['prompt']}, direct {means['ift']}, "
        f"reasoning {means['reasoning']}.",
        f"- Shared with the test split of the same data: {_shared(facts)}.",
        f"- Benchmarks that none of the prompts shares {config.select.ngram} words in a row with: "
        f"{', '.join(facts['decontaminated']) or 'none was looked at'}.",
    ]
    if "answers" in facts:
        lines += ["", *_asked(config, facts)]
    lines += ["", "![tokens of both answers](lengths.svg)"]
    if facts["dropped"]:
        lines += ["", "## Left out", "", *_table(["reason", "problems"], facts["dropped"].items())]
    if facts["by_level"]:
        rows = (
            (level, kept, of, f"{kept / of:.0%}") for level, (kept, of) in facts["by_level"].items()
        )
        lines += ["", "## By difficulty", "", *_table(["level", "pairs", "problems", "kept"], rows)]
    return "\n".join(lines) + "\n"


def _teacher(config: Config) -> str:
    engine = config.teacher.engine
    served = engine.model if engine is not None and engine.name == "openai" else None
    return config.teacher.model or served or f"the {config.teacher.name} teacher"


def _where(config: Config) -> str:
    hub = config.data.hub
    if config.data.path or config.data.data_dir or hub is None:
        return " (local)" if config.data.path or config.data.data_dir else " (generated)"
    return f" ({hub.repo} at {hub.revision[:12] if hub.revision else 'its newest revision of that day'})"


def _shared(facts: Mapping[str, Any]) -> str:
    shared = facts["disjoint"]["shared"]
    return "not known" if shared is None else f"{shared} of {facts['n']}"


def _asked(config: Config, facts: Mapping[str, Any]) -> list[str]:
    """How both modes were asked, and what became of their answers: an asymmetry between them biases a study."""
    verified = {
        "both": "both answers are right",
        "reasoning": "the reasoning answer is right",
        "either": "at least one answer is right",
        "none": "nothing was checked against the reference",
    }[config.verify]
    differ = ", ".join(facts["confounds"])
    lines = [
        "## How it was made",
        "",
        f"- Thinking switched by: {config.thinking_prompt.name}. Answers of each mode to choose from: {config.samples}, of which the "
        f"{config.answer_selection} one was taken. Budget: {config.max_new_tokens} tokens.",
        f"- Decoding: temperature {config.temperature:g}, top_p {config.top_p:g}, seed {config.seed}, "
        + (
            f"but the modes differ in {differ}: A CONFOUND."
            if differ
            else "the same in both modes."
        ),
        f"- Where there is a reference, {verified}.",
    ]
    rows = []
    outcomes = sorted({fate for mode in MODES for fate in facts["answers"][mode]["outcomes"]})
    for name in ("answers", "mean_tokens", "closed_trace", "problems_with_equal_answers"):
        rows.append((name.replace("_", " "), *(facts["answers"][mode][name] for mode in MODES)))
    rows += [
        (
            fate.replace("_", " "),
            *(facts["answers"][mode]["outcomes"].get(fate, 0) for mode in MODES),
        )
        for fate in outcomes
    ]
    return [*lines, "", *_table(["answers", "direct", "reasoning"], rows)]


def _table(head: Sequence[str], rows: Any) -> list[str]:
    return [
        f"| {' | '.join(head)} |",
        f"|{' --- |' * len(head)}",
        *(f"| {' | '.join(escape(str(cell)) for cell in row)} |" for row in rows),
    ]
