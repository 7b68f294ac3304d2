"""Pairs from a teacher that is a model: asked in two modes, over a server that fails, killed and
resumed."""

import contextlib
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
import zlib
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import ROOT, command, done, started
from hypothesis import given
from hypothesis import strategies as st
from teacher import Teacher, words

from distill.answer_cache import Answer, AnswerCache, answer_key
from distill.answer_selection import Candidate, select_answer
from distill.config import Config
from distill.rejection_rules import fault, parts_of
from ratiocine import cli
from ratiocine.completion_parts import Parts, split
from ratiocine.engines import OpenAIConfig, OpenAIEngine, Request
from ratiocine.errors import BadInput
from ratiocine.records import Problem
from ratiocine.rewards import RewardConfig
from ratiocine.stores import read_pairs

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


def manifest(out: Path) -> dict:
    return json.loads((out / "manifest.json").read_text())


@pytest.mark.parametrize("inline", [False, True])
def test_both_modes_of_one_teacher_become_whole_pairs(
    inline: bool, sums: Path, tmp_path: Path
) -> None:
    with Teacher(inline=inline, wrong=0.2) as teacher:
        out = tmp_path / "run"
        done(*words(teacher, sums, out))
        pairs, told = read_pairs(out / "pairs.parquet"), manifest(out)
        assert all(
            b["temperature"] == 0.6 and b["top_p"] == 0.95 and b["max_tokens"] == 8192
            for b in teacher.bodies
        )
        asked = {
            mode: {
                b["messages"][0]["content"]
                for b in teacher.bodies
                if b["chat_template_kwargs"]["enable_thinking"] is on
            }
            for mode, on in (("ift", False), ("reasoning", True))
        }
        assert asked["ift"] == asked["reasoning"]
    assert len(asked["ift"]) == N
    wrong = told["dropped"]["wrong_ift"]
    assert 0 < wrong < N / 2
    assert len(pairs) == told["n"] == N - wrong
    for pair in pairs:
        assert f"\\boxed{{{pair.reference}}}" == pair.ift
        assert split(pair.reasoning).think.endswith(f"is {pair.reference}")
        assert split(pair.reasoning).answer == pair.ift
    assert told["answers"]["ift"]["outcomes"] == {"right": N - wrong, "wrong": wrong}
    assert told["answers"]["reasoning"]["outcomes"] == {"right": N}
    assert sum(of for _, of in told["by_level"].values()) == N
    card = (out / "README.md").read_text()
    assert f"| right | {N - wrong} | {N} |" in card
    assert "the same in both modes" in card
    assert "adder" in card


def test_verify_promises_what_it_says(sums: Path, tmp_path: Path) -> None:
    """Each side is right exactly where the promise says, and the sets that it allows are
    complete."""
    with Teacher(wrong=0.4, wrong_thinking=0.4) as teacher:
        kept = {}
        for verify in ("both", "reasoning", "either", "none"):
            done(*words(teacher, sums, tmp_path / verify, f"verify={verify}"))
            kept[verify] = read_pairs(tmp_path / verify / "pairs.parquet")
        assert sum(teacher.calls.values()) == 2 * N, "answers are shared by all runs"
    right = {
        pair.id: tuple(split(side).boxed == pair.reference for side in (pair.ift, pair.reasoning))
        for pair in kept["none"]
    }
    assert set(right.values()) == {(True, True), (True, False), (False, True), (False, False)}
    promised = {
        "both": lambda ift, reasoning: ift and reasoning,
        "reasoning": lambda ift, reasoning: reasoning,
        "either": lambda ift, reasoning: ift or reasoning,
        "none": lambda ift, reasoning: True,
    }
    for verify, holds in promised.items():
        assert {pair.id for pair in kept[verify]} == {
            name for name, sides in right.items() if holds(*sides)
        }
    questions = {f"{i}": f"What is {i} + {i * i}?" for i in range(N)}
    assert all(pair.prompt.splitlines()[-1] == questions[pair.id] for pair in kept["none"])


