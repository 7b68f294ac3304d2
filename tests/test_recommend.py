"""Recommendations from a measured grid: the rule as a property over synthetic grids, and the real
command."""

import json
from dataclasses import replace
from math import exp
from pathlib import Path

import grid as synthetic
import numpy as np
import pytest
from conftest import command, done
from test_report import SHAPE, facts, row, truncated_arms

from eval import rule_of_thumb
from eval.options import Option, choose, measured, sample_size, similarities
from eval.report import Evaluation, gather, load_all
from ratiocine import cost, stats
from ratiocine.records import CATEGORIES
from ratiocine.runs import StudentInfo
from ratiocine.stats import intervals


def student(
    ratio: float | None, seed: int, flops: float, scenario: str = "mixed"
) -> StudentInfo | None:
    if ratio is None:
        return None
    return StudentInfo(
        ratio=ratio,
        scenario=scenario,
        seed=seed,
        base="m",
        arm=f"{scenario} {ratio} {flops}",
        lr=1e-4,
        steps=3,
        tokens=99,
        train_flops=2 * flops,
        train_flops_exact=flops,
        seconds=50.0,
    )


def evaluated(
    out: Path,
    ratio: float | None,
    sums: list[int],
    seed: int = 0,
    *,
    flops: float = 1e12,
    tokens: int = 5,
    exact: bool = True,
    chance: float = 0.0,
) -> Path:
    """An evaluation of 40 sums and 20 names: these sums are right, and the first ten names."""
    rows = [
        *(
            row("sums", i, "right" if i in sums else "wrong", n_completion=tokens)
            for i in range(40)
        ),
        *(row("names", i, "right" if i < 10 else "wrong") for i in range(20)),
    ]
    trained = student(ratio, seed, flops)
    if trained and not exact:
        trained = replace(trained, train_flops_exact=None)
    known = facts(trained, seconds=6.0, size=135_000_000, hypotheses={}, chance={"names": chance})
    return synthetic.write_evaluation(out, rows, known, trained=[ratio, seed, flops])


def grid(root: Path, n_seeds: int = 3) -> Path:
    """Ratios 0, 0.5 and 1 and the untrained model; ratio 1 is far better and writes more, ratio 0.5
    is worth as much for less."""
    evaluated(root / "base", None, [])
    for seed in range(n_seeds):
        evaluated(root / f"0-{seed}", 0.0, [seed, 5], seed, flops=1e12)
        evaluated(root / f"half-{seed}", 0.5, [*range(30), 30 + seed], seed, flops=2e12, tokens=20)
        evaluated(root / f"1-{seed}", 1.0, [*range(31), 31 + seed], seed, flops=4e12, tokens=80)
    return root


def evaluation(
    label: str, right: np.ndarray, ratio: float, seed: int, flops: float, tokens: int
) -> Evaluation:
    answers = {
        f"sums/{i}": [row("sums", i, "right" if value else "wrong", n_completion=tokens)]
        for i, value in enumerate(right)
    }
    known = facts(student(ratio, seed, flops))
    return Evaluation(label, synthetic.manifest(known, label), {}, answers)


def options(seed: int) -> list[Option]:
    """Some arms with random accuracies and costs, by the real measurement of them."""
    rng = np.random.default_rng(seed)
    n_seeds, evaluations = int(rng.integers(1, 4)), []
    for ratio in (0.0, 0.25, 0.5, 1.0):
        flops, tokens, accuracy = (
            float(10 ** rng.uniform(10, 13)),
            int(rng.integers(1, 60)),
            rng.uniform(0.1, 0.9),
        )
        for s in range(n_seeds):
            evaluations.append(
                evaluation(f"{ratio} {s}", rng.random(80) < accuracy, ratio, s, flops, tokens)
            )
    return [measured(arm, list(evaluations[0].answers), exact=True) for arm in gather(evaluations)]


