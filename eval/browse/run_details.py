"""What the page of one run shows beside its line in the list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from eval.browse.answer_file import VERDICTS, AnswerFiles
from eval.browse.file_cache import FileCache
from eval.browse.pair_file import PairFiles
from eval.browse.run_curves import KEPT, Curves, RunCurves, lengths
from eval.browse.run_folders import DAMAGES, PAIRS, STAGE, RunFolders, RunInfo, problem_of
from ratiocine.runs import CONFIG
from ratiocine.scores import Summary, read_scores

if TYPE_CHECKING:
    from markupsafe import Markup


@dataclass(frozen=True)
class RunDetails:
    """Empty where the verb of the run has no such thing."""

    problems: Sequence[str] = ()
    """What cannot be read."""
    config: str = ""
    """The text of the configuration."""
    stages: Sequence[RunInfo] = ()
    """Of a study."""
    curves: RunCurves | None = None
    scores: Mapping[str, Summary] = field(default_factory=dict)
    """By benchmark, category and in total."""
    tally: Mapping[str, int] = field(default_factory=dict)
    """Completions so far, by verdict."""
    lengths: Markup | None = None
    """The histogram of a set of pairs."""


class DetailReader:
    """Reads the details of runs, with the files that the other pages have open."""

    def __init__(self, runs: RunFolders, answers: AnswerFiles, pairs: PairFiles) -> None:
        self.runs, self.answers, self.pairs = runs, answers, pairs
        self.curves, self.drawn = Curves(), FileCache["Markup"](KEPT)

    def of(self, run: RunInfo) -> RunDetails:
        """What cannot be read is among its problems."""
        if run.problem is not None:
            return RunDetails(problems=[run.problem])
        if run.verb == "launch":
            return RunDetails(stages=self._stages(run))
        try:
            config = (run.folder / CONFIG).read_text(encoding="utf-8", errors="replace")
            return self._of_verb(run, config)
        except DAMAGES as error:
            return RunDetails(problems=[problem_of(error, run.folder)])

    def _of_verb(self, run: RunInfo, config: str) -> RunDetails:
        finished = run.state == "finished"
        if run.verb in ("train", "rl"):
            curves = self.curves.of(run.folder, run.verb)
            return RunDetails(curves.problems, config, curves=curves)
        if run.verb == "eval" and finished:
            return RunDetails(config=config, scores=read_scores(run.folder).named)
        if run.verb == "eval" and run.progress and run.progress.done:
            rows = self.answers.open(run.folder).rows
            tally = {name: sum(row.verdict == name for row in rows) for name in VERDICTS}
            return RunDetails(config=config, tally=tally)
        if run.verb == "distill" and finished:
            file = self.pairs.open(run.folder / PAIRS)
            drawn = self.drawn.get(file.path, [file.path], lambda: lengths(file.tokens))
            return RunDetails(config=config, lengths=drawn)
        return RunDetails(config=config)

    def _stages(self, study: RunInfo) -> list[RunInfo]:
        """Those that began, the newest last."""
        found = [
            run
            for run in self.runs.all()
            if run.folder.parent == study.folder and STAGE.fullmatch(run.folder.name)
        ]
        return sorted(found, key=lambda run: run.changed)
