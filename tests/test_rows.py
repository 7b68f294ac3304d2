"""Files of rows in the formats that people have, and rows that cannot be read."""

import gzip
import json
from pathlib import Path

import pytest
from conftest import command, done

from ratiocine.completion_parts import split
from ratiocine.data import DataConfig, gradable, load, problem_of
from ratiocine.data.config import ending
from ratiocine.data.contradictions import accepts, contradicted, question_key
from ratiocine.data.row_files import read_rows
from ratiocine.errors import BadInput
from ratiocine.grading import INSTRUCTIONS, check, grade
from ratiocine.records import Problem
from ratiocine.rewards import RewardConfig, Rollout
from ratiocine.stores import read_completions

ROWS = [{"question": "What is 2 + 2?", "answer": "4"}, {"question": "And, 3 + 3?", "answer": "6"}]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)
ZIPPED = gzip.compress(LINES.encode(), mtime=0)
LONG = "A train that leaves the old station of the town in the hills slowly meets another one."
CSV = 'question,answer\nWhat is 2 + 2?,4\n"And, 3 + 3?",6\n'


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", LINES.encode()),
        ("a.JSONL", LINES.encode()),
        ("a.jsonl", b"\xef\xbb\xbf" + LINES.encode()),
        ("a.jsonl.gz", ZIPPED),
        ("a.json", json.dumps(ROWS).encode()),
        ("a.json", json.dumps(ROWS, indent=2).encode()),
        ("a.Json", LINES.encode()),
        ("a.json.gz", gzip.compress(json.dumps(ROWS).encode(), mtime=0)),
        ("a.csv", CSV.encode()),
        ("a.CSV", b"\xef\xbb\xbf" + CSV.replace("\n", "\r\n").encode()),
        ("a.csv.gz", gzip.compress(CSV.encode(), mtime=0)),
        ("a.csv", CSV.replace("And,", "And;").replace(",", ";").replace("And;", "And,").encode()),
        ("a.csv", CSV.encode("utf-16")),
        ("a.tsv", b"question\tanswer\nWhat is 2 + 2?\t4\nAnd, 3 + 3?\t6\n"),
    ],
)
def test_formats(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    assert list(read_rows(tmp_path / name)) == ROWS


@pytest.mark.parametrize(
    ("name", "content", "wrong"),
    [
        ("a.txt", b"x", "files of rows end in .jsonl, .json, .csv, .tsv, .parquet"),
        ("a.xlsx", b"x", "files of rows end in"),
        ("a", b"x", "files of rows end in"),
        ("a.parquet.gz", b"x", "files of rows end in"),
        ("a.json", b"[1]", "item 1 is no JSON object"),
        ("a.json", b"[{", "is not JSON"),
        ("a.jsonl", b'{"question": "a"}\n[]\n', "line 2 is no JSON object"),
        ("a.jsonl", b'{"question": "\\ud83d?"}\n', "line 1 holds half of a surrogate pair"),
        ("a.json", b'[{"question": "\\udc00?"}]', "item 1 holds half of a surrogate pair"),
        ("a.jsonl.gz", b"no gzip", "cannot be read"),
        ("a.jsonl.gz", ZIPPED[:-12], "cannot be read"),
        ("a.csv", b"question,answer\na,b,c\n", "another number of fields than the header"),
        ("a.csv", b"question,answer\na\n", "another number of fields than the header"),
        ("a.csv", b"question,answer\n\xff,b\n", "is not in UTF-8; convert it"),
    ],
)
def test_what_cannot_be_read_is_one_line(
    name: str, content: bytes, wrong: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput, match=wrong):
        list(read_rows(tmp_path / name))


def test_a_misspelt_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "problems.csv").write_text(CSV)
    words = ("eval", "model=tiny", "validate_only=true")
    refused = command(*words, f"benchmarks=[{tmp_path / 'problem.csv'}]")
    assert refused.returncode == 2
    assert refused.stderr.endswith(f"is not a file; did you mean {tmp_path / 'problems.csv'}?\n")
    (tmp_path / "empty.csv").write_text("question,answer\n")
    refused = command(*words, f"benchmarks=[{tmp_path / 'empty.csv'}]")
    assert refused.returncode == 2
    assert refused.stderr.endswith("empty.csv holds no rows\n")