@pytest.mark.parametrize(
    ("questions", "weight"), [(None, 0.0), (1000, 0.0), (10**8, 0.0), (10**8, 0.1)]
)
def test_the_rule_over_many_grids(
    monkeypatch: pytest.MonkeyPatch, questions: int | None, weight: float
) -> None:
    monkeypatch.setattr(intervals, "RESAMPLES", 500)
    apart = 0
    for seed in range(12):
        found = options(seed)
        drawn = np.random.default_rng(seed).normal(0, 0.05, len(found))
        found = [replace(o, expected=o.accuracy + by) for o, by in zip(found, drawn, strict=True)]
        answer = cost.exact_generation(
            SHAPE,
            10,
            found[0].arm.evaluations[0].answers["sums/0"][0].n_completion,
        )
        assert found[0].answer_flops == answer
        assert found[0].train_flops == pytest.approx(
            found[0].arm.evaluations[0].student.train_flops_exact
        )
        spent = [one.train_flops + (questions or 0) * one.answer_flops for one in found]
        worth = [
            np.mean(one.table) - (weight * np.log10(full) if weight else 0)
            for one, full in zip(found, spent, strict=True)
        ]
        choice = choose(found, questions, weight)
        at = max(range(4), key=lambda i: (round(worth[i], 9), -spent[i]))
        assert choice.best is found[at]
        rest = [i for i in range(4) if i != at]
        compared = []
        for i in rest:
            change = weight * (np.log10(spent[at]) - np.log10(spent[i])) if weight else 0.0
            compared.append(
                stats.compare_seeds(found[i].table, (np.array(found[at].table) - change).tolist())
            )
        alike = [at, *(i for i, one in zip(rest, compared, strict=True) if one[1] <= 0)]
        assert [other.best.p_holm for other in choice.others] == pytest.approx(
            stats.holm([one[3] for one in compared])
        )
        assert choice.cheapest is found[min(alike, key=lambda i: spent[i])]
        hoped = [
            one.expected - (weight * np.log10(full) if weight else 0)
            for one, full in zip(found, spent, strict=True)
        ]
        assert choice.recommended is found[max(alike, key=lambda i: hoped[i])]
        assert {id(other.option) for other in choice.inconclusive} == {
            id(found[i]) for i in alike if i != at
        }
        assert sum(choice.best_shares) >= 1 - 1e-9
        assert choice.cheapest.total(questions) <= choice.best.total(questions)
        apart += len({id(o) for o in (choice.best, choice.recommended, choice.cheapest)})
    assert apart > 12, "somewhere they are not the same"


def test_the_cost_of_a_conclusive_sample_size() -> None:
    at, evaluations = np.arange(60), []
    for seed in range(3):
        evaluations.append(evaluation(f"0 {seed}", at < 30, 0.0, seed, 1e12, 5))
        evaluations.append(
            evaluation(f"1 {seed}", (at >= 8 + seed) & (at < 42 + 2 * seed), 1.0, seed, 1e12, 5)
        )
    both = [measured(arm, list(evaluations[0].answers), exact=True) for arm in gather(evaluations)]
    choice = choose(both)
    assert choice.cheapest is both[0] and choice.best is choice.recommended is both[1]
    more = sample_size(choice, 60)
    assert more is not None and more.problems is not None and more.problems > 60
    assert more.problems_cost is not None
    assert more.problems_cost.flops == pytest.approx(
        (more.problems - 60) * 3 * 2 * both[0].answer_flops
    )
    assert more.problems_cost.seconds == pytest.approx((more.problems - 60) * 3 * 2 / 60)
    assert more.seeds is None, "60 problems are too few for any number of seeds"
    more = sample_size(choice, 420)
    assert more is not None and more.seeds is not None and more.seeds_cost is not None
    assert more.seeds_cost.flops == pytest.approx(
        (more.seeds - 3) * 2 * (1e12 + 420 * both[0].answer_flops)
    )


