"""Seeds in rounds: which cells of a grid are trained with a further seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from eval.report import Arm, Declared, Rounds, Study, load_evaluations, undecided
from launch.config import StudyConfig
from launch.expansion import Cell


def next_round(study: StudyConfig, names: Sequence[str], folders: Mapping[str, Path]) -> list[Cell]:
    """The cells of the next round, after the evaluations `names`: a further seed for the arms of
    every primary hypothesis that it may decide. Empty if all are decided, and where the cost limit
    of the rounds is reached."""
    rounds = study.grid.seeds if study.grid else None
    if not isinstance(rounds, Rounds):
        return []
    evaluations = load_evaluations([folders[name] for name in names])
    plan = Declared(hypotheses=study.hypotheses, rounds=rounds)
    found = Study.of(evaluations, plan)
    names_of = {folders[name]: name for name in names}
    cells: dict[Cell, None] = {}
    lines = []
    for pair, outcome in undecided(found):
        lines.append(
            f"  {outcome.hypothesis.hypothesis} in {outcome.hypothesis.group} of {pair[1].model}: "
            f"p = {outcome.p_adjusted:.3f} (adjusted), conditional power {outcome.power:.0%}"
        )
        for arm in pair:
            if arm.trained and len(arm.evaluations) < rounds.most:
                cells[_next_cell(arm, names_of)] = None
    if not cells:
        return []
    if found.limit_reached:
        print("the cost limit of grid.seeds ends the rounds; undecided:", *lines, sep="\n")
        return []
    print(f"\na further seed for {len(cells)} arms; undecided:", *lines, sep="\n", flush=True)
    return list(cells)


def _next_cell(arm: Arm, names: Mapping[Path, str]) -> Cell:
    """The next seed of an arm, by the stage of its last evaluation: `eval-NAME-sSEED`."""
    folder, seed = arm.evaluations[-1].folder, arm.evaluations[-1].seed
    assert folder is not None
    assert seed is not None
    name = names[folder].removeprefix("eval-").removeprefix("rl-")
    return name.removesuffix(f"-s{seed}"), seed + 1
