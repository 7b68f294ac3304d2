"""Answers as people write them in other scripts, languages and notations."""

import unicodedata

import pytest

from ratiocine.completion_parts import split
from ratiocine.data import DataConfig, problem_of
from ratiocine.grading import grade, worker
from ratiocine.records import Kind, Problem

CITIES = ("Lagos", "Hanoi", "Quito", "Oslo")


def verdict(
    kind: Kind, reference: str, answer: str, choices: tuple[str, ...] = (), boxed: bool = True
) -> str:
    problem = Problem("1", "?", reference, kind, "math-oe", "t", choices=choices)
    return grade(problem, split(f"\\boxed{{{answer}}}" if boxed else answer)).verdict


@pytest.mark.parametrize(
    "answer",
    [
        "25 кг",
        "25 рублей",
        "25個",
        "25人",
        "25 Stück",
        "25 niños",
        "25 kΩ",
        "25 µs",
        "25℉",
        "25 ㎏",
        "25 ㎡",
        "25 किलोमीटर",
        "25 كيلومتر",
        "25 ευρώ",
        "25 บาท",
        "25개",
        "25 \\text{ m/s²}",
        "25\\,\\mathrm{kg\\cdot m^{-3}}",
        "25\\,^\\circ\\mathrm{F}",
        "25\\ \\mu\\text{m}",
        "€25",
        "25 €",
        "₩25",
        "£ 25",
        "US$25",
        "A\\$25",
        "２５",
        "٢٥",
        "२५",
        "𝟐𝟓",
        "2\u200b5",
    ],
)
def test_units_currencies_and_digits_of_any_script(answer: str) -> None:
    assert verdict("number", "25", answer) == "right"
    assert verdict("number", "26", answer) == "wrong"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("25 kcal m⁻² yr⁻¹", "right"),
        ("25 kg·m²·s⁻²", "right"),
        ("25 kg m^2/s^2", "right"),
        ("25 m s⁻¹", "wrong"),  # a product of variables
        ("25 km x^2", "wrong"),
        ("25 kg m^2 + 1", "wrong"),
        ("25 sin m^2", "wrong"),
    ],
)
def test_products_of_units_after_an_expression(answer: str, expected: str) -> None:
    assert verdict("expression", "25", answer) == expected


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ("3万", "30000"),
        ("3 億円", "300000000"),
        ("1.5亿", "150000000"),
        ("3천", "3000"),
        ("3 тысячи", "3000"),
        ("3 млн", "3000000"),
        ("3 миллиарда рублей", "3000000000"),
        ("3 lakh rupees", "300000"),
        ("3 करोड़", "30000000"),
        ("3 Millionen", "3000000"),
        ("3 tausend Euro", "3000"),
        ("3 millones", "3000000"),
        ("3 milhões", "3000000"),
        ("3 milliards", "3000000000"),
        ("3 ملايين", "3000000"),
        ("3 triệu", "3000000"),
        ("3 ล้าน", "3000000"),
    ],
)
def test_a_scale_word_changes_the_value(answer: str, value: str) -> None:
    for kind in ("number", "expression"):
        assert verdict(kind, "3", answer) == "wrong"  # type: ignore[arg-type]
    assert verdict("number", value.replace("1.5", ""), answer) == "right"


@pytest.mark.parametrize(
    "answer", ["25多", "25以上", "25未満", "25個半", "25π", "25θ", "25К", "25√2"]
)
def test_what_is_more_or_less_than_the_number(answer: str) -> None:
    assert verdict("number", "25", answer) == "wrong"


@pytest.mark.parametrize(
    "text",
    [
        "Die Antwort ist 25.",
        "Antwort: 25 Äpfel",
        "La respuesta correcta es 25.",
        "La réponse finale est 25 euros.",
        "La risposta è 25.",
        "A resposta é 25.",
        "Het antwoord is 25.",
        "Ответ: 25",
        "Ответ — 25 км",
        "Cevap: 25",
        "Jawabannya adalah 25.",
        "Đáp án là 25.",
        "所以答案是25。",
        "因此，正确答案为 25 元。",
        "答えは25です。",
        "정답은 25입니다.",
        "คำตอบคือ 25",
        "उत्तर: 25",
        "الإجابة هي 25",
        "一共有25个苹果。",
        "合計で25個になる。",
    ],
)
def test_statements_in_other_languages(text: str) -> None:
    assert verdict("number", "25", text, boxed=False) == "right"
    assert verdict("number", "24", text, boxed=False) == "wrong"


