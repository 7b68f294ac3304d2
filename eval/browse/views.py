"""The pages, as HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import cast

from eval.browse.answer_file import VERDICTS, AnswerFile, AnswerFiles, AnswerFilter
from eval.browse.compared_answers import OUTCOMES, Comparison, Comparisons, Outcome
from eval.browse.links import Page, link
from eval.browse.pair_file import PairFiles, PairFilter
from eval.browse.run_details import DetailReader, RunDetails
from eval.browse.run_folders import DAMAGES, PAIRS, STATES, VERBS, RunFolders, RunInfo, problem_of
from eval.report import p_value, render, visible
from ratiocine.errors import BadInput
from ratiocine.records import ScoredCompletion

TEMPLATES = Path(__file__).parent / "templates"
SHOWN = 20_000  # characters of a text
SAMPLES = 4  # of a problem in a comparison
Query = Mapping[str, str]


@dataclass(frozen=True)
class ComparedProblem:
    """A problem with its answers in two evaluations."""

    a: Sequence[ScoredCompletion]
    b: Sequence[ScoredCompletion]
    left_out: bool
    """Whether there are more samples than shown."""


class Views:
    """The pages of the runs in a folder, by the query of an address.

    They raise UnknownRun for an unknown run, and BadInput where a run has no such page."""

    def __init__(self, root: Path) -> None:
        self.runs = RunFolders(root)
        self.answer_files, self.pair_files = AnswerFiles(), PairFiles()
        self.details = DetailReader(self.runs, self.answer_files, self.pair_files)
        self.comparisons = Comparisons()

    def index(self, query: Query) -> str:
        """The runs of a verb and state, with all these words in their names, models or results."""
        everything = self.runs.all()
        words = query.get("text", "").lower().split()
        found = [
            run
            for run in everything
            if query.get("verb") in (None, "", run.verb)
            and query.get("state") in (None, "", run.state)
            and all(word in _words(run) for word in words)
        ]
        return self._page(
            "runs.html.j2",
            query,
            any(run.state == "running" for run in everything),
            page=Page.of(found, "/", query),
            empty=not everything,
            verbs=VERBS,
            states=STATES,
        )

    def run(self, query: Query) -> str:
        """One run: progress, results, curves and configuration."""
        run = self.runs.get(query.get("name", ""))

        def page(details: RunDetails) -> str:
            return self._page(
                "run.html.j2", query, run.state == "running", run=run, details=details
            )

        try:
            return page(self.details.of(run))
        except DAMAGES as error:  # a value is not of the type that its file should have
            return page(RunDetails(problems=[problem_of(error, run.folder)]))

    def answers(self, query: Query) -> str:
        """The completions of an evaluation, finished or not."""
        run = self._run(query, "eval")
        file, wanted = self.answer_files.open(run.folder), AnswerFilter.of(query)
        page = Page.of(self.answer_files.matching(file, wanted), "/answers", query)
        return self._page(
            "answers.html.j2",
            query,
            run=run,
            page=page,
            rows=file.read(page.items),
            wanted=wanted,
            verdicts=VERDICTS,
            benchmarks=file.benchmarks,
            problem=_damaged(file),
        )

    def pairs(self, query: Query) -> str:
        """The pairs of a run of `distill`, both answers side by side."""
        run = self._run(query, "distill")
        file, wanted = self.pair_files.open(run.folder / PAIRS), PairFilter.of(query)
        page = Page.of(self.pair_files.matching(file, wanted), "/pairs", query)
        return self._page(
            "pairs.html.j2",
            query,
            run=run,
            page=page,
            rows=file.read(page.items),
            wanted=wanted,
            sources=file.sources,
        )

    def compare(self, query: Query) -> str:
        """The evaluations `a` and `b`: differences, and the problems of an outcome."""
        a, b = query.get("a", ""), query.get("b", "")
        finished = [run for run in self.runs.all() if run.state == "finished"]
        evaluations = sorted(run.name for run in finished if run.verb == "eval")
        found: Mapping[str, object] = {"comparison": None, "problem": None}
        if a and b:
            try:
                found = self._compared(self.runs.get(a), self.runs.get(b), query)
            except DAMAGES as error:
                found = {"comparison": None, "problem": problem_of(error, self.runs.root)}
        return self._page("compare.html.j2", query, evaluations=evaluations, a=a, b=b, **found)

    def _compared(self, a: RunInfo, b: RunInfo, query: Query) -> dict[str, object]:
        comparison = self.comparisons.of(a, b)
        files = [self.answer_files.open(run.folder) for run in (a, b)]
        outcome = _outcome(query.get("outcome", ""), comparison)
        text = query.get("text", "")
        page = Page.of(self._keys(comparison, outcome, files, text), "/compare", query)
        return {
            "comparison": comparison,
            "problem": None,
            "outcomes": OUTCOMES,
            "outcome": outcome,
            "text": text,
            "page": page,
            "rows": [_compared_problem(key, files) for key in page.items],
        }

    def _keys(
        self, found: Comparison, outcome: Outcome, files: Sequence[AnswerFile], text: str
    ) -> Sequence[str]:
        """The problems of an outcome; with `text`, those where either evaluation has it."""
        if not text:
            return found.keys[outcome]
        wanted = AnswerFilter(text=text)
        having = {
            file.rows[at].key for file in files for at in self.answer_files.matching(file, wanted)
        }
        return [key for key in found.keys[outcome] if key in having]

    def error(self, message: str) -> str:
        """A page with one line."""
        return self._page("error.html.j2", {}, message=message)

    def _run(self, query: Query, verb: str) -> RunInfo:
        run = self.runs.get(query.get("name", ""))
        if run.verb != verb:
            raise BadInput(f"{run.name} is a run of {run.verb}, not of {verb}")
        if run.problem is not None:
            raise BadInput(f"{run.name}: {run.problem}")
        return run

    def _page(self, template: str, query: Query, running: bool = False, /, **values: object) -> str:
        return render(
            template,
            TEMPLATES,
            root=self.runs.root.name,
            query=query,
            running=running,
            refresh=running and query.get("refresh") != "off",
            link=link,
            shown=shown,
            local_time=local_time,
            p_value=p_value,
            **values,
        )


def _outcome(wanted: str, found: Comparison) -> Outcome:
    """The outcome of this name, else the first that has problems, those that differ before."""
    if wanted in OUTCOMES:
        return cast(Outcome, wanted)
    order: tuple[Outcome, ...] = ("only_a", "only_b", "neither", "both")
    return next((outcome for outcome in order if found.keys[outcome]), "neither")


def _words(run: RunInfo) -> str:
    return " ".join((run.name, run.verb, run.model, run.arm, run.result)).lower()


def _damaged(file: AnswerFile) -> str | None:
    """One line about the lines that cannot be read."""
    if not file.damaged:
        return None
    more = f" and {len(file.damaged) - 1} more" if len(file.damaged) > 1 else ""
    return f"{file.path.name}: line {file.damaged[0]}{more} cannot be read and is left out"


def _compared_problem(key: str, files: Sequence[AnswerFile]) -> ComparedProblem:
    positions = [file.by_key[key] for file in files]
    a, b = (file.read(own[:SAMPLES]) for file, own in zip(files, positions, strict=True))
    return ComparedProblem(a, b, any(len(own) > SAMPLES for own in positions))


def shown(value: object) -> str:
    """A text with hidden characters written out, and cut where it is very long."""
    text = str(value)
    left = len(text) - SHOWN
    return visible(text[:SHOWN]) + (f" … {left:,} more characters" if left > 0 else "")


def local_time(seconds: float) -> str:
    """Date and time of day of a time stamp, in the local time zone."""
    try:
        return f"{datetime.fromtimestamp(seconds):%Y-%m-%d %H:%M}"
    except (OverflowError, OSError, ValueError):  # a file can have any time
        return "unknown"
