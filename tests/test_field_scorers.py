"""Our verdicts beside those of the field's own scorers, on the same answers."""

import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratiocine.completion_parts import split
from ratiocine.grading import INSTRUCTIONS, check, grade, span_f1, span_words
from ratiocine.records import Problem

NEED_TRAINED_TOKENIZER = {
    "length_constraints:number_sentences",
    "change_case:capital_word_frequency",
}

PIECES = [
    "The quick brown fox jumps over the lazy dog. It does so twice, and then rests!",
    "MY ANSWER IS HERE, AND IT IS LOUD.",
    "all of this is written in lowercase letters. there is not a capital to be seen",
    "My answer is yes.",
    "My answer is maybe.",
    "<<A title>>\n\nAnd a text, with commas, below it.",
    "<< >>",
    "* one\n* two\n- three",
    "  - a\n\n* *b*",
    "** **",
    "*one* and **two** and ***three***",
    "SECTION 1\nfirst\nSECTION 2\nsecond\nSECTION 3",
    "Section 1 a Section 2 b",
    "first\n\nsecond\n\nthird",
    "\n\n\n",
    "***",
    "a\n***\nb\n***\nc",
    "a***b***",
    "one ****** two",
    "******\nsame\n******\nsame",
    "P.S. remember this",
    "p. s. and p.p.s too\nP.P.S. yes",
    "[name] lives at [address] in [city]",
    "[[a]] [",
    '"quoted from end to end"',
    '"',
    '{"a": [1, 2]}',
    '```json\n{"a": 1}\n```',
    "```\n[1,]\n```",
    "Is there anything else I can help with?",
    "Any other questions?",
    "Dies ist ein deutscher Satz, der lang genug ist.",
    "Ceci est une phrase en français, assez longue.",
    "これは日本語の文章です。",
    "नमस्ते, यह हिंदी में है।",
    "1234 !!",
    "e e e e eeee zzz",
    "Don't 'stop, he said.",
]


def responses(row: dict, draw: random.Random) -> list[str]:
    """Ordinary and adversarial responses to one prompt, some made of what its own arguments ask
    for."""
    words = [
        str(w)
        for kwargs in row["meta"]["kwargs"]
        for value in kwargs.values()
        if value
        for w in (value if isinstance(value, list) else [value])
    ]
    pool = [*PIECES, *words, row["question"], *(w * 3 for w in words)]
    made = [
        draw.choice(["\n\n", " ", "\n", "\n***\n", "******"]).join(
            draw.choices(pool, k=draw.randrange(1, 9))
        )
        for _ in range(4)
    ]
    return [
        *made,
        row["question"] + "\n\n" + made[0],
        " ".join(draw.choices(words or ["a"], k=400)),
        made[1].upper(),
        made[2].lower(),
        "",
    ]


def test_instructions_are_judged_as_the_harness_judges_them(benchmarks: Path) -> None:
    nltk = pytest.importorskip("nltk")
    found, nltk.data.find = (
        nltk.data.find,
        lambda *a, **k: None,
    )  # at import it would download a tokenizer
    try:
        from lm_eval.tasks.ifeval import utils
    finally:
        nltk.data.find = found
    from langdetect import DetectorFactory

    DetectorFactory.seed = 0
    draw, n, followed, differing = random.Random(0), 0, 0, []
    for line in (benchmarks / "ifeval.jsonl").read_text().splitlines():
        row = json.loads(line)
        asked = list(enumerate(row["meta"]["instruction_id_list"]))
        # The harness puts a random letter in the place of one that is none (# and !, two rows):
        # nothing to agree with.
        keep = [
            i
            for i, name in asked
            if name not in NEED_TRAINED_TOKENIZER
            and row["meta"]["kwargs"][i].get("letter", "a").isalpha()
        ]
        names = [row["meta"]["instruction_id_list"][i] for i in keep]
        kwargs = [row["meta"]["kwargs"][i] for i in keep]
        case = utils.InputExample(0, names, row["question"], kwargs)
        for response in responses(row, draw) if names else ():
            theirs = (
                utils.test_instruction_following_strict(case, response).follow_instruction_list,
                utils.test_instruction_following_loose(case, response).follow_instruction_list,
            )
            ours = check(names, kwargs, response)
            n += 1
            followed += sum(ours[0])
            if ours != theirs:
                differing.append((names, kwargs, response, ours, theirs))
    print(f"{n} cases, {followed} instructions followed strictly, {len(differing)} differ")
    for case in differing[:10]:
        print("   ", case)
    assert n >= 2000
    assert followed > 500
    assert not differing