def test_the_recommendation_in_words_and_as_data(tmp_path: Path) -> None:
    shown = done(
        "eval.recommend",
        str(grid(tmp_path / "study")),
        "--category",
        "math-oe",
        "--json",
        str(tmp_path / "a.json"),
    )
    content = json.loads((tmp_path / "a.json").read_text())
    names = ("recommended", "best", "cheapest", "inconclusive")
    assert [content[name] for name in names] == ["ratio 1", "ratio 1", "ratio 0.5", ["ratio 0.5"]]
    assert shown.startswith(
        "Not decided for math-oe (40 problems): 1 of 3 other arms is not shown to be worse than "
        "ratio 1, the most accurate.\n"
        "The best by expectation: m (0.135 billion weights), mixed at ratio 1 (labelled ratio 1).\n"
    )
    assert "Its accuracy is 80.0 % (95 %: " in shown
    assert "Given the arms' accuracies in all categories, 79." in shown
    assert (
        "Among these 2 arms the data are inconclusive; the cheapest of them is ratio 0.5:" in shown
    )
    assert "  - ratio 1: 80.0 % (" in shown and "the most accurate, best or tied in" in shown
    assert "  - ratio 0:" not in shown and "(untrained):" not in shown, (
        "what is worse is not among them"
    )
    assert "one seed" not in shown
    assert "Without --num-queries the cheapest arm is the cheapest to train." in shown
    assert "FLOPs are exact counts;" in shown
    arms = {arm["label"]: arm for arm in content["arms"]}
    assert arms["ratio 0.5"]["train_flops"] == 2e12
    assert arms["ratio 0"]["best_against"]["conclusion"] == "better"
    assert arms["ratio 1"]["accuracy"] == pytest.approx(0.8)
    assert content["text"] == shown.splitlines()


def test_what_its_own_interval_rules_out_is_not_recommended(tmp_path: Path) -> None:
    """Of many arms that are conclusively worse one by one, but not after adjustment, the cheapest
    is no choice."""
    for at in range(9):
        evaluated(tmp_path / f"low-{at}", at / 100, [*range(20)], flops=1e12 + at)
    evaluated(tmp_path / "high", 1.0, [*range(27)], flops=4e12)
    shown = done(
        "eval.recommend", str(tmp_path), "--category", "math-oe", "--json", str(tmp_path / "a.json")
    )
    content = json.loads((tmp_path / "a.json").read_text())
    assert (content["recommended"], content["inconclusive"]) == ("ratio 1", [])
    against = [arm["best_against"] for arm in content["arms"] if arm["label"] != "ratio 1"]
    assert all(one["low"] > 0 and one["p_holm"] > 0.05 for one in against)
    assert (
        "9 of 9 other arms are worse (95 % intervals exclude 0); after Holm's adjustment for "
        "their number, none has p < 0.05" in shown
    )


def test_two_folders_may_share_an_evaluation(tmp_path: Path) -> None:
    one, other = (grid(tmp_path / name) for name in ("a", "b"))
    alone, both = (done("eval.recommend", *map(str, folders)) for folders in ([one], [one, other]))
    assert alone == both


def test_the_cost_limit_and_queries_count(tmp_path: Path) -> None:
    study, out = str(grid(tmp_path / "study")), tmp_path / "a.json"
    small = done(
        "eval.recommend",
        study,
        "--category",
        "math-oe",
        "--max-flops",
        "1.5e12",
        "--json",
        str(out),
    )
    content = json.loads(out.read_text())
    assert {arm["label"]: arm["best_share"] is not None for arm in content["arms"]} == {
        "m (untrained)": True,
        "ratio 0": True,
        "ratio 0.5": False,
        "ratio 1": False,
    }
    assert "ratio 0.5" not in small and "ratio 1" not in small
    many = done(
        "eval.recommend",
        study,
        "--category",
        "math-oe",
        "--num-queries",
        "1e9",
        "--max-flops",
        "1e30",
        "--json",
        str(out),
    )
    arm = next(arm for arm in json.loads(out.read_text())["arms"] if arm["label"] == "ratio 1")
    assert arm["total_flops"] == pytest.approx(4e12 + 1e9 * cost.exact_generation(SHAPE, 10, 80))
    assert "1,000,000,000 queries are more than the 40 measured problems" in many
    assert "--max-flops is more than any measured arm costs" in many
    refused = command("eval.recommend", study, "--max-flops", "1000", "--num-queries", "3")
    assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1)
    assert "--max-flops 1e+03 is below the cheapest arm measured, m (untrained): " in refused.stderr


