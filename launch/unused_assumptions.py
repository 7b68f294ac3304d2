"""Assumptions of a study that its cost estimate does not use."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from launch.config import StudyConfig
from launch.cost_model import CostModel
from launch.pair_sets import finished_pairs
from ratiocine.records import SIDES


def unused(study: StudyConfig, model: CostModel) -> Iterator[str]:
    """A line for each, with the reason."""
    known = study.assumptions
    if study.grid is not None:
        yield from _of_sets(study.grid.pairs, model)
    if isinstance(known.problems, dict):
        names = model.benchmarks.names()
        for name in known.problems:
            if name in model.benchmarks.counted:
                yield f"study.assumptions.problems of {name}, whose problems are counted"
            elif name not in names:
                yield _unknown("study.assumptions.problems", name, "benchmark", names)
    for verb in known.flops_per_second:
        if model.rates.measured[verb]:
            yield f"study.assumptions.flops_per_second of {verb}: finished stages tell it"
    if known.mfu and not known.gpu:
        yield "study.assumptions.mfu without study.assumptions.gpu"


def _of_sets(sets: Mapping[str, list[str]], model: CostModel) -> Iterator[str]:
    known, benchmarks = model.assumptions, model.benchmarks.names()
    keys: dict[str, list[str]] = {}
    for key in ("pairs", *SIDES):
        for name in getattr(known, key):
            keys.setdefault(name, []).append(key)
    finished = {name for name in sets if finished_pairs(sets[name])}
    for name in sorted(keys.keys() & finished):
        yield f"{_listed(keys[name])} of {name}, whose pairs are finished"
    for name in sorted(keys.keys() - sets.keys()):
        if others := [key for key in keys[name] if key != "prompt" or name not in benchmarks]:
            yield _unknown(_listed(others), name, "set of pairs", sets)


def _listed(keys: Sequence[str]) -> str:
    return "study.assumptions." + ", .".join(keys)


def _unknown(keys: str, name: str, what: str, known: Collection[str]) -> str:
    return f"{keys} of {name}: no {what} has that name ({', '.join(sorted(known))})"
