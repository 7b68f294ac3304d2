"""Files of one's own: what is read from them, what is dropped with which reason, and the test split
that stays with the pairs."""

import csv
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from conftest import command, done, reshaped
from teacher import Teacher, words

from ratiocine import cli
from ratiocine.data import DataConfig, load, problem_of
from ratiocine.data.row_shapes import reference_of
from ratiocine.data.rows import mapped
from ratiocine.data.stored_split import row_of
from ratiocine.data.tasks import read_task
from ratiocine.errors import BadInput
from ratiocine.records import Problem
from ratiocine.runs import hash_path
from ratiocine.stores import stream_pairs
from rl import preparation

pytestmark = pytest.mark.long


def write(file: Path, rows: list[dict]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def read(file: Path, **changes: object) -> list[Problem]:
    return load(DataConfig(name="local", path=str(file), **changes), "test").problems


def refused(*words: str) -> str:
    """The message of a command that must refuse its input: one line, after progress bars."""
    result = command(*words)
    *bars, message = result.stderr.strip().splitlines()
    assert result.returncode == 2 and all("%|" in bar for bar in bars), result.stderr
    return message


def lines(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_the_test_split_stays_with_the_pairs(tmp_path: Path) -> None:
    """The source is reworded, moved and removed, and the folder of the pairs moved: the benchmark
    is the same, and none of its problems was trained."""
    rows = [{"q": f"What is {n} + 1?", "a": str(n + 1), "solution": f"{n + 1}."} for n in range(20)]
    file, pairs = write(tmp_path / "my sums.jsonl", rows), tmp_path / "pairs"
    columns = "data.columns={question: q, answer: a}"
    words = ("distill", "teacher=reference", f"data={file}", columns, "data.test_size=0.25")
    done(*words, "model=tiny", f"out={pairs}")
    check = ("eval", "model=tiny", "validate_only=true")
    before = done(*check, f"benchmarks=['{pairs}']")
    assert "my sums: 5 problems (5 number), 0 dropped" in before
    divided = DataConfig(
        name="my sums",
        path=str(file),
        test_size=0.25,
        columns={"question": "q", "answer": "a"},
        instruction=r"Put only the answer in \boxed{}.",
    )
    held_out = [(p.id, p.question) for p in load(divided, "test").problems]
    write(file, [{**row, "q": row["q"].replace("What is", "Add")} for row in rows])
    moved = pairs.rename(tmp_path / "elsewhere")
    assert done(*check, f"benchmarks=['{moved}']") == before
    file.unlink()
    assert done(*check, f"benchmarks=['{moved}']") == before
    assert [(p.id, p.question) for p in read(moved / "test.jsonl")] == held_out
    (moved / "test.jsonl").write_text("")
    assert "test.jsonl" in refused(*check, f"benchmarks=['{moved}']")


def test_pairs_without_a_copy_of_their_test_split_notice_a_changed_source(tmp_path: Path) -> None:
    rows = [{"question": f"Of {n}?", "answer": str(n), "solution": f"{n}"} for n in range(12)]
    file, pairs = write(tmp_path / "mine.jsonl", rows), tmp_path / "pairs"
    words = ("distill", "teacher=reference", f"data={file}", "data.test_size=0.25", "model=tiny")
    done(*words, f"out={pairs}")
    manifest = json.loads((pairs / "manifest.json").read_text())
    del manifest["outputs"]["test.jsonl"]  # as earlier releases wrote them
    (pairs / "manifest.json").write_text(json.dumps(manifest))
    (pairs / "DONE").write_text(hash_path(pairs / "manifest.json") + "\n")
    (pairs / "test.jsonl").unlink()
    check = ("eval", "model=tiny", "validate_only=true", f"benchmarks=[{pairs}]")
    assert "mine: 3 problems (3 number)" in done(*check)
    write(file, [{**row, "question": f"Now {row['question']}"} for row in rows])
    assert "has changed since these pairs were made" in refused(*check)


@pytest.mark.parametrize(
    "problem",
    [
        Problem("1", "2 + 3?", "5", "number", "math-oe", "t", tolerance=0.1, accepted=("5.0",)),
        Problem("2", "Which?", "B", "choice", "mine", "t", choices=("x", "A) y"), context="Read."),
        Problem("3", "Say so.", None, "string", "general-oe", "t", meta={"level": "easy"}),
        Problem("4", "Who? A) I B) you", "A", "string", "general-oe", "t"),
    ],
)
def test_a_stored_problem_is_the_same_problem(problem: Problem) -> None:
    row = json.loads(json.dumps(row_of(problem)))
    assert problem_of(DataConfig(name="t"), row, "x") == problem


@pytest.mark.parametrize(
    ("answer", "reference", "solution"),
    [
        ("<think>\n6 * 7\n</think>\nThe answer is \\boxed{42}.", "42", "6 * 7"),
        ("<think>\n6 * 7\n</think>\n42", "42", "6 * 7"),
        ("As 6 * 7 = 42, it is \\boxed{42}.", "42", "As 6 * 7 = 42, it is \\boxed{42}."),
        ("Paris", "Paris", None),
        ("the red box", "the red box", None),
        ("The answer is 42", None, None),
        ("<think>\n6 * 7\n</think>\nIt is 42, I believe.", None, "6 * 7"),
        ("<think>\n6 * 7", None, None),
        ("One line.\nAnother.", None, None),
    ],
)
def test_the_reference_of_a_conversation(
    answer: str, reference: str | None, solution: str | None, tmp_path: Path
) -> None:
    """The box after the trace, or a short answer; of a sentence nothing."""
    turns = [{"from": "human", "value": "6 * 7?"}, {"from": "gpt", "value": answer}]
    (problem,) = read(write(tmp_path / "a.jsonl", [{"conversations": turns}]))
    assert (problem.reference, problem.meta.get("solution")) == (reference, solution)
    assert reference_of(answer)[0] == reference
    if "</think>" in answer:  # mapped by hand
        (mapped,) = read(tmp_path / "a.jsonl", columns=BY_HAND)
        assert (mapped.reference, mapped.meta.get("solution")) == (reference, solution)


BY_HAND = {"question": "conversations.0.value", "answer": "conversations.1.value"}


def test_conversations_are_benchmarks_and_sources(tmp_path: Path) -> None:
    said = [
        (f"What is {n} + 1?", f"<think>\n{n + 1}\n</think>\n\\boxed{{{n + 1}}}") for n in (1, 2)
    ]
    rows = [
        {"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]}
        for q, a in said
    ]
    file = write(tmp_path / "chat.jsonl", rows)
    check = ("eval", "model=tiny", "validate_only=true")
    assert "chat: 2 problems (2 number), 0 dropped" in done(*check, f"benchmarks=[{file}]")
    for teacher in ("reference", "published"):
        out = tmp_path / teacher
        done("distill", f"teacher={teacher}", f"data={file}", "model=tiny", f"out={out}")
        assert json.loads((out / "manifest.json").read_text())["n"] == 2
    rows[0]["messages"][1]["content"] = "It is two, as everybody knows."
    told = refused(*check, f"benchmarks=[{write(tmp_path / 'talk.jsonl', rows[:1])}]")
    assert "holds no test problem (dropped: 1 no_reference: give a short answer" in told


def test_columns_are_renamed_and_the_others_kept(tmp_path: Path) -> None:
    """`solution` and `choices` are read beside mapped columns; `id` is not."""
    row = {"q": "Which?", "gold": "b", "choices": ["a", "b"], "solution": "b.", "id": "1"}
    (problem,) = read(
        write(tmp_path / "a.jsonl", [row]), columns={"question": "q", "answer": "gold"}
    )
    assert (problem.choices, problem.reference) == (("a", "b"), "B")
    assert problem.meta["solution"] == "b."
    assert problem.id != "1"


def test_a_column_with_dots_in_its_name_is_mapped(tmp_path: Path) -> None:
    """Its exact name wins over a nested field; dots still reach into others."""
    file = tmp_path / "mine.csv"
    file.write_text("No.,Q.1 (easy),gold\n17,What is 2 + 2?,4\n")
    mapping = "columns={id: No., question: 'Q.1 (easy)', answer: gold}"
    found = done("eval", "model=tiny", "validate_only=true", f"benchmarks=[{file}]", mapping)
    assert "mine: 1 problem (1 number), 0 dropped" in found
    row = {"a.b": "1", "a": {"b": "2", "c.d": "3"}, "n": [{"x.": "4"}]}
    names = {"question": "a.b", "answer": "a.c.d", "id": "n.0.x."}
    fields = mapped(row, names)
    assert [fields[name] for name in names] == ["1", "3", "4"]
    with pytest.raises(KeyError, match=r"a\.x"):
        mapped(row, {"question": "a.x"})


def test_a_benchmark_file_is_mapped_on_the_command_line(tmp_path: Path) -> None:
    rows = [{"prompt": "What is 2 + 2?", "gold": "4"}, {"prompt": "And 3 + 3?", "gold": "6"}]
    file = write(tmp_path / "mine.jsonl", rows)
    check = ("eval", "model=tiny", "validate_only=true")
    mapping = "columns={question: prompt, answer: gold}"
    found = done(*check, f"benchmarks=[{file}]", mapping, "kind=string", "category=math-oe")
    assert "mine: 2 problems (2 string), 0 dropped" in found
    out = tmp_path / "scores"
    words = ("eval", "model=tiny", f"benchmarks=[{file}]", mapping, "max_new_tokens=2")
    done(*words, "category=math-oe", f"out={out}")
    scores = json.loads((out / "scores.json").read_text())
    assert [*scores["categories"]] == ["math-oe"]
    assert "columns={'question'" in refused(*check, "benchmarks=demo", mapping)
    assert "'quest' is no field" in refused(*check, f"benchmarks=[{file}]", "columns={quest: a}")
    pairs = ("distill", f"data={file}", "data.category=math-oe", "data.kind=number", "model=tiny")
    told = refused(*pairs, "teacher=reference", f"data.{mapping}", f"out={tmp_path / 'p'}")
    assert "data=mine gave no pair; rejected: {'no_solution': 2}; no_solution: " in told
    assert "data.columns='{solution: NAME}'" in told
    words = (*pairs, "teacher=reference", "data.columns={question: prompt}")
    without = refused(*words, f"out={tmp_path / 'p'}")
    assert "rejected: {'no_reference': 2}; no_reference: give a short answer" in without
    assert "data.columns='{answer: NAME}'" in without


@pytest.mark.parametrize(
    ("choices", "answer", "letter"),
    [
        ('["4", "6", "7"]', "C", "C"),
        ("['4', '6', '7']", "7", "C"),
        ("4 | 6|7", "2", "C"),
        ("A) 4\nB) 6\nC) 7", "6", "B"),
        ("(A) 4 (B) 6 (C) 7", "B", "B"),
        ({"A": "4", "B": "6", "C": "7"}, "C", "C"),
    ],
)
@pytest.mark.parametrize("column", ["choices", "options"])
def test_options_in_one_cell(column: str, choices: object, answer: str, letter: str) -> None:
    row = mapped({"question": "Which?", column: choices, "answer": answer}, None)
    problem = problem_of(DataConfig(name="t"), row, "1")
    assert (problem.kind, problem.choices, problem.reference) == ("choice", ("4", "6", "7"), letter)


@pytest.mark.parametrize(
    ("choices", "answer", "wrong"),
    [
        ("3;9", "A", "a cell holds a JSON list, options between | or lines"),
        ("3||9", "A", "are no list"),
        ("1|2|3", "1", "may be option A or B; give its letter"),
        ("x|y", "z", "nor the text of one"),
    ],
)
def test_uncertain_options_are_refused(choices: str, answer: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong.replace("|", r"\|")):
        problem_of(
            DataConfig(name="t"), {"question": "?", "choices": choices, "answer": answer}, "1"
        )


@pytest.mark.parametrize(
    ("question", "answer", "choices"),
    [
        ("Which is odd? A) 4 B) 9 C) 6", "B", ("4", "9", "6")),
        ("Which is odd? (A) 4 (B) 9", "(B)", ("4", "9")),
        ("Which is odd?\nA. 4\nB. 9\nC. 6", "B", ("4", "9", "6")),
        ("Which is odd?\n(A) 4\n(B) 9", "B", ("4", "9")),
        ("Which is odd? A) 4 B) 9 C) 6", "9", ()),
        ("Which is odd? A) 4 C) 9", "A", ()),
        ("Vitamin A. B. and C. are meant?", "B", ()),
        ("Which is odd?\nA) 4\nB) 9\nSay why.", "B", ()),
        ("Which is odd? A) 4 B) 9", "C", ()),
    ],
)
def test_options_in_the_question(question: str, answer: str, choices: tuple[str, ...]) -> None:
    """They are the options where that is certain; a prompt then lists them once."""
    problem = problem_of(DataConfig(name="t"), {"question": question, "answer": answer}, "1")
    assert problem.choices == choices
    if choices:
        assert (problem.kind, problem.reference) == ("choice", "B")
        assert problem.question == "Which is odd?"
        assert problem.category == "general-mc"
    else:
        assert problem.question == question


def test_an_empty_question_is_dropped_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    file.write_text('question,answer,solution\n"What is\n2 + 2?",4,4\n  ,5,5\n"1 + 2?",3,3\n')
    found = done("eval", "model=tiny", "validate_only=true", f"benchmarks=[{file}]")
    assert "mine: 2 problems (2 number), 1 dropped" in found
    assert ", row 2 (line 4)" in found
    out = tmp_path / "pairs"
    done("distill", "teacher=reference", f"data={file}", "model=tiny", f"out={out}")
    (row,) = lines(out / "rejected.jsonl")
    assert (row["reason"], row["row"], row["line"]) == ("question_empty", 2, 4)
    file.write_text('question,answer,kind\n"What is\n2 + 2?",4,number\n"Now\n?",5,numeric\n')
    with pytest.raises(BadInput, match=r"mine.csv, row 2 \(line 4\): kind 'numeric'"):
        read(file)
    null = write(tmp_path / "null.jsonl", [{"question": None, "answer": "5"}])
    assert not read(null)


def test_points_that_may_be_of_thousands_are_told(tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    for more, told in ((["24"], True), (["24", "0.5"], False), (["24", "1.25"], False)):
        cells = ["5.640", "12.210 km", *more]
        rows = [f"What is {n}?;{cell}" for n, cell in enumerate(cells)]
        file.write_text("\n".join(["sep=;", "question;answer", *rows]))
        found = done("eval", "validate_only=true", f"benchmarks=[{file}]")
        assert ("2 references have exactly three digits after a point" in found) == told, more
        found = done("eval", "validate_only=true", f"benchmarks=[{file}]", "decimal=point")
        assert "three digits" not in found
    assert read(file)[-1].line == 6


def test_a_direct_answer_beside_a_worked_solution(tmp_path: Path) -> None:
    rows = [
        {"q": "2 + 3?", "a": "5", "short": "It is \\boxed{5}.", "cot": "2 and 3 make 5."},
        {"q": "2 + 4?", "a": "6", "short": "It is \\boxed{7}.", "cot": "2 and 4 make 6."},
        {"q": "2 + 5?", "a": "7", "short": "", "cot": "2 and 5 make 7."},
        {"q": "3 + 5?", "a": "8", "short": "<think>so</think>\\boxed{8}", "cot": "3 and 5 make 8."},
        {"q": "4 + 5?", "a": "9", "short": "\\boxed{9}", "cot": "4 and 5 make 9.<|im_end|>"},
        {"q": "5 + 5?", "a": "10", "short": "\\boxed{10}", "cot": "5 <think> and 5 make 10."},
        {
            "q": "1 + 1?",
            "a": "2",
            "short": "\\boxed{2}",
            "cot": "<think>\n1 and 1 make 2.\n</think>",
        },
        {"q": "1 + 2?", "a": "3", "short": "\\boxed{3}", "cot": "<think>1 and 2 make 3."},
        {
            "q": "1 + 3?",
            "a": "4",
            "short": "\\boxed{4}",
            "cot": "1 and 3 make 4.</think> \\boxed{4}",
        },
    ]
    file, out = write(tmp_path / "mine.jsonl", rows), tmp_path / "pairs"
    columns = "data.columns={question: q, answer: a, meta.solution: cot, meta.ift: short}"
    done("distill", "teacher=reference", f"data={file}", columns, "model=tiny", f"out={out}")
    made = pq.read_table(out / "pairs.parquet").to_pylist()
    assert [row["ift"] for row in made[1:]] == ["\\boxed{2}", "\\boxed{3}", "\\boxed{4}"]
    assert made[0]["ift"] == "It is \\boxed{5}."
    for n, row in enumerate(made[1:], 1):
        sum_ = f"1 and {n} make {n + 1}."
        assert row["reasoning"] == f"<think>\n{sum_}\n</think>\n\n\\boxed{{{n + 1}}}"
    assert {row["row"]: row["reason"] for row in lines(out / "rejected.jsonl")} == {
        2: "graded_wrong",
        3: "no_ift_answer",
        4: "trace_in_direct_answer",
        5: "control_token",
        6: "stray_tags",
    }
    again = command("distill", "teacher=reference", f"data={out}", "model=tiny")
    assert f"data={out} holds pairs already; train takes pairs={out}" in again.stderr


def test_cells_without_a_value_are_dropped(tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    cells = ("5", "NaN", "n/a", "#REF!", "#DIV/0!", "null", "-", "?", "TBD", "", "None", "NA")
    rows = [f"What is 2 + {n}?,{cell}" for n, cell in enumerate(cells)] + ["What is 2 + 1?,3"]
    file.write_text("\n".join(["question,answer", *rows]))
    found = done("eval", "validate_only=true", f"benchmarks=[{file}]")
    assert "mine: 4 problems (2 number, 2 string), 9 dropped" in found
    assert found.count("reference_empty") == 1  # one line with all rows
    assert [problem.reference for problem in read(file)] == ["5", "None", "NA", "3"]


def test_contradicting_references_of_a_question_drop_all_its_rows(tmp_path: Path) -> None:
    """In every verb, with the reason; two forms of one answer contradict nothing."""
    answers = ["9", "9.0", "10", "3", "\\sqrt{2} + 1", "1 + \\sqrt{2}"]
    asked = ["8 + 1?", "8 + 1?", "8  + 1?", "1 + 2?", "After x?", "After x?"]
    rows = [
        {"question": q, "answer": a, "solution": a} for q, a in zip(asked, answers, strict=True)
    ]
    rows += [
        {"question": "Odd?", "choices": choices, "answer": answer, "solution": "So."}
        for choices, answer in ((["2", "3"], "B"), (["3", "2"], "A"), (["5", "6"], "A"))
    ]
    file, out = write(tmp_path / "mine.jsonl", rows), tmp_path / "pairs"
    found = done("eval", "model=tiny", "validate_only=true", f"benchmarks=[{file}]")
    assert "mine: 6 problems (3 choice, 2 expression, 1 number), 3 dropped" in found
    assert "repeated_with_another_answer: mine-test-" in found
    same = write(tmp_path / "same.jsonl", rows[:2])
    assert "same: 2 problems" in done(
        "eval", "model=tiny", "validate_only=true", f"benchmarks=[{same}]"
    )
    words = ("distill", "teacher=reference", f"data={file}", "model=tiny", f"out={out}")
    done(*words, "select.exact=false")
    contradicted = [("repeated_with_another_answer", row) for row in (1, 2, 3)]
    assert rejected(out) == contradicted
    assert json.loads((out / "manifest.json").read_text())["dropped"] == {
        "repeated_with_another_answer": 3
    }
    loaded = load(DataConfig(name="local", path=str(file)), "train", limit=6)
    assert (len(loaded.problems), len(loaded.dropped["repeated_with_another_answer"])) == (6, 3)


def rejected(out: Path) -> list[tuple[str, int]]:
    return [(row["reason"], row["row"]) for row in lines(out / "rejected.jsonl")]


def test_a_benchmark_without_problems_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "none.jsonl", [])
    check = ("eval", "model=tiny", "validate_only=true", f"benchmarks=[{file}]")
    assert "none.jsonl holds no rows" in refused(*check)
    write(file, [{"question": "a?", "choices": ["x", "y"], "answer": "C"}])
    assert "holds no test problem (dropped: 1 reference_not_an_option)" in refused(*check)


def test_rejected_problems_show_why(tmp_path: Path) -> None:
    """The answers, their outcome and finish reason, and the reference; also where no pair results,
    and the next configuration may take the folder."""
    rows = [{"question": f"What is {n} + 4?", "answer": str(n + 4)} for n in range(3)]
    file, out = write(tmp_path / "mine.jsonl", rows), tmp_path / "pairs"
    with Teacher(wrong=1.0) as teacher:
        distilling = words(teacher, file, out)
        failed = command(*distilling)
        assert failed.returncode == 2
        assert "data=mine gave no pair; rejected: {'wrong_ift': 3}" in failed.stderr
        assert str(out / "rejected.jsonl") in failed.stderr
        first = lines(out / "rejected.jsonl")[0]
        assert (first["reason"], first["reference"]) == ("wrong_ift", "4")
        (ift,), (reasoning,) = first["answers"]["ift"], first["answers"]["reasoning"]
        assert ift == {"outcome": "wrong", "finish_reason": "stop", "text": "\\boxed{5}"}
        assert reasoning["outcome"] == "right"
        assert not (out / "pairs.parquet").exists()
        done(*distilling, "verify=reasoning")
    assert json.loads((out / "manifest.json").read_text())["n"] == 3
    assert not lines(out / "rejected.jsonl")


def test_irregular_conversations_are_counted_and_do_not_end_the_import(tmp_path: Path) -> None:
    def turns(number: int, answer: str) -> dict:
        question = {"from": "human", "value": f"What is {number} + 4?"}
        return {"conversations": [question, {"from": "gpt", "value": answer}]}

    rows = [turns(n, f"<think>{n} + 4 = {n + 4}</think>\\boxed{{{n + 4}}}") for n in range(3)]
    rows += [{"conversations": []}, turns(7, "<think>It is"), turns(8, "<think></think>12")]
    rows += [{"conversations": turns(9, "")["conversations"][:1]}]
    out = tmp_path / "pairs"
    words = ("distill", "teacher=published", f"data={write(tmp_path / 'a.jsonl', rows)}")
    shown = done(*words, f"out={out}")
    assert "3 pairs" in shown
    dropped = "{'question_empty': 1, 'no_usable_ift_reasoning': 1, 'no_ift_answer': 2}"
    assert f"dropped {dropped}" in shown
    assert len(lines(out / "rejected.jsonl")) == 4
    none = command(*words[:2], f"data={write(tmp_path / 'b.jsonl', rows[4:])}", f"out={out}2")
    assert (none.returncode, "gave no pair" in none.stderr) == (2, True)
    assert "no_ift_answer: both answers of a row are taken from columns" in none.stderr


def test_problems_without_references_are_told_before_the_answers(tmp_path: Path) -> None:
    def turns(answer: str) -> dict:
        question = {"from": "human", "value": f"What is {len(answer)} + 4?"}
        return {"conversations": [question, {"from": "gpt", "value": answer}]}

    rows = [turns("One line.\nAnother."), turns("5")]
    with Teacher() as teacher:
        shown = done(*words(teacher, write(tmp_path / "a.jsonl", rows), tmp_path / "pairs"))
    told = "1 of 2 problems have no reference: their answers are not verified, and no evaluation"
    assert 0 <= shown.index(told) < shown.index("next: ")
    assert json.loads((tmp_path / "pairs" / "manifest.json").read_text())["n"] == 2


TASK = {
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": {"test": "docs.jsonl"}},
    "test_split": "test",
    "doc_to_text": "{{q}}",
    "doc_to_target": "{{a}}",
    "filter_list": [
        {"name": "strict", "filter": [{"function": "regex", "regex_pattern": r"#### (-?\d+)"}]},
        {"name": "last", "filter": [{"function": "take_first"}]},
    ],
}


def test_a_filter_of_a_task_reads_the_answer_of_a_whole_solution(tmp_path: Path) -> None:
    docs = tmp_path / "docs.jsonl"
    file = tmp_path / "task.yaml"
    file.write_text(yaml.safe_dump(TASK))
    write(docs, [{"q": "3 - 4?", "a": "3 - 4 = -1\n#### -1"}, {"q": "3 - 1?", "a": "2"}])
    first, second = read_task(file).rows("test")
    assert (first["answer"], first["solution"]) == ("-1", "3 - 4 = -1\n#### -1")
    assert (second["answer"], "solution" in second) == ("2", False)
    (problem, _) = read(file)
    assert problem.kind == "number"
    write(docs, [{"q": "3 - 4?", "a": "3 - 4 = -1\nso -1"}])
    with pytest.raises(BadInput, match=r"row 1 of its data: .* in which no filter finds an answer"):
        read(file)


def sums(folder: Path, n: int = 20) -> Path:
    rows = [
        {"question": f"What is {k} + 1?", "answer": str(k + 1), "solution": f"{k + 1}."}
        for k in range(n)
    ]
    return write(folder / "sums.jsonl", rows)


def test_examples_of_pairs_are_training_problems(tmp_path: Path) -> None:
    file, pairs, scores = sums(tmp_path), tmp_path / "pairs", tmp_path / "scores"
    done(
        *("distill", "teacher=reference", f"data={file}", "data.test_size=0.25"),
        *("model=tiny", f"out={pairs}"),
    )
    words = ("eval", "model=tiny", f"benchmarks=['{pairs}']", "max_new_tokens=2")
    done(*words, "num_fewshot=3", f"out={scores}")
    manifest = json.loads((scores / "manifest.json").read_text())
    assert json.loads((scores / "scores.json").read_text())["all"]["n"] == 5
    assert (manifest["num_fewshot"], manifest["dropped"]) == ({"sums": 3}, {"sums": {}})
    assert manifest["inputs"]["examples:sums"] == hash_path(pairs / "pairs.parquet")
    assert {pair.source for pair in stream_pairs(pairs / "pairs.parquet")} == {"sums"}
    told = refused(*words[:3], "test_size=0.5", "validate_only=true")
    assert told.endswith(
        f"test_size=0.5 is for a benchmark file; benchmarks={pairs} state their own"
    )


@pytest.mark.slow
def test_training_problems_in_a_benchmark_file_are_told(tmp_path: Path) -> None:
    """Not where the test split is that of the pairs, or a part of it."""
    file, pairs, student = sums(tmp_path), tmp_path / "pairs", tmp_path / "student"
    held_out = "data.test_size=0.25"
    done("distill", "teacher=reference", f"data={file}", held_out, "model=tiny", f"out={pairs}")
    words = (f"pairs={pairs}", "batch_size=4", "lr=1e-3", "max_steps=1")
    done("train", "+ratio=1", "model=tiny", *words, f"out={student}")
    model = student / "model"

    def told(*words: str) -> str:
        shown = done("eval", f"model={model}", "validate_only=true", *words)
        return "".join(line for line in shown.splitlines() if line.startswith("warning: "))

    for size in ("test_size=0.25", "test_size=0.2"):
        assert not told(f"benchmarks=[{file}]", size)
    assert not told(f"benchmarks=[{pairs}]")
    assert told(f"benchmarks=[{file}]", "test_size=0.3") == (
        f"warning: {file} with test_size=0.3 has training problems of {model}, whose training held "
        f"out test_size=0.25; without them: benchmarks=[{pairs}]"
    )
    assert "as a whole has training problems" in told(f"benchmarks=[{file}]")


def test_the_next_evaluation_of_rl_is_of_its_test_split(tmp_path: Path) -> None:
    columns = {"question": "q", "answer": "gold.0"}
    mine = {"name": "local", "path": str(sums(tmp_path)), "columns": columns}
    words = preparation.test_split(DataConfig(**mine, test_size=0.25, category="math-oe"))
    names = "columns={question: q, answer: 'gold.0'}"
    assert words == [
        f"benchmarks=[{tmp_path}/sums.jsonl]",
        *("test_size=0.25", names, "category=math-oe"),
    ]
    assert preparation.test_split(DataConfig(**mine)) == ["benchmarks=BENCHMARK"]
    assert preparation.test_split(cli.named("data", "demo", DataConfig)) == ["benchmarks=demo"]


def test_categories_of_ones_own(tmp_path: Path) -> None:
    """Any name, but for another spelling of a known one; stages by domain say what they leave."""
    file, other = sums(tmp_path), write(tmp_path / "more.jsonl", [{**ROW, "category": "Math-OE"}])
    check = ("eval", "model=tiny", "validate_only=true")
    assert "did you mean 'math-oe'?" in refused(*check, f"benchmarks=[{file}]", "category=math_oe")
    told = refused(*check, f"benchmarks=[{other}]")
    assert told.endswith("more.jsonl, row 1: category 'Math-OE': did you mean 'math-oe'?")
    names = ("general-oe", "math-algebra", "arithmetic")
    write(other, [{**ROW, "question": f"2 + {name}?", "category": name} for name in names])
    pairs, student = tmp_path / "pairs", tmp_path / "student"
    done("distill", "teacher=reference", f"data={other}", "model=tiny", f"out={pairs}")
    scenario = ("scenario=general_ift+math_reasoning", "batch_size=1", "lr=1e-3")
    shown = done("train", "model=tiny", f"pairs={pairs}", *scenario, f"out={student}")
    assert "1 pairs are in no stage" in shown and "(arithmetic) begin with none of" in shown


ROW = {"question": "2 + 2?", "answer": "4", "solution": "4."}


@pytest.mark.slow
@pytest.mark.long
def test_students_of_ones_own_model_are_compared_with_it(
    pairs: Path, student: Path, tmp_path: Path
) -> None:
    own = reshaped(student, tmp_path / "own", hidden_size=32)
    small = ("batch_size=8", "max_steps=1", "lr=1e-3", "threads=1")
    done("train", "ratio=0", f"model={own}", f"pairs={pairs}", *small, f"out={tmp_path / 'run'}")
    asked = ("benchmarks=smoke", "limit=2", "max_new_tokens=4", "threads=1")
    models = ("tiny", str(own), str(tmp_path / "run" / "model"))
    folders = [tmp_path / f"eval-{number}" for number in range(3)]
    for model, folder in zip(models, folders):
        done("eval", f"model={model}", *asked, f"out={folder}")
    done("eval.report", *map(str, folders), "--out", str(tmp_path / "report.html"))
    (table,) = tmp_path.rglob("differences_baseline.csv")
    rows = [row for row in csv.DictReader(table.open()) if row["arm"].startswith("own")]
    assert {row["against"] for row in rows} == {"own (untrained)"}


def test_a_row_without_a_column_is_rejected_and_the_others_are_read(tmp_path: Path) -> None:
    """A column that no row has is an error; so is one that the first hundred rows lack."""
    rows = [{"q": f"What is {n} + 4?", "gold": str(n + 4), "direct": str(n + 4)} for n in range(5)]
    del rows[2]["direct"], rows[3]["q"]
    for row in rows:
        row["long"] = f"<think>{row['gold']}</think>{row['gold']}"
    file = write(tmp_path / "a.jsonl", rows)
    columns = "{question: q, answer: gold, meta.ift: direct, meta.reasoning: long}"
    words = ("distill", "teacher=published", f"data={file}")
    shown = done(*words, f"data.columns={columns}", f"out={tmp_path / 'pairs'}")
    assert "3 pairs" in shown
    assert "dropped {'question_empty': 1, 'no_ift_answer': 1}" in shown
    none = command(*words, f"data.columns={columns.replace('gold', 'golden')}")
    assert none.returncode == 2
    assert "row 1: there is no column 'golden'; there are q, gold, direct, long" in none.stderr
    card = (tmp_path / "pairs" / "README.md").read_text(encoding="utf-8")
    assert "Both answers are those of the data set." in card
    assert "temperature" not in card, "nothing was generated"
    assert "the prompts ask for" not in shown, "neither mode has boxes"


def test_what_a_conversation_holds_besides_is_told(tmp_path: Path) -> None:
    """And a column beside it may be the direct answer."""
    said = [("system", "Be kind."), ("human", "What is 3 + 4?")]
    said += [("gpt", "<think>It is 7.</think>\\boxed{7}"), ("human", "Thanks"), ("gpt", "Welcome")]
    turns = [{"from": role, "value": text} for role, text in said]
    row = {"conversations": turns, "direct": "It is 7."}
    file = write(tmp_path / "a.jsonl", [row])
    words = ("distill", "teacher=published", f"data={file}", "verify=none")
    told = command(*words, f"out={tmp_path / 'a'}")
    assert "not read: 1 system turns, 2 later turns, 1 values of 'direct'" in told.stderr
    assert "warning: the prompts ask" not in told.stdout, "the text after the trace has the box too"
    taken = command(*words, "data.columns={meta.ift: direct}", f"out={tmp_path / 'b'}")
    assert "not read: 1 system turns, 2 later turns;" in taken.stderr
    assert "which 1 of 1 direct and 0 reasoning answers lack" in taken.stdout
    (pair,) = stream_pairs(tmp_path / "b" / "pairs.parquet")
    assert pair.ift == "It is 7."
