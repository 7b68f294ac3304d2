"""The data card of a set of pairs, in the form that the hub shows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

import yaml

from distill.config import Config
from distill.facts import AnswerFacts, Facts
from ratiocine import models
from ratiocine.records import MODES
from ratiocine.runs import base_name

FROM_DATA = "- Both answers are those of the data set."


def text(config: Config, facts: Facts) -> str:
    """`README.md`: what the pairs are, where they come from, and what was rejected."""
    head = {
        "license": str(config.data.license or "unknown").lower(),
        "tags": ["reasoning", "distillation", "paired"],
        "configs": [
            {"config_name": "default", "data_files": [{"split": "train", "path": "pairs.parquet"}]}
        ],
    }
    means = facts.mean_tokens
    lines = [
        "---",
        yaml.safe_dump(head, sort_keys=False).strip(),
        "---",
        "",
        f"# {facts.n} pairs: {config.data.label}, answered by {_teacher(config)}",
        "",
        "Each row is one prompt with two answers: `ift`, given directly, and `reasoning`, with its "
        "trace in think tags first. Problems without both answers are rejected.",
        "",
        f"- Prompts: {config.data.label}{_where(config)}. "
        f"License: {config.data.license or 'unknown'}.",
        *_teacher_license(facts),
        f"- Mean tokens, by the tokenizer of {base_name(config.model.name, config.model.path)}: "
        f"prompt {means['prompt']}, direct {means['ift']}, reasoning {means['reasoning']}.",
        f"- Shared with the test split of the same data: {_shared(facts)}.",
        f"- Benchmarks with which no prompt shares {config.select.ngram} consecutive words: "
        f"{', '.join(facts.decontaminated) or 'none was checked'}.",
    ]
    if facts.answers is not None:
        lines += ["", *_answers(config, facts.answers)]
    lines += ["", "![tokens of both answers](lengths.svg)"]
    if facts.dropped:
        lines += ["", "## Rejected", "", *_table(["reason", "problems"], facts.dropped.items())]
    if any(pairs for pairs, _ in facts.patterns.values()):
        counts = [(name, pairs, n) for name, (pairs, n) in facts.patterns.items()]
        lines += ["", "## Patterns in traces", "", *_table(["family", "pairs", "matches"], counts)]
    if facts.by_level:
        rows = [(level, n, of, f"{n / of:.0%}") for level, (n, of) in facts.by_level.items()]
        lines += ["", "## By difficulty", "", *_table(["level", "pairs", "problems", "kept"], rows)]
    return "\n".join(lines) + "\n"


def _teacher(config: Config) -> str:
    engine = config.teacher.engine
    served = engine.model if engine is not None and engine.name == "openai" else None
    return config.teacher.model or served or f"the {config.teacher.name} teacher"


def _teacher_license(facts: Facts) -> list[str]:
    """The license of the teacher's model, with the notice that it requires."""
    name = facts.teacher_license
    notice = f" {models.NOTICES[name]}." if name in models.NOTICES else ""
    return [f"- License of the teacher: {name}.{notice}"] if name else []


def _where(config: Config) -> str:
    hub = config.data.hub
    if config.data.path or config.data.data_dir:
        return " (local)"
    if hub is None:
        return " (generated)"
    revision = hub.revision[:12] if hub.revision else "its newest revision of that day"
    return f" ({hub.repo} at {revision})"


def _shared(facts: Facts) -> str:
    return "not known" if facts.shared is None else f"{facts.shared} of {facts.n}"


def _answers(config: Config, facts: AnswerFacts) -> list[str]:
    """How both modes were asked, and what became of their answers: an asymmetry biases a study."""
    verified = {
        "both": "both answers are right",
        "reasoning": "the reasoning answer is right",
        "either": "at least one answer is right",
        "none": "nothing was checked against the reference",
    }[config.verify]
    differ = ", ".join(facts.confounds)
    same = f"but the modes differ in {differ}: A CONFOUND" if differ else "the same in both modes"
    lines = [
        "## How it was made",
        "",
        *(_asked(config, same) if facts.engines is not None else (FROM_DATA,)),
        f"- Where there is a reference, {verified}.",
    ]
    tallies = [facts.tallies[mode] for mode in MODES]
    stored = [tally.to_json() for tally in tallies]
    rows = [
        (name.replace("_", " "), *(values[name] for values in stored))
        for name in ("answers", "mean_tokens", "closed_trace", "problems_with_equal_answers")
    ]
    rows += [
        (outcome.replace("_", " "), *(tally.outcomes[outcome] for tally in tallies))
        for outcome in sorted({*tallies[0].outcomes, *tallies[1].outcomes})
    ]
    return [*lines, "", *_table(["answers", "direct", "reasoning"], rows)]


def _asked(config: Config, same: str) -> tuple[str, str]:
    return (
        f"- Thinking switched by: {config.thinking_prompt.name}. Answers per mode: "
        f"{config.samples}, selected by: {config.answer_selection}. Limit: {config.max_new_tokens} "
        "tokens.",
        f"- Decoding: temperature {config.temperature:g}, top_p {config.top_p:g}, seed "
        f"{config.seed}, {same}.",
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    return [
        f"| {' | '.join(head)} |",
        f"|{' --- |' * len(head)}",
        *(f"| {' | '.join(escape(str(cell)) for cell in row)} |" for row in rows),
    ]
