"""The corpus of verdicts that guards `GRADER_VERSION`. `python tests/make_verdicts.py` writes it
anew with the grader as it is, and prints what changed; bump the version in the same commit."""

from __future__ import annotations

import json
import lzma
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("verdicts.jsonl.xz")
LONGEST = 200  # characters of an extracted answer that are stored; of a longer one, its hash
SLOW = 0.25  # seconds: above this a time limit may decide the verdict
PER_LEVEL = 3  # problems of each embedded family and difficulty

Verdict = tuple[str, str | None, str, dict[str, float]]


@dataclass(frozen=True)
class Case:
    """One completion of a problem."""

    completion: str
    finished: bool = True
    hostile: bool = False


def judged(problem: Any, case: Case) -> Verdict:
    """Verdict, extracted answer, reason and detail."""
    from ratiocine.completion_parts import split
    from ratiocine.grading import grade

    found = grade(problem, split(case.completion, finished=case.finished))
    extracted = found.extracted
    if extracted is not None and len(extracted) > LONGEST:
        data = extracted.encode("utf-8", "surrogatepass")
        extracted = f"sha256:{sha256(data).hexdigest()}"
    return found.verdict, extracted, found.reason, dict(found.detail)


def stored() -> tuple[str, list[tuple[Any, list[tuple[Case, Verdict]]]]]:
    """The version of the stored verdicts, and each problem with its cases."""
    from ratiocine.records import Problem

    with lzma.open(FILE, "rt", encoding="utf-8") as lines:
        version = json.loads(next(lines))["grader_version"]
        corpus = []
        for row in map(json.loads, lines):
            fields = row["problem"]
            fields |= {name: tuple(fields[name]) for name in ("choices", "accepted")}
            cases = [
                (Case(completion, finished), (verdict, extracted, reason, detail))
                for completion, finished, verdict, extracted, reason, detail in row["cases"]
            ]
            corpus.append((Problem(**fields), cases))
    return version, corpus


def differences() -> list[tuple[str, str, Verdict, Verdict]]:
    """What the grader judges otherwise than the corpus says: problem, completion, stored and new
    verdict."""
    return [
        (problem.id, case.completion[:80], before, now)
        for problem, cases in stored()[1]
        for case, before in cases
        if (now := judged(problem, case)) != before
    ]


# What the corpus is made of: families with right, wrong and odd renderings of their answers;
# hostile answers; the tables of the grader's other tests; and cases of the kinds that these leave
# out.


def corpus() -> Iterator[tuple[Any, list[Case]]]:
    """Every problem with its completions."""
    yield from _families()
    yield from _hostile()
    yield from _tables()
    yield from _by_hand()


def _families() -> Iterator[tuple[Any, list[Case]]]:
    from test_golds import rewritten_choice, rewritten_number, rewritten_span

    from ratiocine.data import FAMILIES, generate
    from ratiocine.records import LETTERS

    draw = random.Random(0)
    for name, family in FAMILIES.items():
        # One level of a family with its own generator: its levels differ in the question alone.
        for level in range(1, (len(family.levels) if family.draw is None else 1) + 1):
            problems = generate(
                name, PER_LEVEL, seed=7, difficulty=level, split="test", instruction="Box it."
            )
            for at, problem in enumerate(problems):
                reference = problem.reference
                if problem.kind == "choice":
                    rewritten = list(rewritten_choice(problem))
                    wrong = [x for x in LETTERS[: len(problem.choices)] if x != reference]
                    wrong += [t for x, t in zip(LETTERS, problem.choices) if x != reference]
                else:
                    of_kind = rewritten_number if problem.kind == "number" else rewritten_span
                    rewritten = list(of_kind(reference))
                    wrong = [problems[at - 1].reference, f"{reference}{reference}"]
                answers = [*_odd(reference), *(_boxed(draw, answer) for answer in wrong)]
                yield problem, [*map(Case, [*rewritten, *answers]), *_cut(reference)]


def _boxed(draw: random.Random, answer: str) -> str:
    ways = ("\\boxed{%s}", "The answer is %s.", "<think>\nhm\n</think>\n\n%s", "#### %s", "**%s**")
    return draw.choice(ways) % answer


def _odd(answer: str) -> list[str]:
    """A right answer in places and words in which it may not be one."""
    return [
        f"<think>\n\\boxed{{{answer}}}",
        f"<think>\n\\boxed{{{answer}}}\n</think>",
        f"\\boxed{{}} {answer}",
        f"\\boxed{{{answer}",
        f"The answer is not {answer}.",
        f"It is {answer} or maybe 3.",
        f"\\boxed{{{answer} or 3}}",
        f"First {answer}. No, wait, that is wrong.",
        f"<answer>{answer}</answer> and <answer>nothing</answer>",
        f"The answer is {answer}, since nothing else fits.\n\nI hope this helps!",
        f"####{answer}",
        f"```\n{answer}\n```",
    ]


