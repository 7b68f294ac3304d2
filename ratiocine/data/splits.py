"""Division of one set of rows into a training and a test split by content."""

from __future__ import annotations

from collections.abc import Sequence

from ratiocine.data.contamination import groups
from ratiocine.errors import BadInput
from ratiocine.hashing import content_key, digest


def rows_of_test(texts: Sequence[str], test_size: float) -> frozenset[int]:
    """Indices of the rows of the test split: of groups of near-duplicates in the order of a hash,
    the first that hold `test_size` of the rows. A smaller split is a subset of a larger one, and
    rows in another order make the same split. Raises BadInput if a side is empty."""
    order = sorted(range(len(texts)), key=lambda at: content_key(texts[at]))
    first = groups([texts[at] for at in order])
    members: dict[int, list[int]] = {}
    for at, group in zip(order, first, strict=True):
        members.setdefault(group, []).append(at)
    by_hash = sorted(members, key=lambda at: digest("test_size", content_key(texts[order[at]])))
    chosen: list[int] = []
    for group in by_hash:
        if len(chosen) >= round(test_size * len(texts)):
            break
        chosen += members[group]
    if not 0 < len(chosen) < len(texts):
        raise BadInput(
            f"test_size={test_size:g} of {len(texts)} rows in {len(members)} groups of "
            "near-duplicates leaves a side without rows"
        )
    return frozenset(chosen)