def test_a_misspelt_column_is_told(tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    file.write_text("question,answer,catgory,author\n2+2?,4,sums,me\n")
    told = command("eval", "model=tiny", f"benchmarks=[{file}]", "validate_only=true")
    assert told.returncode == 0, told.stderr
    assert told.stderr.splitlines() == [
        f"warning: {file}: the column 'catgory' is not read; did you mean 'category'?"
    ]


def test_a_pair_of_surrogates_is_a_letter(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"question": "\\ud83d\\ude00?"}\n')
    assert list(read_rows(tmp_path / "a.jsonl")) == [{"question": "😀?"}]
    assert [ending(name) for name in ("x.JSON.GZ", "x.csv", "x.parquet", "x")] == [
        ".json",
        ".csv",
        ".parquet",
        None,
    ]


@pytest.mark.parametrize(
    ("row", "wrong"),
    [
        ({"meta": '{"level": 1}'}, "meta '{\"level\": 1}' is no mapping"),
        ({"meta": [1]}, "meta '[1]' is no mapping"),
        ({"context": {"a": 1}}, "is neither a text nor a list of texts"),
        ({"context": [1]}, "is neither a text nor a list of texts"),
        ({"answer": {"a": 1}}, "is neither a text nor a number"),
        ({"answer": ["5", None]}, "contains null"),
        ({"question": 5}, "question 5 is no text"),
        ({"choices": {"a": 1}}, "are no list of at most"),
        ({"kind": "numeric"}, "kind 'numeric' is not one of"),
    ],
)
def test_an_odd_row_is_named_before_anything_is_asked(
    row: dict, wrong: str, tmp_path: Path
) -> None:
    file = tmp_path / "mine.jsonl"
    good = {"question": "What is 2 + 3?", "answer": "5", "kind": "number"}
    file.write_text(json.dumps(good) + "\n" + json.dumps({**good, **row}) + "\n")
    refused = command("eval", "model=tiny", f"benchmarks=[{file}]", "validate_only=true")
    assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1), refused.stderr
    assert f"{file}, row 2: " in refused.stderr
    assert wrong in refused.stderr


def test_several_passages_are_one_context(tmp_path: Path) -> None:
    file = tmp_path / "mine.CSV"
    file.write_text(CSV)
    assert "mine: 2 problems (2 number), 0 dropped" in done(
        "eval", "model=tiny", f"benchmarks=[{file}]", "validate_only=true"
    )
    lines = tmp_path / "mine.jsonl"
    lines.write_text(json.dumps({**ROWS[0], "context": ["First.", "Second."]}) + "\n")
    out = tmp_path / "out"
    done("eval", "model=tiny", f"benchmarks=[{lines}]", "max_new_tokens=2", f"out={out}")
    (row,) = read_completions(out / "completions.jsonl")
    assert "First.\nSecond.\nWhat is 2 + 2?" in row.prompt


def test_arguments_of_instructions_as_benchmarks_give_them() -> None:
    """A zero is a value, a null none; a word that is no pattern is a word."""
    zero = {"letter": "q", "let_frequency": 0, "let_relation": "at least", "keywords": None}
    twice = {"frequency": 2, "relation": "at least"}
    sections = {"section_spliter": "(Part", "num_sections": 2}
    assert check(["keywords:letter_frequency"], [zero], "text") == ([True], [True])
    for name, given, yes, no in (
        ("keywords:existence", {"keywords": ["(sic"]}, "he said (sic) so", "he said sic"),
        ("keywords:forbidden_words", {"forbidden_words": ["c++"]}, "java", "I like C++ more"),
        (
            "keywords:frequency",
            {"keyword": "a*(", **twice},
            "a*( a*(",
            "a",
        ),
        (
            "detectable_content:postscript",
            {"postscript_marker": "*P.S.("},
            "text\n*P.S.( so",
            "text",
        ),
        (
            "detectable_format:multiple_sections",
            sections,
            "(Part 1 a\n(Part 2 b",
            "Part 1",
        ),
        ("length_constraints:number_words", {"num_words": 0, "relation": "at least"}, "a", ""),
        ("detectable_content:number_placeholders", {"num_placeholders": 0}, "none", ""),
        ("combination:repeat_prompt", {"prompt_to_repeat": "Say (a"}, "Say (a b", "say a"),
    ):
        assert check([name], [given], yes)[0] == [True], name
        assert check([name], [given], no)[0] == [False], name
    for name in INSTRUCTIONS:
        meta = {"instruction_id_list": [name], "kwargs": {"num_words": 1}}
        task = Problem("1", "Write.", None, "instructions", "general-oe", "mine", meta=meta)
        assert grade(task, split("Text.")).verdict == "ungradable"