def _cut(answer: str) -> list[Case]:
    return [
        Case(f"So the answer is {answer}", finished=False),
        Case(f"\\boxed{{{answer}}} and then", finished=False),
    ]


def _hostile() -> Iterator[tuple[Any, list[Case]]]:
    from hostile import HOSTILE
    from test_hostile import PROBLEMS, WRAPPERS

    for at, problem in enumerate(PROBLEMS):
        wrapper = WRAPPERS[at % len(WRAPPERS)]
        texts = [text for text in HOSTILE if len(text) <= 20_000]
        boxed = (WRAPPERS[0].replace("%s", text) for text in texts[at % 2 :: 2])
        others = (wrapper.replace("%s", text) for text in texts[at % 6 :: 6])
        texts = dict.fromkeys((*boxed, *others))
        yield problem, [Case(text, hostile=True) for text in texts]


def _tables() -> Iterator[tuple[Any, list[Case]]]:
    """The cases of test_grading.py."""
    import test_grading as tests

    from ratiocine.records import Problem

    def rows(test: Any) -> list[Any]:
        (mark,) = (mark for mark in test.pytestmark if mark.name == "parametrize")
        return list(mark.args[1])

    def problem(
        kind: str, reference: str | None, choices: Sequence[str] = (), **more: Any
    ) -> Problem:
        choices = tuple(choices)
        return Problem("t", "?", reference, kind, "math-oe", "t", choices=choices, **more)

    for kind, reference, completion, _, _ in rows(tests.test_verdicts):
        options = tests.OPTIONS if kind == "choice" else ()
        yield problem(kind, reference, options), [Case(completion)]
    boxed = {
        tests.test_a_number_may_be_dressed: ("number", "25", ()),
        tests.test_no_sum_is_done_for_the_writer_and_no_hedge_is_an_answer: ("number", "-13", ()),
        tests.test_a_number_in_less_usual_dress: ("number", "12", ()),
    }
    whole = {
        tests.test_what_is_not_said_to_be_twelve: ("number", "12", ()),
        tests.test_a_choice_may_be_dressed: ("choice", "B", tests.FRUIT),
        tests.test_two_letters_are_no_choice: ("choice", "B", tests.COLOURS),
    }
    for test, (kind, reference, options) in boxed.items():
        yield problem(kind, reference, options), [Case(f"\\boxed{{{t}}}") for t in rows(test)]
    for test, (kind, reference, options) in whole.items():
        yield problem(kind, reference, options), [Case(text) for text in rows(test)]
    for reference, text, _ in rows(tests.test_a_number_in_prose):
        yield problem("number", reference), [Case(text)]
    for reference, text, options in rows(tests.test_what_is_no_choice_of_the_right_option):
        yield problem("choice", reference, options), [Case(text)]
    for reference, text, options in rows(tests.test_a_choice_in_less_usual_dress):
        yield problem("choice", reference, options), [Case(f"\\boxed{{{text}}}"), Case(text)]
    for test in (
        tests.test_expressions_that_are_not_the_reference,
        tests.test_an_expression_may_be_written_otherwise,
        tests.test_what_a_reader_of_parts_would_take_for_the_reference,
    ):
        for reference, text in rows(test):
            cases = [f"\\boxed{{{text}}}", f"The answer is ${text}$.", f"So ${text}$", text]
            yield problem("expression", reference), [*map(Case, cases)]
            yield problem("expression", text), [Case(f"\\boxed{{{reference}}}")]