@pytest.mark.parametrize(
    "answer",
    [
        "（C）",
        "Ｃ",
        "【C】",
        "C。",
        "C、Quito",
        "C．Quito",
        "选项C",
        "選択肢C",
        "보기 C",
        "Opción C",
        "Вариант C",
        "Cです",
        "\\left(C\\right)",
        "{\\bf C}",
        "Ｑｕｉｔｏ",
        "ج",
    ],
)
def test_choices_in_other_scripts(answer: str) -> None:
    assert verdict("choice", "C", answer, CITIES) == "right"
    assert verdict("choice", "B", answer, CITIES) == "wrong"


@pytest.mark.parametrize(
    "text",
    [
        "综上，答案是C。",
        "故选C。",
        "答案：C",
        "したがって、正解はCです。",
        "정답은 C입니다.",
        "Die richtige Antwort ist C.",
        "La respuesta correcta es C) Quito",
        "Réponse : C",
        "Ответ: C",
        "Đáp án: C",
        "الإجابة: C",
        "Ｃ",
    ],
)
def test_stated_choices_in_other_languages(text: str) -> None:
    assert verdict("choice", "C", text, CITIES, boxed=False) == "right"
    assert verdict("choice", "D", text, CITIES, boxed=False) == "wrong"


@pytest.mark.parametrize("text", ["A或C", "A、C", "不是C", "C 和 D", "选A或C。"])
def test_two_letters_are_no_choice(text: str) -> None:
    for boxed in (True, False):
        assert verdict("choice", "C", text, CITIES, boxed=boxed) == "wrong"


def test_options_that_begin_with_their_letter() -> None:
    options = ("A. Lagos", "B) Hanoi", "(C) Quito", "D: Oslo")
    for letter, text in zip("ABCD", ("Lagos", "hanoi", "C. Quito", "D"), strict=True):
        assert verdict("choice", letter, text, options) == "right"
    assert verdict("choice", "A", "Hanoi", options) == "wrong"
    numbers = ("A. 12", "B. 21", "C. 7")
    assert verdict("choice", "B", "21.0", numbers) == "right"


@pytest.mark.parametrize(
    ("reference", "answer", "other"),
    [
        ("\\frac{1}{3}", "⅓", "⅔"),
        ("\\frac{7}{2}", "3½", "3⅓"),
        ("1.25", "1¼", "1¾"),
        ("x^{12}", "x¹²", "x^{1}2"),
        ("10^{-9}", "10⁻⁹", "10⁻⁸"),
        ("a_1+a_2", "a₁+a₂", "a₁+a₃"),
        ("x^{n+1}", "xⁿ⁺¹", "xⁿ⁻¹"),
        ("x^2y^3", "x²y³", "x³y²"),
        ("\\frac{3}{4}", "3⁄4", "4⁄3"),
        ("2\\sqrt{3}", "2√3", "3√2"),
        ("\\frac{\\pi}{6}", "pi/6", "pi/3"),
        ("2\\pi r", "2*pi*r", "pi*r"),
        ("\\theta+\\alpha", "theta + alpha", "theta - alpha"),
        ("\\cos(3x)", "cos(3x)", "sin(3x)"),
        ("\\cos 3x", "cos 3x", "cos 2x"),
        ("\\tan^{-1}(2)", "atan(2)", "atan(3)"),
        ("\\ln 5", "log(5)/log(e)", "log(5)"),
        ("\\log_3 7", "ln(7)/ln(3)", "ln(3)/ln(7)"),
        ("\\log_{10} 7", "log(7)", "ln(7)"),
        ("e^{-2}", "exp(-2)", "exp(2)"),
        ("-\\infty", "-infinity", "infinity"),
        ("\\sqrt[3]{5}", "cbrt(5)", "sqrt(5)"),
        ("[1,4)", "[1,4[", "]1,4]"),
        ("(1,4]", "]1;4]", "[1;4["),
        ("(-\\infty,0)\\cup(2,3)", "]-\\infty,0[\\cup]2,3[", "]-\\infty,0[\\cup]2,4["),
        ("(3,\\infty)", "\\{x \\in \\mathbb{R} : x > 3\\}", "\\{x : x < 3\\}"),
        ("[-1,2)", "\\{x \\mid -1 \\le x < 2\\}", "\\{x \\mid -1 < x < 2\\}"),
        ("(-\\infty,5]", "\\{ t | t \\leq 5 \\}", "\\{ t | t < 5 \\}"),
    ],
)
def test_other_notations(reference: str, answer: str, other: str) -> None:
    assert verdict("expression", reference, answer) == "right"
    assert verdict("expression", reference, other) == "wrong"