def test_inconclusive_data_are_called_so(tmp_path: Path) -> None:
    words = [
        str(evaluated(tmp_path / "a", 0.0, [*range(18)], flops=1e12)),
        str(evaluated(tmp_path / "b", 1.0, [*range(4, 24)], flops=2e12)),
    ]
    shown = done("eval.recommend", *words, "--category", "math-oe")
    assert shown.startswith(
        "Not decided for math-oe (40 problems): no arm is shown to be worse than ratio 1, the most "
        "accurate.\n"
        "The best by expectation: m (0.135 billion weights), mixed at ratio 1 (labelled ratio 1).\n"
    )
    assert "; p, Holm: 0.754)" in shown
    assert "take " not in shown
    assert "Every arm has one seed: the intervals do not cover other seeds." in shown
    problems = stats.problems_needed(2 / 40, 10 / 40, 0.0, 1)
    assert f"  - {problems:,} problems and the present seeds: " in shown
    assert "seeds per arm" not in shown, "one seed does not show how seeds vary"
    same = done("eval.recommend", words[0], "--category", "general-mc")
    assert "No other arm was measured." in same


def test_a_tie_is_not_decided(tmp_path: Path) -> None:
    words = [
        str(evaluated(tmp_path / "a", 0.0, [*range(18)], flops=1e12)),
        str(evaluated(tmp_path / "b", 1.0, [*range(18)], flops=2e12)),
    ]
    shown = done("eval.recommend", *words)
    assert shown.startswith(
        "Not decided for all problems (60 problems): no arm is shown to be worse than ratio 0, "
        "among the most accurate.\n"
    )
    assert shown.count("best or tied in 100 % of resamples") == 2


def test_arms_that_never_work_or_guess_are_not_recommended(tmp_path: Path) -> None:
    words = [
        str(evaluated(tmp_path / "a", 0.0, [], flops=1e12, chance=0.5)),
        str(evaluated(tmp_path / "b", 1.0, [], flops=2e12, chance=0.5)),
    ]
    out = tmp_path / "a.json"
    shown = done("eval.recommend", *words, "--category", "math-oe", "--json", str(out))
    assert shown.startswith(
        "No arm works for math-oe (40 problems): not one answer is right; the data do not tell the "
        "2 arms apart, and none is recommended.\n  - ratio 0: 0.0 % (95 %: 0.0 to "
    )
    assert shown.splitlines()[-1] == f"next: python -m eval.browse {words[0]}"
    content = json.loads(out.read_text())
    assert [content[name] for name in ("recommended", "best", "cheapest")] == [None, None, None]
    assert content["text"] == shown.splitlines()[:-1]
    guessed = done("eval.recommend", *words, "--category", "general-mc")
    assert guessed.startswith("No arm is shown to be above chance (50.0 %) for general-mc")
    assert "take " not in shown + guessed and "Not decided" not in shown + guessed


def test_a_recommendation_that_the_token_limit_may_have_made(tmp_path: Path) -> None:
    zero, one = truncated_arms(tmp_path)
    shown = done("eval.recommend", zero, one)
    assert (
        "ratio 0 0 %, ratio 1 50 %. Were all its truncated answers right, more accurate than "
        "ratio 0 would be: ratio 1 (20 % → 68 %). The recommendation may be due to the token limit"
    ) in shown


def test_the_published_form_where_the_exact_one_is_missing(tmp_path: Path) -> None:
    words = [
        str(evaluated(tmp_path / "a", 0.0, [1, 2])),
        str(evaluated(tmp_path / "b", 1.0, [1], flops=2e12, exact=False)),
    ]
    shown = done("eval.recommend", *words)
    assert "the published form for training" in shown
    assert "2e+12 FLOPs to train" in shown


