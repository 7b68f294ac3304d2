"""The curves of a run as one picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

Row = Mapping[str, Any]
WIDTH, HEIGHT, LEFT, TOP = 300, 130, 44, 26
PANELS = (  # title, what is drawn, whether it is a share
    ("reward", ("reward",), False),
    ("right: answers, held out (95 %)", ("accuracy",), True),
    ("format", ("format",), True),
    ("tokens of an answer", ("length",), False),
    ("entropy of tokens: all (estimate), trained on", ("surprisal", "entropy"), False),
    ("groups all right, all wrong", ("all_right", "all_wrong"), True),
)
DRAWN = tuple(name for _, names, _ in PANELS for name in names)
COLOURS = ("#2a6fb0", "#c05a2b")


def curves(rows: Sequence[Row], held_out: Sequence[Row]) -> str:
    """An SVG of six panels over steps; what was held out is drawn with its intervals."""
    last = max([1, *(row["step"] for row in rows), *(row["step"] for row in held_out)])
    panels = []
    for number, (title, names, share) in enumerate(PANELS):
        x, y = (number % 2) * (WIDTH + LEFT + 20) + LEFT, (number // 2) * (HEIGHT + TOP + 24) + TOP
        values = [row[name] for name in names for row in rows if row.get(name) is not None]
        dots = held_out if "held out" in title else ()
        bounds = [*values, *(value for row in dots for value in row["ci95"])] or [0.0]
        low, high = (0.0, 1.0) if share else (min(0.0, *bounds), max(bounds) * 1.08 or 1.0)
        panels.append(_panel(x, y, title, names, rows, dots, last, low, high))
    width, height = 2 * (WIDTH + LEFT + 20), 3 * (HEIGHT + TOP + 24)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'font-family="sans-serif" font-size="11" fill="#333"><rect width="{width}" height="{height}" fill="white"/>'
        f"{''.join(panels)}</svg>\n"
    )


def _panel(
    x: int,
    y: int,
    title: str,
    names: Sequence[str],
    rows: Sequence[Row],
    dots: Sequence[Row],
    last: int,
    low: float,
    high: float,
) -> str:
    def across(step: float) -> float:
        return x + WIDTH * step / last

    def up(value: float) -> float:
        return y + HEIGHT * (1 - (value - low) / ((high - low) or 1))

    parts = [f'<text x="{x}" y="{y - 8}" font-size="12" font-weight="bold">{escape(title)}</text>']
    for value in (low, (low + high) / 2, high):
        parts.append(
            f'<line x1="{x}" x2="{x + WIDTH}" y1="{up(value):.1f}" y2="{up(value):.1f}" stroke="#ddd"/>'
            f'<text x="{x - 6}" y="{up(value) + 4:.1f}" text-anchor="end">{value:.3g}</text>'
        )
    for colour, name in zip(COLOURS, names, strict=False):
        known = [(row["step"], row[name]) for row in rows if row.get(name) is not None]
        points = " ".join(f"{across(step):.1f},{up(value):.1f}" for step, value in known)
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-opacity="0.35"/>'
            f'<polyline points="{" ".join(f"{across(s):.1f},{up(v):.1f}" for s, v in smoothed(known))}" fill="none" '
            f'stroke="{colour}" stroke-width="2"><title>{escape(name)}</title></polyline>'
        )
    for row in dots:
        at, (bottom, top) = across(row["step"]), row["ci95"]
        parts.append(
            f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{up(bottom):.1f}" y2="{up(top):.1f}" stroke="{COLOURS[1]}"/>'
            f'<circle cx="{at:.1f}" cy="{up(row["accuracy"]):.1f}" r="3" fill="{COLOURS[1]}"><title>step {row["step"]}: '
            f"{row['accuracy']:.1%}, n = {int(row['n'])}</title></circle>"
        )
    parts.append(f'<text x="{x}" y="{y + HEIGHT + 14}">0</text>')
    parts.append(
        f'<text x="{x + WIDTH}" y="{y + HEIGHT + 14}" text-anchor="end">step {last}</text>'
    )
    return "".join(parts)


def smoothed(points: Sequence[tuple[int, float]], width: int = 9) -> list[tuple[int, float]]:
    """Each value as the mean of those around it, over at most `width` steps."""
    found = []
    for at, (step, _) in enumerate(points):
        near = [value for _, value in points[max(0, at - width // 2) : at + width // 2 + 1]]
        found.append((step, sum(near) / len(near)))
    return found