@pytest.mark.parametrize(
    ("reference", "same", "other"),
    [
        ("\\frac{1}{1000!}", "\\frac{1001}{1001!}", "\\frac{1}{1001!}"),
        ("\\left(\\frac{3}{4}\\right)^{4000}", "0.75^{4000}", "\\left(\\frac{3}{4}\\right)^{4001}"),
        ("2^{-3000}", "\\frac{1}{2^{3000}}", "2^{-3001}"),
        ("e^{-900}", "\\frac{1}{e^{900}}", "e^{-901}"),
        ("e^{900}", "\\exp(900)", "e^{901}"),
        ("1-3^{-60}", "\\frac{3^{60}-1}{3^{60}}", "1"),
        ("\\sqrt{3}-10^{-25}", "-10^{-25}+\\sqrt{3}", "\\sqrt{3}"),
        ("\\pi+10^{-18}", "10^{-18}+\\pi", "\\pi"),
        (
            "1.6\\times10^{-19}\\ \\text{C}",
            "16\\times10^{-20}\\text{ C}",
            "1.6\\times10^{-20}\\ \\text{C}",
        ),
        ("\\sin(10^{-30})+1", "1+\\sin(10^{-30})", "1"),
        ("0", "\\cos(\\pi/2)", "10^{-16}"),
        ("0", "(\\sqrt{2}+\\sqrt{3})^2-5-2\\sqrt{6}", "e^{-36}"),
        ("x+10^{-20}", "10^{-20}+x", "x"),
        ("(1, 2^{-2000})", "(1, \\frac{1}{2^{2000}})", "(1, 2^{-1999})"),
    ],
)
def test_no_rounding_of_small_and_large_values(reference: str, same: str, other: str) -> None:
    assert verdict("expression", reference, same) == "right"
    assert verdict("expression", reference, other) == "wrong"


def test_what_may_be_zero_but_for_rounding_is_decided_by_sympy() -> None:
    zero = "e^{-1000}((\\sqrt{2}+\\sqrt{3})^2-5-2\\sqrt{6})"
    assert verdict("expression", "0", zero) == "right"
    assert verdict("expression", "0", "e^{-1000}") == "wrong"


def test_sympy_is_not_believed_where_it_rounds() -> None:
    assert worker.equivalent("x^2", "x x", limit=60) == "same"
    for reference, answer in (
        ("\\frac{1}{2004!}", "\\frac{1}{2006!}"),
        ("\\left(\\frac{2}{3}\\right)^{5000}", "\\left(\\frac{2}{3}\\right)^{5001}"),
        ("\\sqrt{2}+10^{-20}", "\\sqrt{2}"),
    ):
        assert worker.equivalent(reference, answer, limit=60) == "different"
        assert worker.equivalent(reference, reference, limit=60) == "same"


@pytest.mark.parametrize(
    ("reference", "answer"),
    [
        ("75%", "75\\%"),
        ("R&D", "R\\&D"),
        ("a_b", "a\\_b"),
        ("item #4", "item \\#4"),
        ("San José", unicodedata.normalize("NFD", "San José")),
        ("San Juan", "San~Juan"),
        ("Café", "«Café»"),
        ("Café", "„Café“"),
        ("京都", "「京都」"),
        ("京都", "京都。"),
        ("ABC", "ＡＢＣ"),
        ("Kyoto", "'Kyoto'"),
    ],
)
def test_texts(reference: str, answer: str) -> None:
    assert verdict("string", reference, answer) == "right"
    assert verdict("string", f"{reference}x", answer) == "wrong"
    assert verdict("string", "x²", "x2") == "wrong"