def test_served_models_are_compared_by_accuracy(tmp_path: Path) -> None:
    """Nobody knows the FLOPs of their answers."""
    for at, (model, tokens) in enumerate((("small", 5), ("large", 9))):
        rows = [
            row("sums", i, "right" if i < 12 + 20 * at else "wrong", n_completion=tokens)
            for i in range(40)
        ]
        known = facts(model=model, engine="openai", shape=None, hypotheses={})
        synthetic.write_evaluation(tmp_path / model, rows, known, served=model)
    shown = done("eval.recommend", str(tmp_path), "--json", str(tmp_path / "a.json"))
    assert shown.startswith("For all problems (40 problems): take large, untrained.\n")
    assert "It costs 9 tokens per answer.\n" in shown
    assert "The FLOPs of a served model's answers are unknown" in shown
    assert "--num-queries" not in shown
    found = json.loads((tmp_path / "a.json").read_text())["arms"]
    assert {(one["answer_flops"], one["answer_tokens"]) for one in found} == {(None, 5), (None, 9)}
    refused = command("eval.recommend", str(tmp_path), "--num-queries", "3")
    assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1), refused.stderr
    assert "--num-queries 3: the FLOPs of a served model's answers are unknown" in refused.stderr
    evaluated(tmp_path / "local", None, [1])
    done("eval.recommend", str(tmp_path), "--json", str(tmp_path / "a.json"))
    found = json.loads((tmp_path / "a.json").read_text())["arms"]
    assert [one["answer_flops"] for one in found] == [None] * 3, "of one kind, or of none"


def test_similar_ratios_tell_of_each_other(tmp_path: Path) -> None:
    """exp(−|difference| / 0.5), within a model and between models."""
    folders = [evaluated(tmp_path / str(ratio), ratio, [1, 2]) for ratio in (0.0, 0.5, 1.0)]
    arms = gather(load_all(folders))
    of_model, near, both = similarities(arms)
    assert of_model == [[1.0] * 3] * 3
    known = [[exp(-abs(one - other) / 0.5) for other in (0, 0.5, 1)] for one in (0, 0.5, 1)]
    assert near == both == [pytest.approx(row) for row in known]


def test_a_benchmark_and_a_size_in_words(tmp_path: Path) -> None:
    one, other = (str(evaluated(tmp_path / str(r), float(r), [1, 2])) for r in (0, 1))
    shown = done("eval.recommend", one, other, "--category", "sums", "--model-size", "0.13B")
    assert "for sums" in shown


def test_bad_input_is_one_line(tmp_path: Path) -> None:
    one = str(evaluated(tmp_path / "runs" / "a", 0.0, [1, 2]))
    (tmp_path / "empty").mkdir()
    for words, message in (
        (
            (one, "--category", "physics"),
            "--category physics was not measured; measured: general-mc, math-oe, all",
        ),
        (
            ("--category", "physics"),
            "--category physics: the rule of thumb for what was not measured knows",
        ),
        (("--max-flops", "1e18"), "--max-flops: No evaluation was given, and the rule of thumb "),
        (
            (one, "--category", "math-mc", "--weight", "2", "--num-queries", "3"),
            "--num-queries: math",
        ),
        ((one, "--model-size", "-7"), "--model-size -7 is no number of weights, such as 7e9"),
        ((one, "--model-size", "1.5X"), "--model-size: 1.5X is no number such as 7e9 or 7B (see "),
        ((one, "--sise", "7B"), "unknown option '--sise' (see python -m eval."),
        ((one, "--max-flops", "nan"), "--max-flops nan is no number of FLOPs"),
        ((one, "--num-queries", "0.5"), "--num-queries 0.5 is no whole number"),
        ((one, "--weight", "2"), "--weight needs --num-queries"),
        ((one, "--budget", "1e18"), "--budget is now --max-flops"),
        ((one, "--questions=5"), "--questions is now --num-queries"),
        ((one, "--weight", "-1", "--num-queries", "3"), "--weight -1: it should be 0 or more"),
        ((str(tmp_path / "empty"),), "holds no finished evaluation"),
        ((str(tmp_path / "none"),), "does not exist"),
    ):
        refused = command("eval.recommend", *words)
        assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1), refused.stderr
        assert message in refused.stderr


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ((), "No evaluation was given."),
        (
            ("--category", "math-mc"),
            "math-mc was not measured; measured: general-mc, math-oe, all, ",
        ),
        (
            ("--model-size", "7e9"),
            "No model of about 7 billion weights was measured; measured: 0.135 ",
        ),
    ],
)
def test_what_was_not_measured_has_a_rule_of_thumb(
    tmp_path: Path, words: tuple[str, ...], why: str
) -> None:
    given = [str(evaluated(tmp_path / "a", 0.0, [1, 2]))] if words else []
    shown = done("eval.recommend", *given, *words, "--json", str(tmp_path / "a.json"))
    assert shown.startswith(f"{why}")
    assert "Rule of thumb of arXiv 2509.22193 (Boizard et al.): somebody else's finding" in shown
    assert "take " not in shown and "Its accuracy" not in shown
    content = json.loads((tmp_path / "a.json").read_text())
    assert (content["measured"], content["recommended"]) == (False, None)
    rules = {(r["version"], r["category"], r["min_size"]): r for r in content["rule_of_thumb"]}
    assert rules["v1", "math-mc", 0]["ratio"] == 1
    if words[:1] == ("--model-size",):
        assert rules["v2", "math-oe", 7e9]["scenario"] == "sequential"
        assert ("v2", "math-oe", 0) not in rules
        assert (
            "Published accuracies of Qwen2.5 7B, ratio 0 → 1 (v2, Table 1): general-mc 79.1"
            in shown
        )
    else:
        assert rules["v2", "math-mc", 0]["ratio"] == 0


