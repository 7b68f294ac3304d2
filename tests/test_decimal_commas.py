"""Numbers with decimal commas, in references and answers."""

import json
from pathlib import Path

import pytest
from conftest import done
from hypothesis import given
from hypothesis import strategies as st

from distill import reference
from ratiocine.completion_parts import split
from ratiocine.data import DataConfig, TextReferences, load, write_test_split
from ratiocine.grading import (
    grade,
    has_decimal_comma,
    has_decimal_point,
    read_number,
    with_decimal_points,
)
from ratiocine.records import Problem


@pytest.mark.parametrize(
    ("text", "points"),
    [
        ("52,0 m", "52.0 m"),
        ("12,50 €", "12.50 €"),
        ("1.234,5", "1234.5"),
        ("1.234.567,89 EUR", "1234567.89 EUR"),
        ("1,234", "1.234"),
        ("1.234", "1234"),
        ("12,- €", "12 €"),
        ("0.234", "0.234"),
        ("12.5", "12.5"),
        ("1,234.5", "1,234.5"),
        ("10,20,30", "10,20,30"),
        ("12.05.2024", "12.05.2024"),
        ("-3,7 °C, dann 4,1 °C.", "-3.7 °C, dann 4.1 °C."),
        ("12{,}5", "12.5"),
        ("1.234{,}5", "1234.5"),
        ("1'234,5", "1234.5"),
        ("also ...12,5", "also ...12.5"),
        ("12,-- EUR", "12 EUR"),
        ("5,-\\frac{1}{2}", "5,-\\frac{1}{2}"),
    ],
)
def test_commas_become_points(text: str, points: str) -> None:
    assert with_decimal_points(text) == points


@given(st.integers(0, 10**9), st.integers(1, 5), st.booleans())
def test_a_number_keeps_its_value(digits: int, decimals: int, thousands: bool) -> None:
    """Written with a comma, with or without thousands points."""
    value = digits / 10**decimals
    written = f"{value:,.{decimals}f}" if thousands else f"{value:.{decimals}f}"
    swapped = written.translate(str.maketrans(",.", ".,"))
    assert read_number(with_decimal_points(swapped)) == read_number(written)


@pytest.mark.parametrize(
    ("text", "comma", "point"),
    [
        ("12,5 kg", True, False),
        ("€ 12,5", True, False),
        ("3,05", True, False),
        ("1.234,5", True, False),
        ("12,- €", True, False),
        ("12,5", False, False),  # a list of two?
        ("1,234 m", False, False),  # a thousands separator?
        ("1.234 m", False, False),
        ("1,234.5 m", False, True),
        ("12.5", False, True),
        ("The fee, 12,5 kg or 3,5 kg", False, False),
        ("$2,3$", False, False),  # a pair in LaTeX
        ("$x=2,3$", False, False),
        ("5,-\\frac{1}{2}", False, False),
        ("12,50 $", True, False),
    ],
)
def test_what_tells_the_separator(text: str, comma: bool, point: bool) -> None:
    assert (has_decimal_comma(text), has_decimal_point(text)) == (comma, point)


def problems(tmp_path: Path, *answers: object, **data: object) -> list[Problem]:
    file = tmp_path / "mine.jsonl"
    rows = ({"question": f"Wie viel? ({at})", "answer": one} for at, one in enumerate(answers))
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return load(DataConfig(name="mine", path=str(file), **data), "test").problems


def verdict(problem: Problem, text: str) -> str:
    return grade(problem, split(text)).verdict


def test_a_file_tells_how_its_numbers_are_written(tmp_path: Path) -> None:
    """The row with `12,5 m` tells that `1.234` in another row is a whole number."""
    with_comma, thousand, whole = problems(tmp_path, "12,5 m", "1.234", "7")
    assert {one.kind for one in (with_comma, thousand, whole)} == {"number"}
    right = [
        (with_comma, "\\boxed{12,5}"),
        (with_comma, "12,50 m"),
        (with_comma, "Die Antwort ist 12,5 m."),
        (with_comma, "The answer is 12.5 m."),
        (thousand, "\\boxed{1.234}"),
        (thousand, "1234"),
        (thousand, "Das sind 1.234,00 Euro"),
        (whole, "7,0"),
    ]
    assert [verdict(one, text) for one, text in right] == ["right"] * len(right)
    wrong = [(with_comma, "125"), (thousand, "1,234"), (whole, "7,1")]
    assert [verdict(one, text) for one, text in wrong] == ["wrong"] * len(wrong)


