"""Rewards of detected boxes (Visual-RFT, arXiv 2503.01785): pure geometry, no vision model needed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

Box = Sequence[float]  # left, top, right, bottom
LARGEST = 1e9


def read(text: str) -> list[tuple[Box, float]] | None:
    """The boxes of an answer with their confidence, 1 where none is given; None where the text is no list of boxes."""
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


def _numbers(values: Any, n: int) -> list[float]:
    if (
        not isinstance(values, list)
        or len(values) != n
        or not all(type(value) in (int, float) for value in values)
    ):
        raise ValueError(f"these are no {n} numbers")
    found = [float(value) for value in values]
    if not all(abs(value) <= LARGEST for value in found):  # nor is NaN
        raise ValueError("these are no places in a picture")
    return found


def are_boxes(values: Any) -> bool:
    """Whether these are boxes as `meta.boxes` of a problem holds them."""
    try:
        return isinstance(values, list) and all(_numbers(box, 4) for box in values)
    except (ValueError, OverflowError):
        return False


def iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes; 0 where either is empty or turned inside out."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(0.0, width) * max(0.0, height)
    areas = [max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1]) for box in (a, b)]
    return shared / (sum(areas) - shared) if all(areas) else 0.0


def matches(
    boxes: Sequence[tuple[Box, float]], truth: Sequence[Box], threshold: float = 0.5
) -> list[float]:
    """What each of the boxes, given with their confidence, overlaps of the true one that it is matched with: the most confident
    takes the best of those that are left. Up to the threshold it is no match, and 0."""
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
    """Sum of the matched overlaps over the larger of both numbers, so that a box too many costs as one too few."""
    most = max(len(boxes), len(truth))
    return sum(matches(boxes, truth, threshold)) / most if most else 1.0


def confidence_reward(
    boxes: Sequence[tuple[Box, float]], truth: Sequence[Box], threshold: float = 0.5
) -> float:
    """Mean of the confidence of matched boxes and of what is missing from 1 for the others; 0 without boxes. Alone it pays for
    a box that is said to be none: the paper adds it to the overlap."""
    found = matches(boxes, truth, threshold)
    return (
        sum(c if overlap else 1 - c for (_, c), overlap in zip(boxes, found, strict=True))
        / len(boxes)
        if boxes
        else 0.0
    )
