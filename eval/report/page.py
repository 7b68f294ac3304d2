"""A report as one self-contained HTML page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from eval.report.cells import matrix, shown
from eval.report.content import Content
from eval.report.explorer import completions
from eval.report.flag_tables import flags_of
from eval.report.html import render
from eval.report.study import Study
from ratiocine.plotting import inline_svg, training_curves
from ratiocine.runs import StudentInfo

if TYPE_CHECKING:
    from markupsafe import Markup


@dataclass(frozen=True)
class RewardedStudent:
    """A student of `rl`, and its training curves, wide and narrow."""

    name: str
    student: StudentInfo
    wide: Markup
    narrow: Markup


def page(content: Content, max_completions: int, prefix: str = "") -> str:
    """At most `max_completions` completions are in it, as JSON that a script shows as text;
    `prefix` stands before the folders of figures and tables."""
    import markupsafe

    study, tables = content.study, content.tables
    held = completions(study, max_completions)
    first = study.evaluations[0]
    inside = {
        group: [name for name, of in study.benchmarks.items() if first.category(of[0]) == group]
        for group in study.groups
    }

    def notes(arm: str, group: str) -> list[str]:
        return flags_of(tables["flags"], inside.get(group, ()), arm, group)

    return render(
        "report.html.j2",
        content=content,
        study=study,
        tables=tables,
        shown=shown,
        prefix=prefix,
        by_category=matrix(tables["accuracy"], notes),
        by_benchmark=matrix(tables["accuracy_by_benchmark"], notes),
        pictures={
            name: (markupsafe.Markup(picture.wide), markupsafe.Markup(picture.narrow))
            for name, picture in content.pictures.items()
        },
        rewarded=rewarded_students(study),
        completions=held,
        completions_json=markupsafe.Markup(held.json()),
    )


def rewarded_students(study: Study) -> list[RewardedStudent]:
    """With training curves that use the page's colours."""
    import markupsafe

    found: list[RewardedStudent] = []
    for arm in study.arms:
        for evaluation in arm.evaluations:
            student = evaluation.student
            if student is None or not student.rewarded:
                continue
            wide, narrow = (
                markupsafe.Markup(
                    inline_svg(
                        training_curves(student.curves, student.val_accuracy, narrow=is_narrow),
                        f"rewards-{len(found)}-{'n' if is_narrow else 'w'}-",
                    )
                )
                for is_narrow in (False, True)
            )
            found.append(RewardedStudent(evaluation.label, student, wide, narrow))
    return found
