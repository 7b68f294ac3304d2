"""Figures as SVG files, as parts of an HTML page, and as PNG."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

from ratiocine.plotting.style import VARIABLES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Attributes that the page's style sheet sets, or that are defaults.
REDUNDANT = (
    r"font-family: 'DejaVu Sans', sans-serif; ",
    r"font-size: 11px; ",
    r' transform="rotate\(-?0 [^"]*\)"',
    r"; stroke-linecap: square",
    r"stroke-linecap: square; ",
    r"; stroke-linejoin: miter",
    r"stroke-linejoin: miter; ",
    r"<defs>\s*</defs>",
)


def to_svg(figure: Figure) -> str:
    """SVG with the same bytes on every machine: no date and no program name."""
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    return out.getvalue()


def to_png(figure: Figure) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=144, metadata={"Software": None})
    return out.getvalue()


def inline_svg(svg: str, prefix: str) -> str:
    """An SVG of `to_svg` as an element of a page: with the page's colours and font, no wider than
    drawn, and with `prefix` before every id."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.S)
    head, rest = svg.split(">", 1)
    width = re.findall(r'viewBox="0 0 (\d+)', head)[0]
    head = re.sub(r' (width|height|version)="[^"]*"', "", head)
    svg = f'{head} style="max-width: {width}px">{rest}'
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', svg))
    svg = re.sub(r' id="([^"]*)"', lambda m: f' id="{prefix}{m[1]}"' if m[1] in used else "", svg)
    svg = re.sub(r'(href="|url\()#', rf"\1#{prefix}", svg)
    svg = re.sub(r"<[^>]*>", lambda tag: _shortened(tag[0]), svg)
    for redundant in REDUNDANT:
        svg = re.sub(redundant, "", svg)
    return re.sub(r"\s*\n\s*", "\n", _without_bare_groups(svg)).strip()


def _shortened(tag: str) -> str:
    """A tag with the page's colours, and numbers of two decimals."""
    for colour, variable in VARIABLES.items():
        tag = tag.replace(colour, f"var(--{variable})")
    return re.sub(r"\d+\.\d{3,}", lambda m: f"{float(m[0]):.2f}".rstrip("0").rstrip("."), tag)


def _without_bare_groups(svg: str) -> str:
    """The same elements without the groups that have no attribute."""
    parts, bare = [], list[bool]()
    for part in re.split(r"(<g\b[^>]*>|</g>)", svg):
        if part.startswith("<g"):
            bare.append(part == "<g>")
            parts += [] if bare[-1] else [part]
        elif part == "</g>":
            parts += [] if bare.pop() else [part]
        else:
            parts.append(part)
    return "".join(parts)