COUNTDOWN = [
    "\\boxed{(3+5)*7-4}",
    "\\boxed{7*(5+3)-4}",
    "\\boxed{(3+5)\\times 7-4 = 52}",
    "\\boxed{52 = (3 + 5) × 7 − 4}",
    "\\boxed{(3+5)*7-4 = 53}",
    "\\boxed{3*5*7-4}",
    "\\boxed{52}",
    "\\boxed{(3+5)*7-4+0}",
    "\\boxed{(3+5)*7-4*1}",
    "\\boxed{((3+5)*7)-4.}",
    "\\boxed{\\left(3+5\\right)\\cdot 7-4}",
    "\\boxed{(3+5)*7-4/0}",
    "\\boxed{(3+5)*7-}",
    "\\boxed{3**5}",
    "\\boxed{35+7+4}",
    "\\boxed{-4+(3+5)*7}",
    "\\boxed{7*(3+5)-4 = 56 - 4 = 52}",
    "\\boxed{$(3+5)*7-4$}",
    "\\boxed{`(3+5)*7-4`}",
    "<answer>(3+5)*7-4</answer>",
    "We use (3+5)*7-4 = 52.",
    "First 3+5 = 8, then 8*7 = 56, then 56-4 = 52",
    "The answer is (5+3)*7-4.",
    "\\boxed{__import__('os')}",
    "\\boxed{(3+5)*7-4; 1}",
    "\\boxed{eval('52')}",
    "\\boxed{" + "(" * 150 + "3" + ")" * 150 + "}",
    "There is no way.",
    "",
]
SPANS = {
    ("the Normans", "Normans"): [
        "\\boxed{Normans}",
        "\\boxed{The Normans}",
        "\\boxed{the  normans.}",
        "\\boxed{Norman}",
        "\\boxed{the Normans and the Danes}",
        "\\boxed{\\text{Normans}}",
        "\\boxed{“Normans”}",
        "Normans",
        "It was the Normans.",
        "The answer is the Normans.",
        "**Normans**",
        "the",
        "\\boxed{the}",
        "\\boxed{!!}",
        "\\boxed{NORMANS, the}",
    ],
    ("10th century",): [
        "\\boxed{10th century}",
        "\\boxed{the 10th-century}",
        "\\boxed{tenth century}",
        "\\boxed{10th}",
        "in the 10th century",
        "\\boxed{century 10th}",
    ],
    ("$5.50", "5.50 dollars"): [
        "\\boxed{5.50}",
        "\\boxed{\\$5.50}",
        "\\boxed{5.50 Dollars}",
        "550",
    ],
    ("no",): ["\\boxed{No}", "No.", "no, it is not", "\\boxed{yes}", "The answer is no"],
}
STRINGS = {
    ("olleh",): ["\\boxed{olleh}", "OLLEH", "o l l e h", "\\boxed{`olleh`}", "hello", "olleh."],
    ("New York", "NYC"): [
        "\\boxed{new  york}",
        "nyc",
        "NY",
        "\\boxed{\\textbf{New York}}",
        "Paris",
    ],
    ("a = b",): ["\\boxed{a = b}", "a=b", "$a = b$", "\\boxed{$a = b$}"],
    ("naïve café",): ["\\boxed{Naïve Café}", "naive cafe", "\\boxed{NAÏVE CAFÉ}"],
}
ARGUMENTS: dict[str, list[dict[str, Any]]] = {
    "keywords:existence": [{"keywords": ["lazy", "dog"]}],
    "keywords:frequency": [
        {"keyword": "one", "frequency": 2, "relation": "at least"},
        {"keyword": "e", "frequency": 3, "relation": "less than"},
    ],
    "keywords:forbidden_words": [{"forbidden_words": ["quick", "same"]}],
    "keywords:letter_frequency": [
        {"letter": "e", "let_frequency": 4, "let_relation": "at least"},
        {"letter": "z", "let_frequency": 1, "let_relation": "less than"},
    ],
    "language:response_language": [{"language": "de"}, {"language": "en"}],
    "length_constraints:number_sentences": [{"num_sentences": 2, "relation": "at least"}],
    "length_constraints:number_paragraphs": [{"num_paragraphs": 2}],
    "length_constraints:number_words": [{"num_words": 6, "relation": "less than"}],
    "length_constraints:nth_paragraph_first_word": [
        {"num_paragraphs": 3, "nth_paragraph": 2, "first_word": "second"}
    ],
    "detectable_content:number_placeholders": [{"num_placeholders": 2}],
    "detectable_content:postscript": [
        {"postscript_marker": "P.S."},
        {"postscript_marker": "P.P.S"},
    ],
    "detectable_format:number_bullet_lists": [{"num_bullets": 2}, {"num_bullets": 3}],
    "detectable_format:constrained_response": [{}],
    "detectable_format:number_highlighted_sections": [{"num_highlights": 2}],
    "detectable_format:multiple_sections": [{"section_spliter": "Section", "num_sections": 2}],
    "detectable_format:json_format": [{}],
    "detectable_format:title": [{}],
    "combination:two_responses": [{}],
    "combination:repeat_prompt": [{"prompt_to_repeat": "The quick brown fox"}],
    "startend:end_checker": [{"end_phrase": "Any other questions?"}],
    "startend:quotation": [{}],
    "change_case:capital_word_frequency": [
        {"capital_frequency": 3, "capital_relation": "at least"}
    ],
    "change_case:english_capital": [{}],
    "change_case:english_lowercase": [{}],
    "punctuation:no_comma": [{}],
}


