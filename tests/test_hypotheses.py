"""Declared hypotheses: verdicts, the order of tests, and the plan of a study."""

import random
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from conftest import command, done
from test_report import SHAPE, evaluation, row

from eval.report import hypotheses
from eval.report.difference_tables import FUTILE, outcomes, undecided
from eval.report.hypotheses import Declared, Hypothesis, Outcome, Rounds, adjusted
from eval.report.loading import load_evaluations
from eval.report.pairings import Comparisons, main_pairs
from eval.report.study import Study
from eval.report.tables import all_tables
from ratiocine.errors import BadInput
from ratiocine.stats import PairedDifference, holm, sequential_p


def refused(*words: str) -> str:
    """The one line of a refusal."""
    result = command(*words)
    assert (result.returncode, len(result.stderr.splitlines())) == (2, 1), result.stderr
    return result.stderr.strip()


def difference(base: int, arm: int, n: int) -> PairedDifference:
    """Of so many right answers to n problems, the base's among the arm's."""
    return PairedDifference.of(*[[[1] * right + [0] * (n - right)] for right in (base, arm)])


def gain(group: str = "sums", **fields: object) -> Hypothesis:
    return Hypothesis.model_validate({"group": group, "hypothesis": "gain", **fields})


def no_gain(group: str = "names", **fields: object) -> Hypothesis:
    return gain(group, **{"hypothesis": "no_gain", **fields})


@pytest.mark.parametrize(
    ("hypothesis", "counts", "expected"),
    [
        (gain(), (20, 60, 100), "gain shown"),
        (gain(), (20, 22, 100), "inconclusive with 100 problems"),
        (gain(), (60, 20, 100), "loss seen instead"),
        (no_gain(), (20, 20, 100), "no gain beyond 5 points shown"),
        (no_gain(), (20, 20, 30), "inconclusive with 30 problems"),
        (no_gain(margin=0.25), (20, 20, 30), "no gain beyond 25 points shown"),
        (no_gain(), (20, 60, 100), "gain seen after all, uncorrected"),
        (no_gain(), (60, 20, 100), "loss seen, uncorrected"),
        (no_gain(margin=0.5), (60, 40, 100), "no gain beyond 50 points shown"),
    ],
)
def test_verdicts(hypothesis: Hypothesis, counts: tuple[int, int, int], expected: str) -> None:
    (one,) = adjusted([Outcome.of(hypothesis, difference(*counts))])
    assert one.verdict == expected


def p_adjusted(*tested: tuple[Hypothesis, PairedDifference]) -> list[float]:
    return [one.p_adjusted for one in adjusted([Outcome.of(*one) for one in tested])]


def test_primary_hypotheses_come_first_and_in_their_order() -> None:
    strong, weak = difference(20, 40, 100), difference(20, 26, 100)
    p, q = strong.p, weak.p
    assert 0.01 < q < 0.05
    first, second, rest = gain("a", primary=True), gain("b", primary=True), gain("c")
    assert p_adjusted((first, strong), (second, weak), (rest, strong)) == pytest.approx([p, q, q])
    assert p_adjusted((first, weak), (second, strong), (rest, strong)) == pytest.approx([q] * 3)
    assert p_adjusted((rest, strong), (rest, weak)) == pytest.approx(holm([p, q]))
    lost = difference(40, 20, 100)
    assert p_adjusted((first, lost), (second, strong), (rest, strong)) == [1.0] * 3


def test_weights_of_primary_hypotheses() -> None:
    """0.8 and 0.2 of the level, the second divided between two pairs of arms."""
    weak = difference(20, 26, 100)
    first, second = gain("a", primary=True, weight=0.8), gain("b", primary=True, weight=0.2)
    q = weak.p
    found = p_adjusted((first, weak), (second, difference(40, 20, 100)), (second, weak))
    assert found == pytest.approx([q / 0.8, 1.0, q / 0.5])
    assert p_adjusted((first, weak)) == pytest.approx([q])


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ([gain("sum")], "unknown group 'sum'; the study has sums, names, all"),
        ([gain(model="huge")], "unknown model 'huge'; the study has small, large"),
        ([gain(weight=0.5)], "sums has a weight, but is not primary"),
        ([gain(), no_gain("sums")], "sums (ratio) is declared twice"),
        (
            [gain(primary=True, weight=0.5), gain("all", primary=True)],
            "give a weight to each primary hypothesis or to none",
        ),
        (
            [gain(primary=True, weight=0.5), gain("all", primary=True, weight=0.4)],
            "weights add up to 0.9, not 1",
        ),
    ],
)
def test_wrong_declarations(wrong: list[Hypothesis], expected: str) -> None:
    with pytest.raises(BadInput) as error:
        hypotheses.check_hypotheses(wrong, ["sums", "names", "all"], ["small", "large"])
    assert expected in str(error.value)