def test_without_commas_nothing_changes(tmp_path: Path) -> None:
    thousand, small = problems(tmp_path, "1,234", "0.5")
    assert (verdict(thousand, "1234"), verdict(thousand, "1.234")) == ("right", "wrong")
    assert verdict(small, "0,5") == "wrong"


def test_where_rows_contradict_each_other_each_tells_for_itself(tmp_path: Path) -> None:
    comma, point, plain = problems(tmp_path, "12,5 m", "12.5 m", "1,234")
    assert [one.decimal for one in (comma, point, plain)] == ["comma", "point", "point"]


def test_a_json_number_has_a_point(tmp_path: Path) -> None:
    """Whatever separates decimals in the texts beside it."""
    thousandths, _ = problems(tmp_path, 12.125, 2.5, decimal="comma")
    assert (verdict(thousandths, "12,125"), verdict(thousandths, "12125")) == ("right", "wrong")
    eighth, comma = problems(tmp_path, 1.125, "12,5 m")
    assert (eighth.decimal, comma.decimal) == ("point", "comma")
    assert verdict(eighth, "1.125") == "right"


def test_all_accepted_answers_tell(tmp_path: Path) -> None:
    _, thousand = problems(tmp_path, {"text": ["12,5 m"]}, {"text": ["1,234"]})
    assert (thousand.decimal, verdict(thousand, "1.234,0")) == ("comma", "wrong")
    assert verdict(thousand, "1,2340") == "right"


def test_the_separator_can_be_stated(tmp_path: Path) -> None:
    (told,) = problems(tmp_path, "12,5")
    assert told.kind == "string"
    (stated,) = problems(tmp_path, "12,5", decimal="comma")
    assert (stated.kind, verdict(stated, "12,50")) == ("number", "right")
    (point,) = problems(tmp_path, "12,5 m", decimal="point")
    assert point.kind == "string"


def test_a_stored_test_split_keeps_it(tmp_path: Path) -> None:
    problems(tmp_path, "12,5 m", "1.234")
    data = DataConfig(name="local", path=str(tmp_path / "mine.jsonl"))
    write_test_split(tmp_path / "test.jsonl", data, 0)
    again = load(DataConfig(name="mine", path=str(tmp_path / "test.jsonl")), "test").problems
    assert [one.decimal for one in again] == ["comma", "comma"]
    assert verdict(again[1], "1234") == "right"


@pytest.mark.parametrize(
    ("answer", "solution", "fault"),
    [
        ("1 234,5 m", "1 234,5 m", None),
        ("1 234,5 m", "Zusammen sind das 1 234,5 Meter.", None),
        ("3 1/2", "3 1/2", None),
        ("½", "½", None),
        ("12,5 m", "10 + 2,5 = 12,5", None),
        ("12,5 m", "10 + 2 = 12", "solution_misses_reference"),
    ],
)
def test_a_worked_solution_has_its_reference(
    answer: str, solution: str, fault: str | None, tmp_path: Path
) -> None:
    (problem,) = problems(tmp_path, answer)
    assert problem.kind == "number"
    assert reference.fault(problem, solution) == fault


def test_numbers_that_stay_texts_are_named(tmp_path: Path) -> None:
    mixed = problems(tmp_path, "7", "8", "12,5", "no idea")
    assert TextReferences(mixed).warnings == [
        "2 references are compared as text, 2 as numbers (row 3: '12,5'; row 4: 'no idea'); "
        "data.decimal=comma (eval: decimal=comma) reads 1 as numbers"
    ]
    assert TextReferences(problems(tmp_path, "Paris", "Rome", "7")).warnings == []


def test_sentences_as_references_are_named(tmp_path: Path) -> None:
    said = "The train leaves the old station at nine."
    assert TextReferences(problems(tmp_path, "Paris", said)).warnings == [
        "1 reference is a sentence, right only as the same text: row 2; give short answers"
    ]


def test_a_spreadsheet_with_semicolons(tmp_path: Path) -> None:
    """As exported where the decimal separator is a comma."""
    file = tmp_path / "export.csv"
    file.write_text("question;answer\nWie lang?;52,0 m\nWie teuer?;1.234,5 €\n", encoding="utf-16")
    told = done("eval", "model=tiny", f"benchmarks=[{file}]", "validate_only=true")
    assert "export: 2 problems (2 number), 0 dropped" in told