def test_rates_and_what_is_left_out_account_for_every_problem(sums: Path, tmp_path: Path) -> None:
    with Teacher(wrong=0.4, wrong_thinking=0.4) as teacher:
        done(*words(teacher, sums, tmp_path / "first", "samples=2"))
        done(
            *words(
                teacher,
                sums,
                tmp_path / "guessed",
                "verify=reasoning",
                f"select.pass_rates=[{{run: '{tmp_path / 'first'}', mode: ift, max_rate: 0}}]",
            )
        )
        done(
            *words(
                teacher,
                sums,
                tmp_path / "own",
                "verify=reasoning",
                "select.pass_rates=[{mode: ift, max_rate: 0}]",
            )
        )
    first, left = (
        lines(tmp_path / "first" / name) for name in ("pass_rates.jsonl", "rejected.jsonl")
    )
    assert len(first) == N
    assert len(left) + manifest(tmp_path / "first")["n"] == N
    guessed = {row["key"] for row in first if row["ift"][0]}
    assert 0 < len(guessed) < N
    for how in ("guessed", "own"):
        told = manifest(tmp_path / how)
        assert told["dropped"]["pass_rate"] == len(guessed)
        assert not guessed & {
            f"{pair.source}/{pair.id}" for pair in read_pairs(tmp_path / how / "pairs.parquet")
        }


