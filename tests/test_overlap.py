"""Overlap between a training set and a benchmark."""

import json
from pathlib import Path

from conftest import command, done
from hypothesis import given
from hypothesis import strategies as st

from ratiocine.data import Match, ngrams, overlaps, without_wording

LONG = (
    "a train leaves the old station at nine and meets the other one after two hours "
    "how far did it go"
)


def test_each_kind_is_found_and_the_strictest_named() -> None:
    train = {
        "r0": "unrelated words",
        "r1": LONG.upper() + "  ",
        "r2": "What is 17 times 23 plus 4, to the nearest whole number?",
    }
    test = {
        "same": LONG,
        "part": "He asked: " + LONG.replace("how far did it go", "and when"),
        "near": "What is 17 times 23 plus 4 to the nearest whole number?",
        "numbers": "What is 17 times 23 plus 5, to the nearest whole number?",
        "other": "Name a colour of the rainbow.",
        "short": "two hours how far did it go",
    }
    assert overlaps(train, test) == {
        "same": Match("exact", "r1"),
        "part": Match("ngram", "r1"),
        "near": Match("fuzzy", "r2"),
    }
    assert overlaps(train, test, n=6)["short"] == Match("ngram", "r1")
    assert overlaps({}, test) == {}


@given(st.lists(st.text("abcXYZ .,19", min_size=1, max_size=60), max_size=8), st.integers(0, 7))
def test_a_problem_that_is_in_the_training_set_is_always_found(texts: list[str], at: int) -> None:
    train = {str(i): text for i, text in enumerate(texts)}
    for text in texts[at : at + 1]:
        assert overlaps(train, {"x": f"  {text.upper()} "})["x"].how == "exact"


def test_ngrams_are_of_words() -> None:
    assert list(ngrams("A b, c-d!", 3)) == [("a", "b", "c"), ("b", "c", "d")]
    assert list(ngrams("a b", 3)) == []


def test_a_tasks_wording_is_no_overlap() -> None:
    prompts = [f"Solve this.\nProblem {i}\nPut the answer in a box." for i in range(5)]
    assert without_wording(prompts) == [f"Problem {i}" for i in range(5)]


def test_scores_with_and_without_what_was_trained_on(pairs: Path, tmp_path: Path) -> None:
    """An evaluation over one's own file, two of whose four problems are training prompts."""
    from ratiocine.stores import read_pairs

    known = without_wording([pair.prompt for pair in read_pairs(pairs / "pairs.parquet")])[:2]
    mine = tmp_path / "mine.jsonl"
    questions = [*known, "How many legs has a spider?", "What is 2+2?"]
    mine.write_text(
        "\n".join(json.dumps({"question": q, "answer": "8", "kind": "number"}) for q in questions)
    )
    done(
        "eval", "model=tiny", f"benchmarks=[{mine}]", "max_new_tokens=3", f"out={tmp_path / 'run'}"
    )
    file = tmp_path / "found.json"
    said = done("eval.overlap", str(tmp_path / "run"), "--pairs", str(pairs), "--out", str(file))
    found = json.loads(file.read_text())
    assert found["benchmarks"]["mine"]["flagged"]["exact"] == 2
    assert (
        found["benchmarks"]["mine"]["all"]["n"],
        found["benchmarks"]["mine"]["without"]["n"],
    ) == (4, 2)
    assert "mine" in said
    refused = command("eval.overlap", str(pairs), "--pairs", str(pairs))
    assert (refused.returncode, "is a run of distill, not of eval" in refused.stderr) == (2, True)


def test_options_are_part_of_a_problem(pairs: Path, tmp_path: Path) -> None:
    """A multiple-choice problem of the pairs, as a benchmark has it, and with other options."""
    from ratiocine.stores import read_pairs

    prompts = [pair.prompt for pair in read_pairs(pairs / "pairs.parquet")]
    asked = next(one for one in without_wording(prompts) if "\nA. " in one)
    question, _, options = asked.partition("\nA. ")
    choices = ["A. " + options.partition("\n")[0], *options.splitlines()[1:]]
    texts = [choice[3:] for choice in choices]
    mine = tmp_path / "mine.jsonl"
    rows = [(question, texts), (question, [f"other {at}" for at in range(len(texts))])]
    mine.write_text(
        "".join(json.dumps({"question": q, "choices": c, "answer": 0}) + "\n" for q, c in rows)
    )
    words = (f"benchmarks=[{mine}]", "max_new_tokens=3", f"out={tmp_path / 'run'}")
    done("eval", "model=tiny", *words)
    file = tmp_path / "found.json"
    done("eval.overlap", str(tmp_path / "run"), "--pairs", str(pairs), "--out", str(file))
    assert json.loads(file.read_text())["benchmarks"]["mine"]["flagged"]["exact"] == 1


def test_gsm8k_has_no_test_problem_in_its_training_set(benchmarks: Path) -> None:
    def questions(name: str) -> dict[str, str]:
        rows = [json.loads(line) for line in (benchmarks / name).open(encoding="utf-8")]
        return {str(i): row["question"] for i, row in enumerate(rows)}

    found = overlaps(questions("gsm8k_train.jsonl"), questions("gsm8k_test.jsonl"))
    assert sum(match.how == "exact" for match in found.values()) == 0
    assert len(found) < 20