def test_json_answers_of_a_row() -> None:
    def read(answer: object) -> Problem:
        return problem_of(DataConfig(name="t"), {"question": "?", "answer": answer}, "1")

    for answer, texts in (
        (7.0, ("7", "7.0", "\\frac{14}{2}")),
        (2500000, ("2,500,000", "2500000")),
        (2e-4, ("0.0002",)),
        ([3, 4], ("3", "4.0")),
        (True, ("true", "True")),
        ({"text": ["Rome", "Roma"], "answer_start": [1, 1]}, ("Rome", "roma")),
    ):
        for text in texts:
            assert grade(read(answer), split(f"\\boxed{{{text}}}")).verdict == "right", text
    for bad in (
        ["Rome", None],
        [],
        {"answer": 3},
        [["Rome"]],
        float("inf"),
        [{"a": 1}],
        {"text": [[]]},
    ):
        with pytest.raises(ValueError, match="answer"):
            read(bad)
    assert read(float("nan")).reference is None  # an empty cell of a table


def judges(problem: Problem, same: tuple[str, ...], other: tuple[str, ...]) -> None:
    """The reference and the same answers in a box are right, and the others wrong."""
    for answer in (str(problem.reference), *same):
        assert grade(problem, split(f"\\boxed{{{answer}}}")).verdict == "right", answer
    for answer in other:
        assert grade(problem, split(f"\\boxed{{{answer}}}")).verdict == "wrong", answer


@pytest.mark.parametrize(
    ("reference", "same", "other"),
    [
        ("10 am", ("10", "10 a.m."), ("10 pm", "10 p.m.")),
        ("12 noon", ("12 pm", "12"), ("12 midnight", "12 am")),
        ("8 Uhr morgens", ("8 Uhr", "8 am"), ("8 Uhr abends",)),
        ("5 May", ("5 mai", "5"), ("5 June", "5. Juni")),
        ("10 Jan", ("10 January",), ("10 Feb", "10 December")),
        ("3 days late", ("3", "3 days later"), ("3 days early",)),
        ("5 BC", ("5 bc", "5"), ("5 AD",)),
        ("10 credit", ("10",), ("10 debit",)),
        ("4 more", ("4", "4 higher"), ("4 fewer", "4 less")),
        ("2 left", ("2", "2 apples left"), ("2 right",)),
        ("3 Mio €", ("3 million euros", "3000000"), ("3 Mrd €", "3 Tsd. €")),
        ("12", ("ca. 12", "~12", "etwa 12"), ("ca. 13",)),
    ],
)
def test_words_that_exclude_each_other(
    reference: str, same: tuple[str, ...], other: tuple[str, ...]
) -> None:
    judges(Problem("p", "?", reference, "number", "math-oe", "t"), same, other)


@pytest.mark.parametrize(
    ("reference", "same", "other"),
    [
        ("$1.2M", ("1200000", "$1,200,000", "$1.2 million", "1.2 million"), ("1.2", "$1.2k")),
        ("2000000", ("€2m", "€2 M", "$2M", "2mn"), ("2 m", "€2k", "2M")),
        ("2", ("2 m", "2m"), ("€2m", "$2M", "2k")),
        ("1500", ("1.5k", "$1.5K", "£1.5k", "\\$1.5k"), ("1.5", "1.5K", "15k")),
        ("3 billion", ("3bn", "$3B", "3000000000"), ("3", "3B")),
        ("5", ("5 kg", "5 km", "$5"), ("5k", "5 K")),
    ],
)
def test_letters_of_scale(reference: str, same: tuple[str, ...], other: tuple[str, ...]) -> None:
    judges(Problem("p", "?", reference, "number", "math-oe", "t"), same, other)


@pytest.mark.parametrize(
    ("reference", "same", "other"),
    [
        ("14:30", ("2:30 pm", "2.30 p.m.", "14:30 Uhr", "14h30", "14:30:00"), ("2:30", "2:30 am")),
        ("2:30 PM", ("14:30", "2:30 p. m.", "02:30 pm"), ("2:30", "14:31", "14.30")),
        ("09:05", ("9:05", "9:05 a.m.", "9.05 Uhr"), ("9:50", "905", "9.05")),
        ("12:00 am", ("0:00", "00:00", "12 am"), ("12:00", "12:00 pm", "noon")),
        ("5 o'clock", ("5:00", "05:00 h", "5 Uhr"), ("5", "17:00", "5 pm")),
        ("25:30", ("25:30",), ("1:30", "25:30 am")),
        ("13:05 pm", ("13:05 pm",), ("13:05", "1:05 pm")),
    ],
)
def test_times_of_day(reference: str, same: tuple[str, ...], other: tuple[str, ...]) -> None:
    judges(Problem("p", "?", reference, "string", "general-oe", "t"), same, other)