def _by_hand() -> Iterator[tuple[Any, list[Case]]]:
    from test_field_scorers import PIECES

    from ratiocine.records import Problem

    numbers = {"numbers": [3, 5, 7, 4], "target": 52}
    yield (
        Problem("52", "?", None, "countdown", "math-oe", "t", meta=numbers),
        [*map(Case, COUNTDOWN), Case("(3+5)*7-4", finished=False)],
    )
    for meta in ({"numbers": [], "target": 1}, {"numbers": [1.5], "target": 1}, {}):
        yield (
            Problem("no game", "?", None, "countdown", "math-oe", "t", meta=meta),
            [Case("\\boxed{1}")],
        )
    for kind, table in (("span", SPANS), ("string", STRINGS)):
        for (reference, *accepted), completions in table.items():
            yield (
                Problem(
                    reference, "?", reference, kind, "general-oe", "t", accepted=tuple(accepted)
                ),
                [*map(Case, completions), *_cut(reference)],
            )
    for name, arguments in ARGUMENTS.items():
        for given in arguments:
            meta = {"instruction_id_list": [name], "kwargs": [given]}
            problem = Problem(name, "?", None, "instructions", "general-oe", "t", meta=meta)
            yield problem, [Case(piece) for piece in (*PIECES, "")]
    several = {
        "instruction_id_list": ["punctuation:no_comma", "detectable_format:title"],
        "kwargs": [{}, {}],
    }
    yield (
        Problem("several", "?", None, "instructions", "general-oe", "t", meta=several),
        [*map(Case, ["<<A>> b", "<<A>>, b", "a, b", "*a*\n<<b>>", "<think>\nx\n</think>\n<<y>>"])],
    )
    unknown = {"instruction_id_list": ["no:such"], "kwargs": [{}]}
    yield (
        Problem("unknown", "?", None, "instructions", "general-oe", "t", meta=unknown),
        [Case("a")],
    )
    rows = {
        "0.75": ["\\frac{3}{4}", "75\\%", ".75", "3/4", "0.750", "6/8", "7.5e-1", "0.75001"],
        "-3": ["-3", "−3", "- 3", "3", "(-3)", "minus 3", "-3.0", "\\text{-3}", "--3"],
        "1000000": ["1,000,000", "10^6", "1 million", "1e6", "1 000 000", "1000 thousand"],
        "70": ["070", "70.", "7 0", "70th", "seventy", "70 and", "$70$", "\\$70.00", "70/1"],
    }
    for reference, answers in rows.items():
        for kind in ("number", "expression", "string"):
            yield (
                Problem(reference, "?", reference, kind, "math-oe", "t"),
                [Case(text) for a in answers for text in (f"\\boxed{{{a}}}", f"It is {a}.", a)],
            )


def make() -> None:
    """Write the corpus, without cases that a time limit may decide: the slow ones, and hostile
    answers that only the killable judge can compare."""
    from ratiocine.grading import GRADER_VERSION, worker

    equivalent, asked = worker.equivalent, Counter[str]()

    def counted(reference: str, answer: str, limit: float = worker.DEFAULT_LIMIT) -> Any:
        asked["judge"] += 1
        return equivalent(reference, answer, limit)

    worker.equivalent = counted
    equivalent("x^2", "x x", limit=60)  # a new process imports sympy first
    left_out = n = 0
    temporary = FILE.with_suffix(".new")
    with lzma.open(temporary, "wt", encoding="utf-8", preset=9) as file:
        file.write(json.dumps({"grader_version": GRADER_VERSION}) + "\n")
        for problem, cases in corpus():
            rows = []
            for case in cases:
                started, before = time.monotonic(), asked["judge"]
                verdict = judged(problem, case)
                slow = time.monotonic() - started > SLOW or "too_costly" in verdict[2]
                if slow or (case.hostile and asked["judge"] > before):
                    left_out += 1
                    continue
                rows.append([case.completion, case.finished, *verdict])
            n += len(rows)
            file.write(json.dumps({"problem": asdict(problem), "cases": rows}) + "\n")
    temporary.replace(FILE)
    print(f"{FILE.name}: {n} verdicts of version {GRADER_VERSION}, {left_out} cases left out")


if __name__ == "__main__":
    sys.path.insert(0, str(FILE.parents[1]))
    if FILE.exists():
        for name, completion, before, now in differences():
            print(f"{name}: {completion!r}: {before} -> {now}")
    make()
