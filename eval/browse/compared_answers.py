"""Two evaluations compared problem by problem: the differences, and which of them was right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from eval.browse.file_cache import FileCache
from eval.browse.run_folders import READ, RunInfo
from eval.compare import GroupDifference, differences
from eval.report import compared_sentence, load_evaluations, right_shares, shared_keys, warnings
from ratiocine.errors import BadInput
from ratiocine.runs import read_manifest
from ratiocine.stores import completions_file

Outcome = Literal["both", "only_a", "only_b", "neither"]
OUTCOMES: Mapping[Outcome, str] = {
    "both": "both right",
    "only_a": "only A right",
    "only_b": "only B right",
    "neither": "both wrong",
}
KEPT = 8  # comparisons in memory


@dataclass(frozen=True)
class Comparison:
    """Evaluation B against A, over the problems with a gradable answer in both."""

    labels: tuple[str, str]
    differences: Mapping[str, GroupDifference]
    """B minus A, by benchmark, category and in total (`eval.compare`)."""
    warnings: Sequence[str]
    keys: Mapping[Outcome, Sequence[str]]
    """Problems by outcome, in the order of A; with several samples, a problem is right where at
    least half of them are."""
    sampled: bool


class Comparisons:
    """The comparisons that were asked for last."""

    def __init__(self) -> None:
        self._kept = FileCache[Comparison](KEPT)

    def of(self, a: RunInfo, b: RunInfo) -> Comparison:
        """Raises BadInput where two runs cannot be compared."""
        for run in (a, b):
            if run.verb != "eval" or run.state != "finished":
                raise BadInput(f"{run.name} is no finished evaluation")
        if a.folder == b.folder:
            raise BadInput("A and B are the same evaluation; choose two")
        folders = [run.folder for run in (a, b)]
        files = [f for folder in folders for f in (folder / "DONE", completions_file(folder))]
        return self._kept.get((a.folder, b.folder), files, lambda: _compared(folders))


def _compared(folders: Sequence[Path]) -> Comparison:
    for folder in folders:  # `load_evaluations` reads whatever a manifest lists
        if unknown := {*read_manifest(folder).outputs} - {*READ}:
            raise BadInput(f"{folder.name} is corrupt: it lists {sorted(unknown)[0]} as its output")
    a, b = load_evaluations(folders)
    keys: dict[Outcome, list[str]] = {outcome: [] for outcome in OUTCOMES}
    shared = shared_keys([a, b])
    both = (right_shares(one, shared) for one in (a, b))
    for key, of_a, of_b in zip(shared, *both, strict=True):
        keys[_outcome(of_a >= 0.5, of_b >= 0.5)].append(key)
    found = differences([(a, b)])
    total = found["all"]
    cut = compared_sentence(total.truncated, total.paired.difference, "A", "B")
    return Comparison(
        labels=(a.label, b.label),
        differences=found,
        warnings=[*warnings([a, b]), *([cut] if cut else [])],
        keys=keys,
        sampled=any((one.columns.sums("one") > 1).any() for one in (a, b)),
    )


def _outcome(a: bool, b: bool) -> Outcome:
    if a == b:
        return "both" if a else "neither"
    return "only_a" if a else "only_b"
