"""python -m eval.report DIR [DIR …] --out report.html: finished evaluations as one page.

Writes the page, `figures/`, `tables/` and Markdown beside it. A pure function of the evaluations:
the same folders give the same bytes on any machine.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from eval.report.content import Content
from eval.report.files import write_report
from eval.report.html import check_name
from eval.report.hypotheses import declared
from eval.report.loading import load_all
from eval.report.terminal import terminal_text
from ratiocine import cli
from ratiocine.errors import BadInput

MAX_COMPLETIONS = 5000


def main() -> None:
    options = parsed()
    check_name(options.out)
    evaluations = load_all(options.folders)
    published = options.overlay == "published"
    plan = declared([*options.folders, *([options.study] if options.study else [])])
    content = Content.of(evaluations, plan, ceiling=options.ceiling, published=published)
    write_report(content, options.out, options.completions)
    print(terminal_text(content))
    print(f"page: {options.out}")


def parsed() -> argparse.Namespace:
    """The options; raises BadInput where a value is out of range."""
    parser = cli.argument_parser("eval.report", "Compare finished evaluations in one page.")
    parser.add_argument(
        "folders",
        nargs="+",
        type=Path,
        metavar="DIR",
        help="a finished `python -m eval` folder, or a folder of such",
    )
    parser.add_argument(
        "--study",
        type=Path,
        metavar="DIR",
        help="the study of these evaluations, whose plan declares hypotheses (default: DIR)",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("report.html"), help="the page (default: report.html)"
    )
    parser.add_argument(
        "--completions",
        type=int,
        default=MAX_COMPLETIONS,
        metavar="N",
        help=f"completions in the page, at most (default: {MAX_COMPLETIONS})",
    )
    parser.add_argument(
        "--ceiling",
        type=float,
        default=1.0,
        metavar="SHARE",
        help="upper bound of accuracy for fits, such as the teacher's (default: 1)",
    )
    parser.add_argument(
        "--overlay", choices=("published",), help="draw published accuracies beside these"
    )
    options = parser.parse_args()
    if options.completions < 0:
        raise BadInput(f"--completions {options.completions} is below 0; give 0 or more")
    if not 0 < options.ceiling <= 1:
        raise BadInput(f"--ceiling {options.ceiling:g} is no accuracy above 0 and up to 1")
    return options


if __name__ == "__main__":
    cli.leave("report", main)
