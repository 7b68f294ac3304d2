"""What all pages share: the templates' filters, text from models made visible, and files written in one step."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ratiocine.errors import BadInput
from ratiocine.plotting import curves
from ratiocine.runs import write_whole

if TYPE_CHECKING:
    from eval.report.scored import Evaluation

TEMPLATES = Path(__file__).parent / "templates"
# Control characters but tab and line feed, what turns the direction of text or takes no room, and halves of surrogate pairs.
HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e007f]"
)


def visible(text: str) -> str:
    """The text with every character that hides, or reorders what stands around it, written out, such as ⟨U+202E⟩."""
    return HIDDEN.sub(lambda found: f"⟨U+{ord(found[0]):04X}⟩", text)


def percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def short(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"


def p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def render(template: str, **values: Any) -> str:
    """A page from a template in this folder. What is not marked as safe is escaped."""
    import jinja2
    import markupsafe

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        percent=percent,
        short=short,
        p=p,
        visible=visible,
        bare=lambda value: f"{100 * value:.1f}",
        points=lambda value: f"{100 * value:+.1f}",
        broken=lambda name: markupsafe.escape(name).replace("_", markupsafe.Markup("_<wbr>")),
    )
    return environment.get_template(template).render(**values)


def reward_stories(
    named: Iterable[tuple[str, Evaluation]],
) -> list[tuple[str, Mapping[str, Any], str]]:
    """Of the evaluations that rewards have trained: name, what is known of the student, and its curves as safe SVG."""
    import markupsafe

    return [
        (
            name,
            evaluation.student,
            markupsafe.Markup(curves(evaluation.student["curves"], evaluation.student["held_out"])),
        )
        for name, evaluation in named
        if "reward" in evaluation.student
    ]


def check_name(out: Path) -> None:
    """Raises BadInput where no file can have this name."""
    if out.name in ("", "..") or out.is_dir():
        raise BadInput(f"{out} is a folder and cannot be written: give the name of a file")


def write(out: Path, content: str | bytes) -> None:
    """Write a file in one step; raises BadInput where that cannot be done."""
    check_name(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_whole(out, content)
    except OSError as error:
        raise BadInput(f"{out} cannot be written: {error.strerror}") from None
