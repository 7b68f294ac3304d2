"""The content of a report: study, tables, findings, warnings and figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from eval.report.caption import Caption
from eval.report.captions import captions
from eval.report.comparability import study_warnings
from eval.report.csv_table import Table
from eval.report.evaluations import Evaluation
from eval.report.figures import Picture, picture
from eval.report.findings import findings
from eval.report.flag_tables import flag_warnings
from eval.report.hypotheses import Declared
from eval.report.published import published_table
from eval.report.setup import Fact, facts
from eval.report.study import Study
from eval.report.summary import Line, summary
from eval.report.tables import all_tables
from eval.report.truncation import token_limit_warnings

LEAD = "verdicts"


@dataclass(frozen=True)
class Content:
    """What a report says, whatever its form: page, Markdown or terminal."""

    study: Study
    tables: Mapping[str, Table]
    summary: Sequence[Line]
    """What to read first."""
    setup: Sequence[Fact]
    """Who, what, how."""
    findings: Sequence[str]
    warnings: Sequence[str]
    captions: Sequence[Caption]
    pictures: Mapping[str, Picture]
    """Of the captions that are drawn, by name."""

    @staticmethod
    def of(
        evaluations: Sequence[Evaluation],
        plan: Declared | None = None,
        *,
        ceiling: float = 1.0,
        published: bool = False,
    ) -> Content:
        """`plan` is that of a study, `ceiling` bounds the fits to the fronts,
        `published` adds published accuracies.

        Raises BadInput as `gather`.
        """
        study = Study.of(evaluations, plan)
        tables = all_tables(study, ceiling)
        if published:
            tables["published"] = published_table(study)
        shown = captions(study, tables)
        return Content(
            study=study,
            tables=tables,
            summary=summary(study, tables),
            setup=facts(study, tables),
            findings=findings(study, tables),
            warnings=[
                *token_limit_warnings(tables),
                *flag_warnings(tables["flags"]),
                *study_warnings(study),
            ],
            captions=shown,
            pictures={one.name: picture(one.name, tables, one.title) for one in shown if one.drawn},
        )

    @property
    def lead(self) -> list[Caption]:
        """The figure at the top; none where nothing is compared."""
        return [one for one in self.captions if one.name == LEAD]

    @property
    def title(self) -> str:
        study = self.study
        question = (
            "Do rewards pay?" if any(a.rewarded for a in study.arms) else "Does reasoning pay?"
        )
        arms = f"{len(study.arms)} arm{'s' * (len(study.arms) != 1)}"
        return f"{question} {arms} on {len(study.keys)} problems"