@pytest.mark.parametrize("margin", [0, -0.05, 1, "wide"])
def test_a_margin_is_a_share(margin: object) -> None:
    with pytest.raises(ValueError, match="margin"):
        no_gain(margin=margin)


def test_the_hypotheses_of_a_study_come_before_those_of_its_families(tmp_path: Path) -> None:
    """The plan of the folder of a study is read; families keep what it does not mention."""
    study = tmp_path / "study"
    for ratio, sums in ((0.0, 2), (1.0, 38)):
        evaluation(study / f"ratio{ratio:g}", ratio, sums, 20)
    plan = [
        {"group": "math-oe", "hypothesis": "gain", "primary": True},
        {"group": "sums", "hypothesis": "no_gain"},
    ]
    (study / "study.yaml").write_text(yaml.safe_dump({"name": "s", "hypotheses": plan}))
    done("eval.report", str(study), "--out", str(tmp_path / "r.html"))
    table = (tmp_path / "r-tables" / "hypotheses.csv").read_text().splitlines()
    rows = [line.split(",")[:3] for line in table[1:]]
    assert rows[0] == ["gain", "true", "math-oe"]
    assert rows[1:3] == [["no_gain", "false", "sums"], ["no_gain", "false", "names"]]
    assert "gain shown" in table[1] and "gain seen after all, uncorrected" in table[2]
    other = tmp_path / "other"
    evaluation(other / "a", 0.5, 3, 3)
    (other / "study.yaml").write_text(yaml.safe_dump({"name": "o", "hypotheses": plan[:1]}))
    message = refused("eval.report", str(study), str(other))
    assert message.endswith("declare different hypotheses")
    bad = [{"group": "sums", "hypothesis": "no_gain", "margin": 0}]
    (study / "study.yaml").write_text(yaml.safe_dump({"name": "s", "hypotheses": bad}))
    assert "study.yaml: hypotheses.0.margin" in refused("eval.report", str(study))


def test_seeds_in_rounds(tmp_path: Path) -> None:
    """A clear gain is shown at the first look, noise is futile or goes on; p-values allow for the
    looks."""
    folders = []
    for seed in range(4):
        rng = random.Random(seed)
        for ratio, sums in ((0.0, 4), (1.0, 34)):
            rows = [row("sums", i, "right" if i < sums + seed else "wrong") for i in range(40)]
            rows += [row("names", i, "right" if rng.random() < 0.5 else "wrong") for i in range(20)]
            folder = tmp_path / f"{ratio:g}-{seed}"
            folders.append(evaluation(folder, ratio, 0, 0, rows=rows, seed=seed))
    names = no_gain("names", primary=True, margin=0.3)
    plan = Declared(hypotheses=[gain("sums", primary=True), names], rounds=Rounds(most=6))
    study = Study.of(load_evaluations(folders), plan)
    comparisons = Comparisons(study)
    found = {one.hypothesis.group: one for _, one in outcomes(study, comparisons)}
    assert found["sums"].verdict == "gain shown"
    (pair,) = main_pairs(study)
    looks = [one.of(pair, "sums") for one in (Comparisons(study.with_seeds(3)), comparisons)]
    expected = sequential_p([one.p for one in looks], [3 / 6, 4 / 6])
    assert found["sums"].p == pytest.approx(expected)
    assert found["sums"].p >= min(one.p for one in looks)
    names_open = found["names"].p_adjusted >= 0.05 and (found["names"].power or 0) >= FUTILE
    assert [one.hypothesis.group for _, one in undecided(study)] == ["names"] * names_open
    assert list(Rounds(first=3, most=6).looks(5)) == [3, 4, 5]
    assert list(Rounds(first=3, most=6).looks(2)) == [2]
    with pytest.raises(ValueError, match="most=2 is below first=3"):
        Rounds(most=2)


def test_equal_inference_cost(tmp_path: Path) -> None:
    """A reasoning arm against the direct arm of another model whose answers cost as much."""
    reasoning = evaluation(tmp_path / "m", 1.0, 30, 20, base="m")
    alike = evaluation(tmp_path / "n", 0.0, 10, 20, base="n")
    larger = replace(SHAPE, layers=3 * SHAPE.layers)
    costly = evaluation(tmp_path / "o", 0.0, 10, 20, base="o", shape=larger)
    tables = all_tables(Study.of(load_evaluations([reasoning, alike, costly])))
    (row,) = tables["differences_inference"].where(group="math-oe")
    assert (row["difference"], row["model"]) == (0.5, "m")
    assert row["against"].startswith("n")
