"""Problems × teacher → verified pairs: the same prompt answered directly and with a trace. A pair
is written whole or not at all."""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import IO

from distill import data_card, pass_counts
from distill.config import Config, check_oracle, inputs, teacher_model
from distill.facts import AnswerFacts, Facts
from distill.pair_makers import SOLUTIONS, PairMaker, pair_maker
from distill.pair_selection import PairSummary, domain, outside, selected
from distill.rejections import FILE as REJECTED
from distill.rejections import Rejections
from distill.select import Prompts
from distill.teacher_config import model_named
from distill.trace_patterns import count_patterns, patterns
from ratiocine import cli, models
from ratiocine.data import (
    NO_REFERENCE,
    TEST_FILE,
    content,
    is_stored,
    sources,
    tokenizer_hash,
    write_lengths,
    write_test_split,
)
from ratiocine.engines import finished_line
from ratiocine.errors import BadInput
from ratiocine.evaluate import key
from ratiocine.plotting import length_histogram
from ratiocine.progress import tracked
from ratiocine.prompts import completion_ids, prompt_ids, user_text
from ratiocine.records import MODES, SIDES, Mode, Pair, Problem
from ratiocine.runs import Run, open_run
from ratiocine.stores import stream_pairs, write_pairs

NAMED = 5  # unanswered problems that are printed
BOX, NOTABLE = "\\boxed{", 0.1  # share of the pairs in which the modes differ
BOTH_COLUMNS = (
    "both answers of a row are taken from columns: data.columns='{question: …, meta.ift: …, "
    "meta.reasoning: …}', the second with its trace in <think>…</think>"
)
ADVICE = {
    "no_ift_answer": BOTH_COLUMNS,
    "no_reasoning_answer": BOTH_COLUMNS,
    "no_reference": f"{NO_REFERENCE}; a model as teacher needs none",
    "no_solution": "teacher=reference needs a worked solution; the column of one is named by "
    "data.columns='{solution: NAME}'; without one, a model is the teacher: teacher=openai, "
    "transformers or vllm",
}
OF_PUBLISHED = {
    "no_usable_reasoning": "a reasoning answer begins with its trace in <think>…</think>; a column "
    "of traces alone is a worked solution: teacher=reference data.columns='{meta.solution: NAME}'",
}


@dataclass
class Totals:
    """Statistics of the written pairs and of the problems they come from."""

    n: int = 0
    shared: int = 0
    without_reference: int = 0
    sources: Counter[str] = field(default_factory=Counter)
    tokens: dict[str, array[int]] = field(
        default_factory=lambda: {side: array("I") for side in SIDES}
    )
    levels: dict[str, list[int]] = field(default_factory=dict)
    """Pairs, and problems, by difficulty."""
    families: Mapping[str, re.Pattern[str]] = field(default_factory=dict)
    without_box: Counter[Mode] = field(default_factory=Counter)
    """Answers without the box that their prompt asks for, by mode."""
    patterns: dict[str, list[int]] = field(default_factory=dict)
    """Pairs with a pattern in their trace, and its matches, by family."""

    def add_problem(self, level: str | None) -> None:
        if level is not None:
            self.levels.setdefault(level, [0, 0])[1] += 1

    def add_pair(self, pair: Pair, summary: PairSummary) -> Pair:
        self.n += 1
        self.shared += summary.shared
        self.without_reference += pair.reference is None
        self.sources[pair.source] += 1
        if BOX in pair.prompt:
            self.without_box.update(mode for mode in MODES if BOX not in pair.side(mode))
        for side in SIDES:
            self.tokens[side].append(getattr(pair, f"n_tokens_{side}"))
        for name, n in count_patterns(pair.reasoning, self.families).items():
            total = self.patterns.setdefault(name, [0, 0])
            total[0] += n > 0
            total[1] += n
        if summary.level is not None:
            self.levels[summary.level][0] += 1
        return pair

    @property
    def warning(self) -> str | None:
        """A line about modes that follow the prompt's instruction differently."""
        lacking = {mode: self.without_box[mode] for mode in MODES}
        if abs(lacking["ift"] - lacking["reasoning"]) < NOTABLE * self.n:
            return None
        return (
            f"warning: the prompts ask for \\boxed{{}}, which {lacking['ift']} of {self.n} direct "
            f"and {lacking['reasoning']} reasoning answers lack: students of the two modes then "
            "differ in more than the trace; box all answers, or none with data.instruction=''"
        )