@pytest.mark.parametrize(
    "sentence",
    [
        "今天天气很好。",
        "今日はいい天気です。",
        "วันนี้อากาศดี",
        "오늘 날씨가 좋다. ",
        "The day is fine. ",
        "День хорош. ",
    ],
)
def test_repetition_in_any_script(sentence: str) -> None:
    reward = RewardConfig(name="x", terms=[{"name": "repetition"}])
    problem = Problem("1", "?", "5", "number", "math-oe", "t")
    repeated = reward.components([Rollout(problem, sentence * 40, 99)])["repetition"][0]
    once = reward.components([Rollout(problem, sentence, 9)])["repetition"][0]
    assert repeated < -0.9 < -0.1 <= once


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ("24", "number"),
        ("24 cups", "number"),
        ("$12.50", "number"),
        ("5/8", "number"),
        ("0.625", "number"),
        ("3.75 kg", "number"),
        ("1,234", "number"),
        (7, "number"),
        (["3", "4"], "number"),
        ("\\frac{x}{2}", "expression"),
        ("2\\sqrt{3}", "expression"),
        ("x^2+1", "expression"),
        ("Paris", "string"),
        ("B", "string"),
        ("R^2 is high", "string"),
        ("12:30", "string"),
        ("2020-01-31", "string"),
        (["3", "three"], "string"),
        ("yes", "string"),
    ],
)
def test_the_kind_is_told_from_the_answer(answer: object, kind: str) -> None:
    found = problem_of(DataConfig(name="t"), {"question": "?", "answer": answer}, "1")
    assert found.kind == kind
    assert gradable(found)
    given = {"question": "?", "answer": answer, "kind": "string"}
    text = problem_of(DataConfig(name="t"), given, "1")
    assert (text.kind, gradable(text)) == ("string", True)


