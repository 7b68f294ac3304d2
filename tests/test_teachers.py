"""Pairs from a teacher that is a model: asked in two modes, over a server that fails, killed and resumed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT, command, done
from hypothesis import given
from hypothesis import strategies as st
from teacher import Teacher

from distill.answers import AnswerStore, answer_key
from distill.choose import Candidate, pick
from distill.rules import fault, taken_apart
from ratiocine.engines import Request
from ratiocine.prompts import Parts, split
from ratiocine.traces import read_pairs

N = 60


@pytest.fixture
def sums(tmp_path: Path) -> Path:
    file = tmp_path / "sums.jsonl"
    rows = [
        {
            "id": str(i),
            "question": f"What is {i} + {i * i}?",
            "answer": str(i + i * i),
            "kind": "number",
            "meta": {"level": i % 3},
        }
        for i in range(N)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def words(teacher: Teacher, file: Path, out: Path, *more: str) -> list[str]:
    return [
        "distill", "teacher=openai", f"teacher.engine.url={teacher.url}", "teacher.engine.model=adder", f"data={file}",
        "model=tiny", f"answers={out.parent / 'answers.sqlite'}", f"out={out}", *more,
    ]  # fmt: skip


def manifest(out: Path) -> dict:
    return json.loads((out / "manifest.json").read_text())


@pytest.mark.parametrize("inline", [False, True])
def test_both_modes_of_one_teacher_become_whole_pairs(inline: bool, sums: Path, tmp_path: Path) -> None:
    with Teacher(inline=inline, wrong=0.2) as teacher:
        out = tmp_path / "run"
        done(*words(teacher, sums, out))
        pairs, told = read_pairs(out / "pairs.parquet"), manifest(out)
        assert all(b["temperature"] == 0.6 and b["top_p"] == 0.95 and b["max_tokens"] == 8192 for b in teacher.bodies)
        asked = {mode: {b["messages"][0]["content"] for b in teacher.bodies if b["chat_template_kwargs"]["enable_thinking"] is on}
                 for mode, on in (("ift", False), ("reasoning", True))}  # fmt: skip
        assert asked["ift"] == asked["reasoning"]
    assert len(asked["ift"]) == N
    wrong = told["dropped"]["wrong_ift"]
    assert 0 < wrong < N / 2
    assert len(pairs) == told["n"] == N - wrong
    for pair in pairs:
        assert f"\\boxed{{{pair.reference}}}" == pair.ift
        assert split(pair.reasoning).think.endswith(f"is {pair.reference}")
        assert split(pair.reasoning).answer == pair.ift
    assert told["answers"]["ift"]["fates"] == {"right": N - wrong, "wrong": wrong}
    assert told["answers"]["reasoning"]["fates"] == {"right": N}
    assert sum(of for _, of in told["by_level"].values()) == N
    card = (out / "README.md").read_text()
    assert f"| right | {N - wrong} | {N} |" in card
    assert "the same in both modes" in card
    assert "adder" in card


def test_verify_promises_what_it_says(sums: Path, tmp_path: Path) -> None:
    with Teacher(wrong=0.2) as teacher:
        kept = {}
        for verify in ("both", "reasoning", "either", "none"):
            done(*words(teacher, sums, tmp_path / verify, f"verify={verify}"))
            kept[verify] = {pair.id for pair in read_pairs(tmp_path / verify / "pairs.parquet")}
        assert sum(teacher.calls.values()) == 2 * N, "answers are shared by all runs"
    assert kept["both"] < kept["reasoning"] == kept["either"] == kept["none"]


def test_more_samples_ask_only_for_what_is_new(sums: Path, tmp_path: Path) -> None:
    with Teacher() as teacher:
        done(*words(teacher, sums, tmp_path / "one"))
        done(*words(teacher, sums, tmp_path / "three", "samples=3"))
        assert sorted(teacher.calls.values()) == [1] * 6 * N


def test_what_the_server_refuses_is_dropped_as_a_pair(tmp_path: Path) -> None:
    file = tmp_path / "some.jsonl"
    questions = ["What is 1 + 2?", "What is 2 + 2, but too long?", "What is 3 + 2?"]
    rows = [
        {"id": str(i), "question": q, "answer": a, "kind": "number"}
        for i, (q, a) in enumerate(zip(questions, "345", strict=True))
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with Teacher() as teacher:
        done(*words(teacher, file, tmp_path / "run"))
    told = manifest(tmp_path / "run")
    assert told["dropped"] == {"no_usable_ift_reasoning": 1}
    assert told["answers"]["ift"]["fates"] == {"right": 2, "refused_by_server": 1}


def test_a_model_that_is_not_there_and_a_key_that_is_wrong(sums: Path, tmp_path: Path) -> None:
    with Teacher() as teacher:
        refused = command(*words(teacher, sums, tmp_path / "run"), "teacher.engine.model=other")
        assert refused.returncode == 2
        assert "it serves: adder" in refused.stderr.strip().splitlines()[-1]
        assert "Traceback" not in refused.stderr


def test_a_confound_is_named(sums: Path, tmp_path: Path) -> None:
    with Teacher() as teacher:
        out = tmp_path / "run"
        done(*words(teacher, sums, out, "+switch.ift.temperature=0.2", "limit=5"))
        assert {b["temperature"] for b in teacher.bodies} == {0.2, 0.6}
    assert manifest(out)["confounds"] == ["temperature"]
    assert "A CONFOUND" in (out / "README.md").read_text()


@pytest.mark.slow
def test_kills_and_a_server_that_fails_lose_nothing_and_repeat_little(tmp_path: Path) -> None:
    """2,000 prompts × 2 modes × 2 samples over a server of which 30 % of the calls go wrong, killed ten times."""
    file, n, calls = tmp_path / "many.jsonl", 2000, 48
    file.write_text("".join(
        json.dumps({"id": str(i), "question": f"What is {i} + {3 * i}?", "answer": str(4 * i), "kind": "number"}) + "\n" for i in range(n)
    ))  # fmt: skip
    more = ("samples=2", f"teacher.engine.concurrency={calls}", "teacher.engine.timeout=2")
    with Teacher(faults=0.3, delay=0.02) as teacher:
        start, out = time.monotonic(), tmp_path / "killed"
        import random

        moments, kills = random.Random(1), 0
        while kills < 10:
            child = subprocess.Popen(
                [sys.executable, "-m", *words(teacher, file, out, *more)], cwd=ROOT, stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )  # fmt: skip
            before = sum(teacher.calls.values())
            while child.poll() is None and sum(teacher.calls.values()) < before + moments.randint(100, 700):
                time.sleep(0.02)
            if child.poll() is not None:
                break
            os.kill(child.pid, signal.SIGKILL)
            child.wait()
            kills += 1
        assert kills == 10, child.stderr.read()
        done(*words(teacher, file, out, *more))
        repeats = sum(teacher.answered.values()) - len(teacher.answered)
        assert len(teacher.answered) == 4 * n
        assert repeats <= kills * calls, f"{repeats} repeats"
        whole = tmp_path / "whole" / "run"
        whole.parent.mkdir()
        teacher.faults = 0.0
        done(*words(teacher, file, whole, *more))
    assert (whole / "pairs.parquet").read_bytes() == (out / "pairs.parquet").read_bytes()
    assert len(read_pairs(out / "pairs.parquet")) == n
    print(f"{kills} kills, {repeats} repeats of {4 * n} answers, {time.monotonic() - start:.0f} s")


REQUEST = Request("ift/a/1", ({"role": "user", "content": "1 + 1?"},), 64, temperature=0.6)


def test_a_damaged_answer_is_no_answer(tmp_path: Path) -> None:
    store = AnswerStore(tmp_path / "answers.sqlite")
    keys = [answer_key("m", REQUEST, sample) for sample in range(3)]
    store.add((key, {"text": str(i)}) for i, key in enumerate(keys))
    store.database.execute("update answers set answer = replace(answer, '1', '2') where key = ?", (keys[1],))
    again = AnswerStore(tmp_path / "answers.sqlite")
    assert [again.get(key) for key in keys] == [{"text": "0"}, None, {"text": "2"}]


def test_an_answer_depends_on_all_that_it_is_drawn_from() -> None:
    def other(**changed: object) -> bytes:
        return answer_key("m", Request(**{**REQUEST.__dict__, **changed}), 0)

    keys = [
        other(), answer_key("n", REQUEST, 0), answer_key("m", REQUEST, 1), other(seed=1), other(temperature=0.7), other(top_p=0.5),
        other(budget=65), other(thinking=True), other(messages=({"role": "user", "content": "1 + 2?"},)),
    ]  # fmt: skip
    assert len(set(keys)) == len(keys)


FAULTY = {
    ("\\boxed{4}", "stop", "ift"): None,
    ("\\boxed{4}", "stop", "reasoning"): "no_trace",
    ("<think>2+2</think>\\boxed{4}", "stop", "reasoning"): None,
    ("<think>2+2</think>\\boxed{4}", "stop", "ift"): "trace_in_direct_answer",
    ("<think>\n</think>\\boxed{4}", "stop", "ift"): None,
    ("<think>2+2", "stop", "reasoning"): "unclosed_trace",
    ("<think>2+2</think>", "stop", "reasoning"): "no_answer_after_trace",
    ("<think>2+2</think>\\boxed{4}", "length", "reasoning"): "truncated",
    ("  ", "stop", "ift"): "empty",
    ("I'm sorry, but I can't help with that.", "stop", "ift"): "refusal",
    ("<think>" + "wait, let me check again. " * 40 + "</think>4", "stop", "reasoning"): None,
    ("the answer is not clear. " * 40, "stop", "ift"): "loop",
    ("<think>" + "so then it is three or four " * 200 + "</think>4", "stop", "reasoning"): "loop",
    ("答案是四，因为二加二等于四。", "stop", "ift"): "other_script",
    ("α + β = 4", "stop", "ift"): None,
}


@pytest.mark.parametrize(("case", "name"), FAULTY.items())
def test_what_is_wrong_with_an_answer(case: tuple[str, str, str], name: str | None) -> None:
    text, stop, mode = case
    assert fault(text, stop, taken_apart(text, mode, "tags"), mode, "What is 2 + 2?") == name


def test_steps_without_tags_are_a_trace() -> None:
    parts = taken_apart("First, 2 + 2.\n\nThat is 4.\n\n\\boxed{4}", "reasoning", "steps")
    assert (parts.think, parts.answer) == ("First, 2 + 2.\n\nThat is 4.", "\\boxed{4}")
    assert taken_apart("\\boxed{4}", "reasoning", "steps").think is None
    assert taken_apart("a\n\nb", "ift", "steps").answer == "a\n\nb"


CANDIDATES = st.lists(
    st.builds(
        Candidate, st.just(Parts(None, "", None, closed=True)), st.integers(1, 9), st.booleans(), st.sampled_from(["1", "2", None])
    ),
    min_size=1, max_size=6,
)  # fmt: skip


@given(CANDIDATES)
def test_picks(candidates: list[Candidate]) -> None:
    right = [c for c in candidates if c.right]
    first, shortest, majority = (pick(candidates, how) for how in ("first", "shortest", "majority"))
    assert first is (right or candidates)[0]
    assert shortest.tokens == min(c.tokens for c in right or candidates)
    said = [c.says for c in candidates if c.says is not None]
    assert not said or said.count(majority.says) == max(map(said.count, said))