def distill(config: Config) -> Run:
    """Write `pairs.parquet`, its data card and its manifest. Every problem becomes a pair or is
    rejected with a counted reason."""
    check_oracle(config)
    run = open_run("distill", config, inputs(config))
    if run.finished:
        print(finished_line(run.out, config.teacher.engine))
        return run
    others = {name: models.load_tokenizer(model_named(name)) for name in config.tokenizers}
    totals = Totals(families=patterns(config.select.patterns or {}))
    with run.writing(REJECTED) as path, open(path, "w", encoding="utf-8") as file:
        rejections = Rejections(file)
        prompts = Prompts(
            config.data,
            config.select,
            seed=config.seed,
            limit=config.limit,
            drop=rejections.add,
        )
        if prompts.without_reference and config.teacher.name not in SOLUTIONS:
            print(
                f"{prompts.without_reference} of {prompts.n} problems have no reference: their "
                f"answers are not verified, and no evaluation can use them; {NO_REFERENCE}",
                flush=True,
            )
        for warning in prompts.references.warnings if config.data.path else ():
            print(warning, flush=True)
        make, answers = pair_maker(config, prompts)
        with suppress(_NoPairError):  # the rejected problems are written nevertheless
            _write_pairs(run, _Writer(config, totals, rejections), make, prompts)
    if not totals.n:
        reasons = _no_pair(config, rejections, answers)
        raise BadInput(f"{reasons}; answers and references: {run.out / REJECTED}")
    if is_stored(config.data):
        with run.writing(TEST_FILE) as path:
            write_test_split(path, config.data, config.seed)
        test = sources.load(config.data, "test", seed=config.seed)
        dropped = {reason: len(names) for reason, names in test.dropped.items()}
        print(f"test split: {len(test.problems)} problems; dropped {dropped or 'none'}")
    if others:
        with run.writing("lengths.parquet") as path:
            write_lengths(path, run.out / "pairs.parquet", totals.n, others)
    hashes = {name: tokenizer_hash(tokenizer) for name, tokenizer in others.items()}
    facts = _facts(config, prompts, totals, rejections, hashes, answers)
    with run.writing("lengths.svg") as path:
        figure = length_histogram({mode: totals.tokens[mode] for mode in MODES})
        path.write_text(figure, encoding="utf-8")
    with run.writing("README.md") as path:
        path.write_text(data_card.text(config, facts), encoding="utf-8")
    run.finish(**facts.to_json())
    _print_summary(facts, rejections, run)
    if totals.warning:
        print(totals.warning)
    return run


class _NoPairError(Exception):
    """Not one problem became a pair."""


def _write_pairs(run: Run, writer: _Writer, make: PairMaker, prompts: Prompts) -> None:
    """Write the pairs and the pass rates; neither where there is no pair."""
    with (
        run.writing(pass_counts.FILE) as passed,
        open(passed, "w", encoding="utf-8") as rates,
        run.writing("pairs.parquet") as path,
    ):
        writer.write(path, writer.pairs(make, prompts, rates))
        if not writer.totals.n:
            raise _NoPairError


def _print_summary(facts: Facts, rejections: Rejections, run: Run) -> None:
    for mode, tally in facts.answers.tallies.items() if facts.answers else ():
        left_out = f" ({tally.unanswered} unanswered left out)" if tally.unanswered else ""
        print(
            f"{mode}: {tally.answers} answers of {tally.mean_tokens} tokens on average{left_out}; "
            f"{dict(tally.outcomes.most_common())}"
        )
    print(f"{facts.n} pairs in {run.out}; dropped {dict(facts.dropped) or 'none'}")
    if lost := rejections.unanswered:
        more = " …" if len(lost) > NAMED else ""
        print(
            f"{len(lost)} unanswered: {'; '.join(lost[:NAMED])}{more}; the same command with "
            "retry_refused=true and another out= asks these again, and those that a filter ended"
        )
    for advice in _advice(facts.dropped, facts.teacher):
        print(advice)
    cli.print_next("train", "ratio=RATIO", f"pairs={cli.quoted(str(run.out))}")


def _no_pair(config: Config, rejections: Rejections, answers: AnswerFacts | None) -> str:
    """Why there is no pair at all: the reasons by problem, and by answer of each mode."""
    reasons = [str(dict(rejections.counts))]
    if answers is not None:
        reasons += [f"{mode} answers: {dict(answers.tallies[mode].outcomes)}" for mode in MODES]
    advice = "".join(f"; {one}" for one in _advice(rejections.counts, config.teacher.name))
    return f"data={config.data.label} gave no pair; rejected: {'; '.join(reasons)}{advice}"


