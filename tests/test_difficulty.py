"""Difficulty of problems by a judge that a server scripts, and selection by it."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest
from conftest import command, done
from teacher import Teacher

from distill import pass_counts
from distill.difficulty import PassRates, correlation, last_score
from distill.difficulty_scores import ProblemScore
from ratiocine.stores import read_pairs

N = 6
# Replies to each problem, by its first number.
SAID = {
    0: ["Difficulty: 2", "**2**", "I say 3/10", "\\boxed{1}"],
    1: ["Difficulty: 4.5", "<think>\n9\n</think>\n\nDifficulty: 5.5"] * 2,
    2: ["Difficulty: 6", "Hard to say.", "Difficulty: 0", "7-8"],
    3: ["It is difficult."] * 4,
    4: ["Difficulty: 9", "Difficulty: 10", "<think>\n10", "truncated 1"],
    5: ["10 out of 10."] * 4,
}
MEANS = {0: 2.0, 1: 5.0, 2: 6.0, 3: None, 4: 9.5, 5: 10.0}


class Judge(Teacher):
    """Gives the replies of `SAID` in turn."""

    def __init__(self) -> None:
        super().__init__()
        self.given: Counter[int] = Counter()

    def answer(self, prompt: str, thinks: bool | None) -> dict:
        i = int(re.findall(r"What is (\d+)", prompt)[0])
        said = SAID[i][self.given[i] % 4]
        self.given[i] += 1
        stop = "length" if said.startswith("truncated") else "stop"
        usage = {"prompt_tokens": 9, "completion_tokens": 5}
        return {
            "choices": [{"message": {"content": said}, "finish_reason": stop}],
            "usage": usage,
        }


@pytest.fixture
def sums(tmp_path: Path) -> Path:
    file = tmp_path / "sums.jsonl"
    rows = (
        {
            "id": str(i),
            "question": f"What is {i} + 1?",
            "answer": str(i + 1),
            "kind": "number",
            "meta": {"solution": f"It is {i + 1}."},
        }
        for i in range(N)
    )
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def words(judge: Teacher, file: Path, *more: str) -> list[str]:
    return [
        "distill.difficulty",
        "engine=openai",
        f"engine.base_url={judge.url}",
        "engine.model=adder",
        f"data={file}",
        f"answer_cache={file.parent / 'answers.sqlite'}",
        f"out={file.parent / 'scores.json'}",
        *more,
    ]


def test_scores_select_problems_and_are_requested_once(sums: Path, tmp_path: Path) -> None:
    with Judge() as judge:
        told = done(*words(judge, sums, "samples=3"))
        assert sum(judge.calls.values()) == 3 * N
        told = done(*words(judge, sums, "samples=4", "seed=0"))
        first = (tmp_path / "scores.json").read_text()
        assert sum(judge.calls.values()) == len(judge.calls) == 4 * N
        assert {body["temperature"] for body in judge.bodies} == {0.7}
        assert len({body["seed"] for body in judge.bodies}) == 4 * N
        assert not any("boxed" in body["messages"][0]["content"] for body in judge.bodies)
    # A finished command needs no server.
    done(*words(judge, sums, "samples=4"))
    assert (tmp_path / "scores.json").read_text() == first
    found = json.loads(first)
    assert {int(k.split("/")[1]): v["score"] for k, v in found["problems"].items()} == MEANS
    assert found["unparsable"] == {"no_score": 7, "truncated": 1, "unclosed_trace": 1}
    assert found["without_score"] == 1
    assert f"5 of {N} problems have a score; 9 of {4 * N} replies are unparsable" in told
    row = next(v for k, v in found["problems"].items() if k.endswith("/4"))
    assert sorted(row["unparsable"].values()) == ["truncated", "unclosed_trace"]
    assert all(row["samples"][int(number)] is None for number in row["unparsable"])

    limits = ("select.min_difficulty=5", "select.max_difficulty=9.5")
    plain = ("distill", "teacher=reference", f"data={sums}", "model=tiny")
    chosen = (*plain, f"select.difficulty={tmp_path / 'scores.json'}", *limits)
    done(*chosen, f"out={tmp_path / 'pairs'}")
    assert {p.id for p in read_pairs(tmp_path / "pairs" / "pairs.parquet")} == {"1", "2", "4"}
    told = json.loads((tmp_path / "pairs" / "manifest.json").read_text())
    assert told["dropped"] == {"difficulty": 2, "no_difficulty": 1}


def test_a_judge_without_any_score_has_failed(sums: Path, tmp_path: Path) -> None:
    lines = sums.read_text().splitlines()
    sums.write_text(f"{lines[3]}\n")
    with Judge() as judge:
        failed = command(*words(judge, sums))
    assert failed.returncode == 1
    assert "not one reply of adder" in failed.stderr and "{'no_score': 8}" in failed.stderr


def test_scores_are_compared_with_pass_rates(sums: Path, tmp_path: Path) -> None:
    with Teacher() as teacher:
        engine = (f"teacher.engine.base_url={teacher.url}", "teacher.engine.model=adder")
        run = ("distill", "teacher=openai", *engine, f"data={sums}", "model=tiny")
        done(*run, f"answer_cache={tmp_path / 'answers.sqlite'}", f"out={tmp_path / 'run'}")
    with Judge() as judge:
        rates = f"pass_rates={{run: '{tmp_path / 'run'}'}}"
        told = done(*words(judge, sums, "samples=4", rates))
    assert "over 5 problems: undefined: no variation" in told
    assert len(pass_counts.read(tmp_path / "run", "reasoning")) == N
    counts = {"a": (4, 4), "b": (3, 4), "c": (0, 4), "d": (1, 4), "e": (0, 0), "f": (0, 4)}
    scored = {
        name: ProblemScore(score, [score], {})
        for name, score in {"a": 1.0, "b": 2.0, "c": 9.0, "d": 4.0, "e": 1.0, "f": None}.items()
    }
    found = correlation(PassRates(run="x"), scored, counts)
    assert (found.n, found.rho) == (4, pytest.approx(1.0))


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("Difficulty: 7", 7.0),
        ("Difficulty:7.5", 7.5),
        ("**Difficulty:** 3.", 3.0),
        ("\\boxed{8}", 8.0),
        ("$\\boxed{8}$.", 8.0),
        ("7/10", 7.0),
        ("7 (out of 10)", 7.0),
        ("2 steps, 3 ideas: 6", 6.0),
        ("10", 10.0),
        ("1", 1.0),
        ("0.9", None),
        ("10.1", None),
        ("5, or 11", None),
        ("-3", None),
        ("6-7", None),
        ("6–7", None),
        ("1e1", None),
        ("7/100", None),
        ("3/10.5", None),
        ("5.", 5.0),
        ("seven", None),
        ("٤", None),
        ("", None),
    ],
)
def test_a_score_is_the_last_number(text: str, score: float | None) -> None:
    assert last_score(text) == score


@pytest.mark.slow
def test_bad_values_are_one_line(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.json"
    wrong.write_text('{"problems": {"a": {"score": 11}}}')
    tool = ("distill.difficulty", f"out={tmp_path / 'x.json'}")
    served = ("engine=openai", "engine.base_url=http://127.0.0.1:9/v1", "engine.model=m")
    cases = {
        tool: "engine=transformers needs a judge: model=NAME or model=FOLDER",
        (*tool, *served, "model=tiny"): "model= means nothing with engine=openai",
        (*tool, "model=tiny", "temperature=0"): "would be the same reply 8 times",
        (*tool, "model=tiny", "samples=0"): "samples",
        ("distill.difficulty", "model=tiny"): "give the JSON file to write: out=FILE",
        ("distill.difficulty", "model=tiny", f"out={tmp_path}"): "is a folder",
        (*tool, "model=tiny", "pass_rates={run: no/such}"): "no/such does not exist",
        (*tool, "model=tiny", f"data={tmp_path / 'none.jsonl'}"): "is not a file",
        ("distill", "select.min_difficulty=3"): "need difficulty=FILE",
        ("distill", "select.difficulty=no/such"): "select.difficulty=no/such is not a file",
        ("distill", f"select.difficulty={wrong}"): "is no file of `python -m distill.difficulty`",
        (
            "distill",
            f"select.difficulty={wrong}",
            "select.min_difficulty=9",
            "select.max_difficulty=3",
        ): "min_difficulty=9 is above max_difficulty=3",
        ("distill", f"select.difficulty={wrong}", "select.max_difficulty=11"): "max_difficulty",
    }
    for line, words in cases.items():
        result = command(*line)
        assert result.returncode == 2, (line, result.stderr)
        assert len(result.stderr.splitlines()) == 1, result.stderr
        assert words in result.stderr
    assert not (tmp_path / "x.json").exists()