def test_spans_are_scored_as_squad_scores_them(benchmarks: Path) -> None:
    squad = pytest.importorskip("torchmetrics.functional.text").squad
    draw, n = random.Random(0), 0
    for line in (benchmarks / "squad_v11_dev.jsonl").read_text().splitlines():
        row = json.loads(line)
        problem = Problem(
            "p",
            "?",
            row["answer"][0],
            "span",
            "general-oe",
            "squad",
            accepted=tuple(row["answer"][1:]),
        )
        words = row["context"].split()
        at = draw.randrange(len(words))
        gold = draw.choice(row["answer"])
        for answer in (
            gold,
            gold.upper() + ".",
            f"the {gold}",
            gold[: len(gold) // 2],
            " ".join(words[at : at + 4]),
            f"{gold} {words[at]}",
            "an",
        ):
            ours = grade(problem, split(f"\\boxed{{{answer}}}"))
            if ours.extracted != answer:
                continue  # an answer with a brace of its own
            n += 1
            targets = {
                "answers": {"answer_start": [0] * len(row["answer"]), "text": row["answer"]},
                "id": "p",
            }
            theirs = squad({"prediction_text": answer, "id": "p"}, targets)
            assert (ours.verdict == "right") == bool(theirs["exact_match"] == 100), answer
            assert 100 * ours.detail["f1"] == pytest.approx(float(theirs["f1"])), answer
    assert n > 4000


def test_math_is_judged_as_math_verify_judges_it(benchmarks: Path) -> None:
    """Wherever math-verify reads both sides the verdicts are the same, but for rewrites, right by
    construction, that it refuses."""
    from math_verify import parse, verify
    from test_golds import problems, rewritten_expression

    rows, draw, differing, refused, n = (
        problems("math-500", benchmarks),
        random.Random(0),
        [],
        [],
        0,
    )
    for problem in draw.sample(rows, 120):
        gold = parse(f"${problem.reference}$")
        rewrites = draw.sample(sorted(set(rewritten_expression(problem.reference or ""))), 4)
        others = [f"\\boxed{{{draw.choice(rows).reference}}}" for _ in range(3)]
        for answer in (*rewrites, *others):
            read = parse(answer.rpartition("</think>")[2])
            if not gold or not read:
                continue
            n += 1
            theirs, ours = verify(gold, read), grade(problem, split(answer)).verdict == "right"
            if theirs != ours:
                (refused if ours and answer in rewrites else differing).append(
                    (problem.reference, answer, ours)
                )
    print(f"{n} cases; math-verify refuses {len(refused)} rewrites; {len(differing)} others differ")
    for case in refused + differing:
        print("   ", case)
    assert n > 700
    assert not differing


@given(st.text(max_size=40), st.text(max_size=40))
@settings(max_examples=300)
def test_f1_is_symmetric_and_one_only_for_equal_bags(a: str, b: str) -> None:
    x, y = span_words(a), span_words(b)
    assert span_f1(x, y) == span_f1(y, x)
    assert (span_f1(x, y) == 1) == (sorted(x) == sorted(y))


def test_all_25_kinds_of_instruction_are_there() -> None:
    assert len(INSTRUCTIONS) == 25


def test_an_instruction_without_its_arguments_is_not_graded() -> None:
    bad = [{"relation": 3}, {"num_words": "five", "keywords": "a"}, {}, None]
    for name, instruction in INSTRUCTIONS.items():
        for arguments in bad:
            meta = {"instruction_id_list": [name], "kwargs": [arguments]}
            task = Problem("1", "Write.", None, "instructions", "general-oe", "mine", meta=meta)
            ungradable = bool(instruction.arguments) or arguments is None
            assert (grade(task, split("Text.")).verdict == "ungradable") == ungradable, name