def _advice(reasons: Iterable[str], teacher: str) -> list[str]:
    """What helps against reasons that one setting may remove."""
    known = {**ADVICE, **(OF_PUBLISHED if teacher == "published" else {})}
    by_advice: dict[str, list[str]] = {}
    for reason in reasons:
        if reason in known:
            by_advice.setdefault(known[reason], []).append(reason)
    return [f"{', '.join(found)}: {advice}" for advice, found in by_advice.items()]


def _facts(
    config: Config,
    prompts: Prompts,
    totals: Totals,
    rejections: Rejections,
    other_tokenizers: dict[str, str],
    answers: AnswerFacts | None,
) -> Facts:
    test = prompts.test_contents
    return Facts(
        teacher=config.teacher.name,
        data=config.data.label,
        n=totals.n,
        n_by_source=totals.sources,
        dropped=rejections.counts,
        without_reference=totals.without_reference,
        n_test=None if test is None else len(test),
        shared=None if test is None else totals.shared,
        decontaminated=config.select.decontaminate,
        revisions=sources.revisions(config.data),
        tokenizer=tokenizer_hash(models.load_tokenizer(config.model)),
        other_tokenizers=other_tokenizers,
        mean_tokens={side: round(fmean(totals.tokens[side]), 1) for side in SIDES},
        by_level=dict(sorted(totals.levels.items())),
        patterns=totals.patterns,
        license=config.data.license,
        teacher_license=_teacher_license(config),
        answers=answers,
    )


def _teacher_license(config: Config) -> str | None:
    model = teacher_model(config)
    return None if model is None else models.license_of(model.license, model.path)


class _Writer:
    """Makes the pairs of a run and writes the selected ones."""

    def __init__(self, config: Config, totals: Totals, rejections: Rejections) -> None:
        self.config, self.totals, self.rejections = config, totals, rejections
        self.tokenizer = models.load_tokenizer(config.model)

    def pairs(
        self, make: PairMaker, prompts: Prompts, rates: IO[str]
    ) -> Iterator[tuple[Pair, PairSummary]]:
        """The pairs in the order of the problems; the pass counts of all problems go to `rates`."""
        for problem in tracked(prompts, prompts.n, "distill", "problems"):
            result = make(problem)
            level = None if problem.meta.get("level") is None else str(problem.meta["level"])
            self.totals.add_problem(level)
            if result.counts is not None:
                rates.write(pass_counts.line(key(problem), result.counts))
            if result.sides is None:
                assert result.reason is not None
                self.rejections.add(problem, result.reason, result.judged)
                continue
            pair = self._pair(problem, *result.sides)
            if reason := outside(pair, self.config.select):
                self.rejections.add(problem, reason, result.judged)
                continue
            test = prompts.test_contents
            shared = test is not None and content(problem) in test
            source, about, tokens = problem.source, domain(problem), pair.n_tokens_reasoning
            yield pair, PairSummary(problem.id, source, about, tokens, level, shared, problem.row)

    def _pair(self, problem: Problem, ift: str, reasoning: str) -> Pair:
        prompt = user_text(problem)
        return Pair(
            problem.id,
            prompt,
            reasoning,
            ift,
            problem.reference,
            problem.category,
            # For people; ids and keys of a file are of its content, whatever its name.
            self.config.data.label if problem.source == self.config.data.name else problem.source,
            len(prompt_ids(self.tokenizer, prompt)),
            len(completion_ids(self.tokenizer, reasoning)),
            len(completion_ids(self.tokenizer, ift)),
        )

    def write(self, path: Path, pairs: Iterator[tuple[Pair, PairSummary]]) -> None:
        """Write the selected pairs. A selection that depends on all pairs first writes all to a
        file beside `path`."""
        if not self.config.select.needs_all:
            write_pairs(path, (self.totals.add_pair(pair, summary) for pair, summary in pairs))
            return
        everything, summaries = path.with_name(".all.partial"), list[PairSummary]()

        def remembered() -> Iterator[Pair]:
            for pair, summary in pairs:
                summaries.append(summary)
                yield pair

        write_pairs(everything, remembered())
        chosen = selected(summaries, self.config.select, self.config.seed)
        write_pairs(path, self._chosen(everything, summaries, chosen))
        everything.unlink()

    def _chosen(
        self, everything: Path, summaries: list[PairSummary], chosen: set[int]
    ) -> Iterator[Pair]:
        for at, pair in enumerate(stream_pairs(everything)):
            if at in chosen:
                yield self.totals.add_pair(pair, summaries[at])
            else:
                self.rejections.add_pair(pair, summaries[at], "not_drawn")