def test_the_versions_of_the_rule_of_thumb_cover_every_category_and_size() -> None:
    for category in CATEGORIES:
        for version in ("v1", "v2"):
            for size in (1e6, 6.9e9, 7e9, 1e12):
                rule = rule_of_thumb.rule_for(version, category, size)
                assert rule in rule_of_thumb.rules(category, size)
                assert 0 <= rule.ratio <= 1


def test_a_size_restricts_the_arms_to_its_models(tmp_path: Path) -> None:
    synthetic.study(tmp_path, synthetic.whole(1), problems=6)
    shown = done(
        "eval.recommend", str(tmp_path), "--model-size", "5.2e5", "--json", str(tmp_path / "a")
    )
    sizes = {arm["size"] for arm in json.loads((tmp_path / "a").read_text())["arms"]}
    assert sizes == {500_000}
    assert "large" not in shown


def test_expected_accuracies_are_nearer_to_the_truth() -> None:
    """Two models × five ratios in four categories; ratio 1 is the best in each."""
    arms = [(model, ratio) for model in (0, 1) for ratio in (0.0, 0.25, 0.5, 0.75, 1.0)]
    true = np.array([0.4 + 0.1 * model + 0.1 * ratio for model, ratio in arms])
    same = [[float(a[0] == b[0]) for b in arms] for a in arms]
    near = [[float(np.exp(-2 * abs(a[1] - b[1]))) for b in arms] for a in arms]
    errors, regrets = [], []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        tables = [(rng.random((10, 2, 40)) < true[:, None, None]).astype(float) for _ in range(4)]
        observed = np.array([table.mean(axis=(1, 2)) for table in tables])
        expected = np.array(stats.expected_accuracies([t.tolist() for t in tables], [same, near]))
        assert expected.mean(axis=1) == pytest.approx(observed.mean(axis=1))
        errors.append([np.abs(values - true).mean() for values in (observed, expected)])
        regrets.append(
            [0.6 - true[values.argmax(axis=1)].mean() for values in (observed, expected)]
        )
    for found in (errors, regrets):
        before, after = np.mean(found, axis=0)
        assert after < 0.6 * before
    two = stats.expected_accuracies([t[:2].tolist() for t in tables], [])
    assert np.array(two) == pytest.approx(observed[:, :2]), "two arms show no variance"


def test_precise_accuracies_are_hardly_shrunk() -> None:
    right = np.arange(3000) < np.array([900, 1500, 2100, 2101])[:, None]
    tables = [[[row.astype(float).tolist()] for row in right]]
    expected = np.array(stats.expected_accuracies(tables, []))
    assert expected == pytest.approx(right.mean(axis=1)[None], abs=0.005)
    assert expected[0].argsort().tolist() == [0, 1, 2, 3]
