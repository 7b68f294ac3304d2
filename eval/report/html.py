"""What all pages share: the template environment, model output made visible, and atomic writes."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from ratiocine.errors import BadInput
from ratiocine.runs import write_whole

if TYPE_CHECKING:
    import jinja2

TEMPLATES = Path(__file__).parent / "templates"
# Control characters but tab and line feed; characters without width or that change the direction
# of text; halves of surrogate pairs.
HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)


def visible(text: str) -> str:
    """The text with hidden and reordering characters written out, such as ⟨U+202E⟩."""
    return HIDDEN.sub(lambda found: f"⟨U+{ord(found[0]):04X}⟩", text)


def percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"


def short_number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"


def p_value(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def render(template: str, folder: Path = TEMPLATES, **values: object) -> str:
    """A page from a template in a folder, which may extend those of this package; values are
    escaped unless marked as safe."""
    return _environment(folder).get_template(template).render(**values)


@cache
def _environment(folder: Path) -> jinja2.Environment:
    import jinja2
    import markupsafe

    def breakable(name: str) -> markupsafe.Markup:
        return markupsafe.escape(name).replace("_", markupsafe.Markup("_<wbr>"))

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([folder, TEMPLATES]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=percent, visible=visible, breakable=breakable)
    return environment


OTHER_FORMATS = (".csv", ".docx", ".pdf", ".png", ".svg", ".xlsx")


def check_name(out: Path) -> None:
    """Raise BadInput where no page can have this name."""
    _check_file(out)
    if out.suffix.lower() in OTHER_FORMATS:
        raise BadInput(f"--out {out}: the page is HTML; give it the ending .html")


def _check_file(out: Path) -> None:
    if out.name in ("", "..") or out.is_dir():
        raise BadInput(f"{out} is a folder and cannot be written: give the name of a file")


def write(out: Path, content: str | bytes) -> None:
    """Write a file in one step; raises BadInput where that is impossible."""
    _check_file(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_whole(out, content)
    except OSError as error:
        raise BadInput(f"{out} cannot be written: {error.strerror}") from None
