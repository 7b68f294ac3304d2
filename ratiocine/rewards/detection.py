"""Rewards of object detection (Visual-RFT, arXiv 2503.01785), computed from boxes alone.

Delta from the paper: confidence is optional in an answer (1 by default), and a reward is also
defined without any boxes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

Box = Sequence[float]  # left, top, right, bottom
MAX_COORDINATE = 1e9


def read(text: str) -> list[tuple[Box, float]] | None:
    """The boxes of an answer with their confidence, 1 by default; None if the text is no list of
    boxes."""
    found: list[tuple[Box, float]]
    try:
        rows = json.loads(text)
        if not isinstance(rows, list):
            return None
        found = [
            (_numbers(row["box"], 4), _numbers([row.get("confidence", 1)], 1)[0]) for row in rows
        ]
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return None
    return found if all(0 <= confidence <= 1 for _, confidence in found) else None


def _numbers(values: object, n: int) -> list[float]:
    if (
        not isinstance(values, list)
        or len(values) != n
        or not all(type(value) in (int, float) for value in values)
    ):
        raise ValueError(f"these are no {n} numbers")
    found = [float(value) for value in values]
    if not all(abs(value) <= MAX_COORDINATE for value in found):  # false for NaN as well
        raise ValueError("these are no places in a picture")
    return found


def are_boxes(values: object) -> bool:
    """Whether these are boxes, as in `meta.boxes` of a problem."""
    try:
        return isinstance(values, list) and all(_numbers(box, 4) for box in values)
    except (ValueError, OverflowError):
        return False


def iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes; 0 if either is empty or inverted."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(0.0, width) * max(0.0, height)
    areas = [max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1]) for box in (a, b)]
    return shared / (sum(areas) - shared) if all(areas) else 0.0


def matches(
    boxes: Sequence[tuple[Box, float]], truth: Sequence[Box], threshold: float = 0.5
) -> list[float]:
    """IoU of each box (with its confidence) with the true box matched to it; 0 without a match.

    Greedy: the most confident box first, with the best remaining true box; an IoU up to the
    threshold is no match.
    """
    left, found = list(range(len(truth))), [0.0] * len(boxes)
    for at in sorted(range(len(boxes)), key=lambda i: -boxes[i][1]):
        best = max(left, key=lambda i: iou(boxes[at][0], truth[i]), default=None)
        if best is not None and (overlap := iou(boxes[at][0], truth[best])) > threshold:
            found[at] = overlap
            left.remove(best)
    return found


def detection_reward(
    boxes: Sequence[tuple[Box, float]], truth: Sequence[Box], threshold: float = 0.5
) -> float:
    """Sum of the matched IoUs over the larger number of boxes: a surplus box costs as much as a
    missing one."""
    most = max(len(boxes), len(truth))
    return sum(matches(boxes, truth, threshold)) / most if most else 1.0


def confidence_reward(
    boxes: Sequence[tuple[Box, float]], truth: Sequence[Box], threshold: float = 0.5
) -> float:
    """Mean over the boxes of the confidence c if matched, else 1 − c; 0 without boxes. Alone it
    pays for spurious boxes of confidence 0: the paper adds it to the overlap."""
    if not boxes:
        return 0.0
    found = matches(boxes, truth, threshold)
    total = sum(c if overlap else 1 - c for (_, c), overlap in zip(boxes, found, strict=True))
    return total / len(boxes)