@pytest.mark.parametrize(
    "row",
    [
        {"instruction": "Add.", "input": "2 + 3", "output": "5"},
        {
            "conversations": [
                {"from": "human", "value": "Add.\n2 + 3"},
                {"from": "gpt", "value": "5"},
            ]
        },
        {
            "messages": [
                {"role": "system", "content": "Be kind."},
                {"role": "user", "content": "Add.\n2 + 3"},
                {"role": "assistant", "content": "5"},
            ]
        },
        {"question": "Add.\n2 + 3", "answer": "5", "instruction": "x", "output": "y"},
    ],
)
def test_rows_of_other_shapes(row: dict, tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_text(json.dumps({**row, "solution": "2 and 3 make 5."}) + "\n")
    data = DataConfig(name="local", path=str(file))
    (problem,) = load(data, "train").problems
    assert (problem.question, problem.reference, problem.kind) == ("Add.\n2 + 3", "5", "number")
    assert problem.meta["solution"] == "2 and 3 make 5."
    done("distill", "teacher=reference", f"data={file}", "model=tiny", f"out={tmp_path / 'p'}")


def test_a_test_split_by_content(tmp_path: Path) -> None:
    """The sides share no question, not even a nearly equal one; they depend neither on the order
    of rows nor on a seed, and a smaller split is within a larger one."""
    asked = [f"{LONG} Box {n} holds {n + 2} pens: how many do {n} hold?" for n in range(40)]
    near = [text.replace("slowly", "slowlyy").upper() for text in asked[:10]]
    rows = [{"question": text, "answer": "4"} for text in (*asked, *near, asked[0])]

    def sides(name: str, rows: list[dict], size: float, seed: int = 0) -> list[set[str]]:
        file = tmp_path / f"{name}.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        data = DataConfig(name="local", path=str(file), test_size=size)
        return [
            {problem.question for problem in load(data, split, seed=seed, limit=None).problems}
            for split in ("train", "test")
        ]

    train, test = sides("a", rows, 0.2)
    assert train | test == {*asked, *near} and not train & test
    assert all((one in test) == (other in test) for one, other in zip(asked[:10], near))
    assert 10 <= sum(row["question"] in test for row in rows) <= 12  # of 51, in groups
    assert sides("b", rows[::-1], 0.2, seed=7) == [train, test]
    assert sides("a", rows, 0.1)[1] < test < sides("a", rows, 0.5)[1]
    few = load(DataConfig(name="l", path=str(tmp_path / "a.jsonl"), test_size=0.2), "test", limit=3)
    assert {problem.question for problem in few.problems} < test
    with pytest.raises(BadInput, match="leaves a side without rows"):
        sides("c", [rows[0], rows[0]], 0.5)


@pytest.mark.long
def test_pairs_and_their_other_side_as_a_benchmark(tmp_path: Path) -> None:
    """A file, and a folder as the hub has it, in both verbs."""
    rows = [
        {"q": f"What is {n} + 1?", "a": str(n + 1), "how": f"It is {n + 1}."} for n in range(20)
    ]
    (tmp_path / "set").mkdir()
    text = "".join(json.dumps(row) + "\n" for row in rows)
    for number, file in enumerate((tmp_path / "mine.jsonl", tmp_path / "set" / "train.jsonl")):
        file.write_text(text)
        source = file if number == 0 else file.parent
        columns = "data.columns={question: q, answer: a, solution: how}"
        out = tmp_path / f"pairs-{number}"
        words = ("teacher=reference", f"data={source}", columns, "model=tiny")
        done("distill", *words, "data.test_size=0.25", f"out={out}")
        told = json.loads((out / "manifest.json").read_text())
        assert told["disjoint"] == {"train": 15, "test": 5, "shared": 0}
        found = done("eval", "model=tiny", f"benchmarks=[{out}]", "validate_only=true")
        assert ": 5 problems (5 number), 0 dropped" in found
    done("distill", *words, f"out={tmp_path / 'whole'}")
    for more, message in (
        (["benchmarks=[demo]", "test_size=1.5"], "test_size=1.5: should be less than 1"),
        ([f"benchmarks=[{tmp_path / 'whole'}]"], "has no test split; make these pairs with"),
        (["benchmarks=[no/such]"], "no/such from the Hugging Face hub, which cannot be reached"),
    ):
        refused = command("eval", "model=tiny", "validate_only=true", *more)
        assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1), refused.stderr
        assert message in refused.stderr
    refused = command("distill", "data=demo", "+data.test_size=0.2")
    assert "is for one file or data set, which demo is not" in refused.stderr


@pytest.mark.parametrize(
    ("given", "answer", "right"),
    [
        ({}, "3.15", False),
        ({"tolerance": 0.01}, "3.15", True),
        ({"tolerance": "0.01"}, "3.1714", True),
        ({"tolerance": 0.01}, "3.1715", False),
        ({"tolerance": ""}, "3.15", False),
        ({"tolerance": 0}, "3.14", True),
    ],
)
def test_a_number_within_its_tolerance_is_right(given: dict, answer: str, *, right: bool) -> None:
    row = {"question": "Pi?", "answer": "3.14", **given}
    problem = problem_of(DataConfig(name="t"), row, "1")
    assert (grade(problem, split(f"\\boxed{{{answer}}}")).verdict == "right") is right
    loose = problem_of(DataConfig(name="t", tolerance=0.5), {**row, "answer": "3.14"}, "1")
    assert loose.tolerance == (
        float(given["tolerance"]) if given.get("tolerance", "") != "" else 0.5
    )
    with pytest.raises(ValueError, match="tolerance 2 is not a relative error"):
        problem_of(DataConfig(name="t"), {**row, "tolerance": 2}, "1")


def test_a_reference_that_no_grader_accepts_contradicts_none() -> None:
    first, other, third = (
        Problem(str(number), "How many eggs are left?", text, "number", "math-oe", "t")
        for number, text in enumerate(("18", "the rest", "19"))
    )

    def found(*problems: Problem) -> frozenset[str]:
        return contradicted(lambda: iter(problems), lambda one: accepts(one, one.reference))

    assert not found(first, other)
    assert not found(first, first, other)
    assert found(first, third) == {question_key(first)}