def lines(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.mark.parametrize(("switch", "message"), [("suffix", "user"), ("system", "system")])
def test_switches_reach_the_server(switch: str, message: str, sums: Path, tmp_path: Path) -> None:
    """The scripted teacher knows no such switch: it always answers directly, and the reasoning side
    has no trace."""
    with Teacher() as teacher:
        refused = command(
            *words(teacher, sums, tmp_path / "run", f"thinking_prompt={switch}", "limit=3")
        )
        assert (refused.returncode, "no_usable_reasoning" in refused.stderr) == (2, True)
        said = {
            next(m["content"] for m in body["messages"] if m["role"] == message)
            for body in teacher.bodies
        }
    ends = {"suffix": ("/think", "/no_think"), "system": ("thinking on", "thinking off")}[switch]
    assert all(text.endswith(ends) for text in said)
    assert all(any(text.endswith(end) for text in said) for end in ends)
    assert all("chat_template_kwargs" not in body for body in teacher.bodies)


def test_a_budget_stops_cleanly_and_goes_on(sums: Path, tmp_path: Path) -> None:
    """Whatever the concurrency, at most one answer at its limit, of 50, comes on top."""
    with Teacher(delay=0.03) as teacher:
        more = ("price.completion=1000000", "price.prompt=1", "max_new_tokens=50")
        stopped = command(
            *words(
                teacher,
                sums,
                tmp_path / "run",
                *more,
                "samples=2",
                "max_spend.money=300",
            )
        )
        assert stopped.returncode == 1
        cost = re.search(r", cost ([\d.]+); they are safe", stopped.stderr)
        assert cost and 300 <= float(cost[1]) < 350
        assert 2 < teacher.most <= 6, "300 is as much as 6 open calls may cost"
        assert "max_spend.money=300 is used up" in stopped.stderr.splitlines()[-1]
        teacher.most = 0
        continued = command(*words(teacher, sums, tmp_path / "run", *more))
        assert continued.returncode == 0, continued.stderr
        first, *_, last = re.findall(rf"distill: .* (\d+)/{2 * N} \[", continued.stderr)
        assert 0 < int(first) < int(last) == 2 * N, "the bar starts at the answers in the cache"
        assert set(teacher.calls.values()) == {1} and teacher.most > 6
    spent = manifest(tmp_path / "run")["spent"]
    assert spent == {
        "prompt": 18 * N,
        "completion": 25 * N,
        "money": pytest.approx(25 * N + 18 * N / 1e6, abs=1e-3),
    }


def test_a_budget_stops_a_local_model_too(tmp_path: Path) -> None:
    """It has been given all requests by then."""
    stopped = command(
        "distill",
        "teacher=transformers",
        "teacher.model=tiny",
        "teacher.engine.max_batch_size=2",
        "thinking_prompt=template",
        "limit=2",
        "max_new_tokens=6",
        "max_spend.tokens=1",
        "model=tiny",
        f"answer_cache={tmp_path / 'answers.sqlite'}",
        f"out={tmp_path / 'run'}",
    )
    assert stopped.returncode == 1
    assert "max_spend.tokens=1 is used up" in stopped.stderr.splitlines()[-1]
    (count,) = (
        sqlite3.connect(tmp_path / "answers.sqlite")
        .execute("select count(*) from answers")
        .fetchone()
    )
    assert 1 <= count <= 2


def test_what_was_refused_can_be_asked_again_alone(tmp_path: Path) -> None:
    file = tmp_path / "some.jsonl"
    file.write_text(
        "".join(
            json.dumps(
                {
                    "id": str(i),
                    "question": f"What is {i} + 2{', but too long' * (i == 1)}?",
                    "answer": str(i + 2),
                    "kind": "number",
                }
            )
            + "\n"
            for i in range(3)
        )
    )
    with Teacher() as teacher:
        done(*words(teacher, file, tmp_path / "first"))
        teacher.context = False
        done(*words(teacher, file, tmp_path / "same"))
        assert manifest(tmp_path / "same")["n"] == 2
        before = sum(teacher.calls.values())
        done(*words(teacher, file, tmp_path / "again", "retry_refused=true"))
        assert sum(teacher.calls.values()) == before + 2
    assert manifest(tmp_path / "again")["n"] == 3


def test_published_pairs_come_in_as_pairs(tmp_path: Path) -> None:
    rows = [
        {"prompt": "What is 1 + 1?", "reasoning": "<think>\nOne more.\n</think>\n\n2", "ift": "2"},
        {"prompt": "What is 2 + 1?", "reasoning": "<think>\nOne more", "ift": "3"},
        {"prompt": "What is 1 + 1? ", "reasoning": "<think>\nAgain.\n</think>\n\n2", "ift": "2"},
        {
            "prompt": "Which?\nA. one\nB. two\nC. three",
            "reasoning": "<think>\nB.\n</think>\n\n\\boxed{B}",
            "ift": "\\boxed{B}",
        },
        {
            "prompt": "Which one?",
            "reasoning": "<think>\nB.\n</think>\n\n\\boxed{B}",
            "ift": "\\boxed{A}",
        },
    ]
    repository = tmp_path / "hub"
    repository.mkdir()
    pq.write_table(pa.Table.from_pylist(rows), repository / "reasoning_ift_pairs-0.parquet")
    (repository / "README.md").write_text(
        "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: reasoning_ift_pairs\n    "
        "path: reasoning_ift_pairs-*\n---\n"
    )
    out = tmp_path / "run"
    done(
        "distill",
        "teacher=published",
        "data=general-reasoning-ift-pairs",
        f"data.hub.repo={repository}",
        "model=tiny",
        f"out={out}",
    )
    first, second = read_pairs(out / "pairs.parquet")
    assert (first.prompt, first.ift, first.reasoning) == (
        rows[0]["prompt"],
        rows[0]["ift"],
        rows[0]["reasoning"],
    )
    assert (first.category, second.category) == ("general-oe", "general-mc")
    assert manifest(out)["dropped"] == {
        "repeated": 1,
        "no_usable_reasoning": 1,
        "modes_disagree": 1,
    }
    assert manifest(out)["answers"]["reasoning"]["outcomes"]["unclosed_trace"] == 1
    copy = tmp_path / "copy.parquet"
    pq.write_table(pa.Table.from_pylist(rows), copy)
    done(
        "distill",
        "teacher=published",
        "data=general-reasoning-ift-pairs",
        f"data.path={copy}",
        "model=tiny",
        f"out={tmp_path / 'b'}",
    )
    assert [p.prompt for p in read_pairs(tmp_path / "b" / "pairs.parquet")] == [
        first.prompt,
        second.prompt,
    ]
    refused = command(
        "distill",
        "teacher=published",
        f"data={copy}",
        "data.columns={question: promt}",
        f"out={tmp_path / 'c'}",
    )
    assert (
        refused.returncode,
        "no column 'promt'; there are prompt, reasoning, ift" in refused.stderr,
    ) == (2, True)
    refused = command(
        "distill",
        "teacher=published",
        f"data={copy}",
        "data.columns={question: prompt}",
        f"out={tmp_path / 'c'}",
    )
    assert (
        refused.returncode,
        "both answers of a row are taken from columns" in refused.stderr,
    ) == (2, True)


def test_a_local_model_is_a_teacher(tmp_path: Path) -> None:
    """It is tiny and untrained: no answer of it can be kept, and the command says so once all have
    been given."""
    refused = command(
        "distill",
        "teacher=transformers",
        "teacher.model=tiny",
        "thinking_prompt=template",
        "data=demo",
        "limit=1",
        "max_new_tokens=6",
        "model=tiny",
        f"answer_cache={tmp_path / 'answers.sqlite'}",
        f"out={tmp_path / 'run'}",
    )
    assert refused.returncode == 2
    assert (
        "gave no pair; rejected: {'no_usable_ift_reasoning': 8}" in refused.stderr.splitlines()[-1]
    )
    count = (
        sqlite3.connect(tmp_path / "answers.sqlite")
        .execute("select count(*) from answers")
        .fetchone()
    )
    assert count == (16,)


def test_a_busy_server_is_asked_fewer_things_at_once() -> None:
    with Teacher(delay=0.05) as teacher:
        teacher.busy = 30
        engine = OpenAIEngine(
            OpenAIConfig(name="openai", base_url=teacher.url, model="adder", concurrency=32)
        )
        requests = [
            Request(str(i), ({"role": "user", "content": f"{i} + 1?"},), 9) for i in range(40)
        ]
        started = time.monotonic()
        assert len([trace for traces in engine.generate(requests) for trace in traces]) == 40
        assert time.monotonic() - started >= 1, "Retry-After is not kept to"
        assert engine.limiter.limit < 32
        assert engine.retries["HTTP 503"] == 30


def test_more_samples_ask_only_for_what_is_new(sums: Path, tmp_path: Path) -> None:
    with Teacher() as teacher:
        done(*words(teacher, sums, tmp_path / "one"))
        done(*words(teacher, sums, tmp_path / "three", "samples=3"))
        assert sorted(teacher.calls.values()) == [1] * 6 * N


def test_cached_answers_are_told_from_those_of_a_server(sums: Path, tmp_path: Path) -> None:
    """The key has the model's name, not the address."""
    with Teacher() as teacher, Teacher() as other:
        first = command(*words(teacher, sums, tmp_path / "one"))
        assert "from the cache" not in first.stdout and not first.stderr.count("warning")
        again = command(*words(teacher, sums, tmp_path / "two", "samples=1", "verify=none"))
        cache = f"{2 * N} of {2 * N} answers from the cache {tmp_path / 'answers.sqlite'}"
        assert cache in again.stdout and "warning" not in again.stderr
        moved = command(*words(other, sums, tmp_path / "three", "verify=reasoning"))
        assert cache in moved.stdout and not other.calls
        assert f"warning: {2 * N} of them were given by {teacher.url}" in moved.stderr
        other.url = "http://127.0.0.1:9/v1"
        down = command(*words(other, sums, tmp_path / "four", "verify=either"))
        assert down.returncode == 0 and "127.0.0.1:9/v1 does not answer" in down.stderr
        again = command(*words(other, sums, tmp_path / "three", "verify=reasoning"))
        assert f"is finished; no call was made to {other.url}" in again.stdout


def test_an_interrupt_says_that_answers_are_kept(sums: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with Teacher(delay=0.05) as teacher:
        more = ("teacher.engine.concurrency=1",)
        process = started(*words(teacher, sums, out, *more), err=tmp_path / "stderr")
        while sum(teacher.answered.values()) < 5 and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    line = (tmp_path / "stderr").read_text().splitlines()[-1]
    kept = f"answers are safe in {tmp_path / 'answers.sqlite'}"
    told = rf"distill: interrupted; the same command continues {out}; (\d+) of {2 * N} {kept}"
    found = re.fullmatch(told, line)
    assert found and 1 <= int(found[1]) < 2 * N, line


@pytest.mark.parametrize("draws", [False, True])
def test_a_teacher_that_does_not_sample_is_noticed(draws: bool, sums: Path, tmp_path: Path) -> None:
    with Teacher() as teacher:
        teacher.draws = draws
        said = command(*words(teacher, sums, tmp_path / "run", "samples=2")).stderr
    assert said.count("word for word the same: does the teacher sample?") == (not draws)
    for told in manifest(tmp_path / "run")["answers"].values():
        assert told["problems_with_equal_answers"] == (0 if draws else N)


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
    assert told["answers"]["ift"]["outcomes"] == {"right": 2, "refused_by_server": 1}


def test_a_model_that_is_not_there(sums: Path, tmp_path: Path) -> None:
    with Teacher() as teacher:
        refused = command(*words(teacher, sums, tmp_path / "run"), "teacher.engine.model=other")
        assert refused.returncode == 2
        assert "models of this server: adder" in refused.stderr.strip().splitlines()[-1]
        assert "Traceback" not in refused.stderr


def test_a_wrong_key_is_named_by_its_variable_and_never_shown(
    sums: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Teacher() as teacher:
        teacher.key = "the-right-one"
        told = words(teacher, sums, tmp_path / "run", "teacher.engine.api_key_env=TEACHER_KEY")
        absent = command(*told)
        assert absent.returncode == 2
        assert "api_key_env=TEACHER_KEY: there is no such environment variable" in absent.stderr
        monkeypatch.setenv("TEACHER_KEY", "a-secret-of-mine")
        refused = command(*told)
        assert refused.returncode == 2
        assert "TEACHER_KEY, which is set" in refused.stderr.splitlines()[-1]
        assert "[key]" in refused.stderr
        monkeypatch.setenv("TEACHER_KEY", "the-right-one")
        done(*told)
        assert "a-secret-of-mine" not in refused.stdout + refused.stderr
    for file in [*(tmp_path / "run").iterdir(), *tmp_path.glob("answers.sqlite*")]:
        assert b"the-right-one" not in file.read_bytes()


def test_a_confound_is_named(sums: Path, tmp_path: Path) -> None:
    with Teacher() as teacher:
        out = tmp_path / "run"
        done(*words(teacher, sums, out, "+thinking_prompt.ift.temperature=0.2", "limit=5"))
        assert {b["temperature"] for b in teacher.bodies} == {0.2, 0.6}
    assert manifest(out)["confounds"] == ["temperature"]
    assert "A CONFOUND" in (out / "README.md").read_text()


@pytest.mark.slow
def test_kills_and_a_server_that_fails_lose_nothing_and_repeat_little(tmp_path: Path) -> None:
    """2,000 prompts × 2 modes × 2 samples; 30 % of the calls fail, the run is killed ten times."""
    file, n, calls = many(tmp_path, 2000), 2000, 48
    more = ("samples=2", f"teacher.engine.concurrency={calls}", "teacher.engine.timeout=2")
    with Teacher(faults=0.3, delay=0.02) as teacher:
        start, out = time.monotonic(), tmp_path / "killed"
        import random

        moments, kills = random.Random(1), 0
        while kills < 10:
            child = subprocess.Popen(
                [sys.executable, "-m", *words(teacher, file, out, *more)],
                cwd=ROOT,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
            before = sum(teacher.calls.values())
            while child.poll() is None and sum(teacher.calls.values()) < before + moments.randint(
                100, 700
            ):
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


def many(folder: Path, n: int) -> Path:
    file = folder / "many.jsonl"
    file.write_text(
        "".join(
            json.dumps(
                {
                    "id": str(i),
                    "question": f"What is {i} + {3 * i}?",
                    "answer": str(4 * i),
                    "kind": "number",
                }
            )
            + "\n"
            for i in range(n)
        )
    )
    return file


@pytest.mark.slow
def test_a_disk_that_fills_stops_the_run_and_loses_nothing(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=60m", "tmpfs", small], capture_output=True, check=False
    ).returncode:
        pytest.skip("needs the right to mount a small disk")
    try:
        file, n = many(tmp_path, 1000), 1000
        with Teacher(delay=0.05) as teacher:
            more = (f"answer_cache={small / 'answers.sqlite'}", "teacher.engine.concurrency=16")
            child = subprocess.Popen(
                [sys.executable, "-m", *words(teacher, file, tmp_path / "run", *more)],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            while sum(teacher.calls.values()) < 300:
                assert child.poll() is None, child.stderr.read()
                time.sleep(0.02)
            with (
                open(small / "ballast", "wb", buffering=0) as ballast,
                contextlib.suppress(OSError),
            ):
                while ballast.write(b"0" * 4096):
                    pass
            _, said = child.communicate(timeout=120)
            assert child.returncode == 1
            assert "stored answers are safe: make room and run this again" in said.splitlines()[-1]
            assert "Traceback" not in said
            (small / "ballast").unlink()
            there = (
                sqlite3.connect(small / "answers.sqlite")
                .execute("select count(*) from answers")
                .fetchone()[0]
            )
            time.sleep(0.5)  # the calls that were under way are still answered
            before = sum(teacher.answered.values())
            assert there >= 200
            done(*words(teacher, file, tmp_path / "run", *more))
            assert sum(teacher.answered.values()) - before == 2 * n - there, (
                "what was durable was asked for again"
            )
        assert len(read_pairs(tmp_path / "run" / "pairs.parquet")) == n
    finally:
        subprocess.run(["umount", "-l", small], check=True)


@pytest.mark.slow
def test_a_ray_cluster_that_loses_a_worker_makes_the_same_pairs(tmp_path: Path) -> None:
    """2,000 prompts on two worker processes, one of which is killed midway."""
    file, n = many(tmp_path, 2000), 2000
    with Teacher(delay=0.05) as teacher:
        done(*words(teacher, file, tmp_path / "one" / "run", "teacher.engine.concurrency=16"))
        teacher.calls.clear()
        child = subprocess.Popen(
            [
                sys.executable,
                "-m",
                *words(
                    teacher,
                    file,
                    tmp_path / "two" / "run",
                    "executor=ray",
                    "teacher.engine.concurrency=8",
                ),
            ],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        while sum(teacher.calls.values()) < 1000:
            assert child.poll() is None, child.stderr.read()
            time.sleep(0.05)
        workers = [
            p
            for p in psutil.Process(child.pid).children(recursive=True)
            if "MapWorker" in " ".join(p.cmdline())
        ]
        assert len(workers) == 2
        workers[0].kill()
        _, said = child.communicate(timeout=600)
        assert child.returncode == 0, said[-2000:]
        assert len(teacher.calls) == 2 * n
        repeats = sum(teacher.calls.values()) - 2 * n
    assert 0 < repeats <= 2 * 128, "what was lost with a worker is asked again, and nothing else"
    assert (tmp_path / "two" / "run" / "pairs.parquet").read_bytes() == (
        tmp_path / "one" / "run" / "pairs.parquet"
    ).read_bytes()


@pytest.mark.slow
def test_calls_made_again_by_a_cluster_are_counted(sums: Path, tmp_path: Path) -> None:
    with Teacher(faults=0.2) as teacher:
        done(*words(teacher, sums, tmp_path / "run", "executor=ray", "teacher.engine.timeout=1"))
        again = sum(teacher.calls.values()) - 2 * N
    (told,) = manifest(tmp_path / "run")["asked"].values()
    assert again > 0
    # The HTTP client itself repeats a call on a kept connection that closes without an answer.
    assert again - teacher.gone <= sum(told["retries"].values()) <= again


REQUEST = Request("ift/a/1", ({"role": "user", "content": "1 + 1?"},), 64, temperature=0.6)


def answer(text: str) -> Answer:
    return Answer("ift/a/1", 0, text, "stop", 3, 9, 0.5, 0.6, 0.95, 64, 7)


def test_a_damaged_answer_is_no_answer(tmp_path: Path) -> None:
    cache = AnswerCache(tmp_path / "answers.sqlite")
    keys = [answer_key("m", REQUEST, sample) for sample in range(3)]
    cache.add((key, answer(f"text {i}")) for i, key in enumerate(keys))
    cache.database.execute(
        "update answers set answer = replace(answer, 'text 1', 'text 2') where key = ?", (keys[1],)
    )
    again = AnswerCache(tmp_path / "answers.sqlite")
    assert again.get(keys) == [answer("text 0"), None, answer("text 2")]
    assert again.get(keys[:1] * 70_000)[-1] == answer("text 0"), "however many are looked for"


def test_caches_of_earlier_releases_still_answer(tmp_path: Path) -> None:
    """The key and the row of one answer, as earlier releases stored them."""
    key = answer_key("adder", REQUEST, 2)
    assert key.hex() == "1142bb188d921ef4e0008571183b3ba1"
    greedy = Request(**{**REQUEST.__dict__, "temperature": 0.0, "thinking": True, "seed": 5})
    assert answer_key("adder", greedy, 0).hex() == "a7aaed433d818c7f17373b5c8c688084"
    row = (
        '{"id": "ift/a/1", "sample": 0, "text": "2", "stop": "stop", "n_prompt": 9, '
        '"n_completion": 3, "seconds": 0.5, "temperature": 0.6, "top_p": 0.95, "budget": 64, '
        '"seed": 7}'
    )
    cache = AnswerCache(tmp_path / "answers.sqlite")
    cache.database.execute(
        "insert into answers values (?, ?, ?)", (key, zlib.crc32(row.encode()), row)
    )
    assert cache.get([key]) == [answer("2")]
    assert Answer.from_json(answer("2").to_json()) == answer("2")


def test_an_answer_depends_on_all_that_it_is_drawn_from() -> None:
    def other(**changed: object) -> bytes:
        return answer_key("m", Request(**{**REQUEST.__dict__, **changed}), 0)

    keys = [
        other(),
        answer_key("n", REQUEST, 0),
        answer_key("m", REQUEST, 1),
        other(seed=1),
        other(temperature=0.7),
        other(top_p=0.5),
        other(max_new_tokens=65),
        other(thinking=True),
        other(messages=({"role": "user", "content": "1 + 2?"},)),
    ]
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
    assert fault(text, stop, parts_of(text, mode, "tags"), mode, "What is 2 + 2?") == name


def test_steps_without_tags_are_a_trace() -> None:
    parts = parts_of("First, 2 + 2.\n\nThat is 4.\n\n\\boxed{4}", "reasoning", "steps")
    assert (parts.think, parts.answer) == ("First, 2 + 2.\n\nThat is 4.", "\\boxed{4}")
    assert parts_of("\\boxed{4}", "reasoning", "steps").think is None
    assert parts_of("a\n\nb", "ift", "steps").answer == "a\n\nb"


CANDIDATES = st.lists(
    st.builds(
        Candidate,
        st.just(Parts(None, "", None, closed=True)),
        st.integers(1, 9),
        st.booleans(),
        st.sampled_from(["1", "2", None]),
    ),
    min_size=1,
    max_size=6,
)


@given(CANDIDATES)
def test_picks(candidates: list[Candidate]) -> None:
    right = [c for c in candidates if c.right]
    problem, reward = (
        Problem("1", "?", "1", "number", "math-oe", "p"),
        cli.named("reward", "short", RewardConfig),
    )
    first, shortest, majority = (
        select_answer(candidates, how, problem, reward) for how in ("first", "shortest", "majority")
    )
    assert first is (right or candidates)[0]
    assert shortest.tokens == min(c.tokens for c in right or candidates)
    said = [c.vote for c in candidates if c.vote is not None]
    assert not said or said.count(majority.vote) == max(map(said.count, said))


def test_a_reward_decides_among_answers(sums: Path, tmp_path: Path) -> None:
    """The same answers, picked by a reward: of a server that says everything in one way, the same
    pairs."""
    with Teacher(wrong=0.2) as teacher:
        for name, pick in (("first", ()), ("reward", ("answer_selection=reward", "reward=short"))):
            done(*words(teacher, sums, tmp_path / name, "samples=2", *pick))
        assert sum(teacher.calls.values()) == 4 * N
        assert read_pairs(tmp_path / "first" / "pairs.parquet") == read_pairs(
            tmp_path / "reward" / "pairs.parquet"
        )
        refused = command(*words(teacher, sums, tmp_path / "none", "reward=short"))
    assert refused.returncode == 2
    assert (
        "reward=short means nothing with answer_selection=first; try answer_selection=reward"
        in refused.stderr
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("answer_selection=reward", "samples=1"),
            "answer_selection=reward has one answer to choose from",
        ),
        (("reward.terms=[{name: levels}]",), "reward=r1 means nothing with answer_selection=first"),
        (
            ("answer_selection=reward", "reward.terms=[{name: binary}]"),
            "'binary' looks at a student's tags or tokens",
        ),
        (
            ("answer_selection=reward", "reward.terms=[{name: repetition, form: dense}]"),
            "'repetition' looks at a student's tags or tokens",
        ),
    ],
)
def test_a_reward_that_cannot_decide_is_refused(words: tuple[str, ...], message: str) -> None:
    asked = [
        "teacher=openai",
        "teacher.engine.base_url=http://x/v1",
        "teacher.engine.model=m",
        "samples=2",
    ]
    with pytest.raises(BadInput, match=message):
        cli.compose("distill", Config, [*asked, *words])


@given(
    st.lists(
        st.tuples(st.sampled_from(["\\boxed{1}", "\\boxed{2}", "none"]), st.integers(1, 9)),
        min_size=1,
        max_size=6,
    )
)
def test_the_pick_with_the_highest_reward(answers: list[tuple[str, int]]) -> None:
    """Right and short is worth most in `short`: what `shortest` picks, wherever an answer is
    right."""
    problem, reward = (
        Problem("1", "?", "1", "number", "math-oe", "p"),
        cli.named("reward", "short", RewardConfig),
    )
    candidates = [Candidate(split(text), n, text == "\\boxed{1}", None) for text, n in answers]
    best = select_answer(candidates, "reward", problem, reward)
    assert bool(best.right) == any(c.right for c in candidates)
    by_format = select_answer(
        candidates, "reward", problem, cli.named("reward", "e2h", RewardConfig)
    )
    assert bool(by_format.right) == bool(best.right), (
        "usable answers of either mode have its format"
    )
    if best.right:
        assert best.tokens == select_answer(candidates, "shortest", problem, reward).tokens
