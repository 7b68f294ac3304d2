"""Evaluation settings on the command line: samples, solved examples, limits, templates."""

import json
import re
import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest
from conftest import command, done, reshaped, started
from teacher import Teacher

from eval.benchmarks import load
from eval.config import Config, inputs
from eval.pilot import pilot_requests
from ratiocine import cli
from ratiocine.config import identity
from ratiocine.data import FAMILIES
from ratiocine.runs import read_manifest, run_hash
from ratiocine.stores import CompletionStore, read_completions

ROWS = [
    {"id": f"q{i}", "question": f"What is {i} + {i}?", "answer": str(2 * i), "kind": "number"}
    for i in range(8)
]


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    file = tmp_path / "mine.jsonl"
    file.write_text("\n".join(map(json.dumps, ROWS)))
    return file


def test_samples_are_scored_by_problem_and_a_killed_run_makes_only_those_that_lack(
    mine: Path, tmp_path: Path
) -> None:
    words = (
        "model=tiny",
        f"benchmarks=[{mine}]",
        "temperature=1",
        "samples=4",
        "max_new_tokens=6",
        "logprobs=true",
    )
    done("eval", *words, f"out={tmp_path / 'whole'}")
    rows = list(read_completions(tmp_path / "whole" / "completions.jsonl"))
    assert [(row.id, row.sample) for row in rows] == [
        (f"q{i}", s) for i in range(8) for s in range(4)
    ]
    assert all(len(row.logprobs) == len(row.token_ids) == row.n_completion for row in rows)
    scores = json.loads((tmp_path / "whole" / "scores.json").read_text())["benchmarks"]["mine"]
    assert (scores["n"], scores["samples"], list(scores["pass_at"])) == (8, 4, ["1", "2", "4"])
    shutil.copytree(tmp_path / "whole", tmp_path / "half")
    for name in ("DONE", "manifest.json", "scores.json", "completions.jsonl"):
        (tmp_path / "half" / name).unlink()
    CompletionStore(tmp_path / "half" / "completions.partial.jsonl").append(rows[::3])
    done("eval", *words, f"out={tmp_path / 'half'}")
    again = list(read_completions(tmp_path / "half" / "completions.jsonl"))
    assert [row.completion for row in again] == [row.completion for row in rows]
    assert [row.seconds for row in again[::3]] == [row.seconds for row in rows[::3]]
    page = tmp_path / "r.html"
    done("eval.report", str(tmp_path / "whole"), str(tmp_path / "half"), "--out", str(page))
    assert "pass@4" in page.read_text()
    assert "4 samples at temperature 1" in page.read_text()


def test_solved_examples_come_first_and_are_not_scored(mine: Path, tmp_path: Path) -> None:
    words = ("model=tiny", f"benchmarks=[{mine}]", "max_new_tokens=2")
    done("eval", *words, f"out={tmp_path / 'none'}")
    done("eval", *words, "num_fewshot=3", f"out={tmp_path / 'three'}")
    none, three = (
        {r.id: r for r in read_completions(tmp_path / n / "completions.jsonl")}
        for n in ("none", "three")
    )
    manifest = json.loads((tmp_path / "three" / "manifest.json").read_text())
    shown = manifest["dropped"]["mine"]["shown_as_example"]
    assert (manifest["num_fewshot"], len(shown), len(none)) == ({"mine": 3}, 3, 8)
    assert set(three) == set(none) - set(shown)
    answers = {row["id"]: row["answer"] for row in ROWS}
    turns = (f"user\n{none[i].prompt}assistant\n\\boxed{{{answers[i]}}}" for i in shown)
    extra = sum(
        len(turn) + 2 * len("\n") + 4 for turn in turns
    )  # each of the four markers is one token
    assert all(row.n_prompt == none[name].n_prompt + extra for name, row in three.items())


def test_a_budget_of_a_benchmark_is_part_of_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a file's, and may be changed there."""
    asked = cli.compose("eval", Config, ["model=tiny", "benchmarks=demo"])
    before, found = run_hash("eval", identity(asked), inputs(asked)), asked.sources()
    changed = [data.model_copy(update={"max_new_tokens": 7}) for data in found]
    monkeypatch.setattr(Config, "sources", lambda self: changed)
    assert run_hash("eval", identity(asked), inputs(asked)) != before


def test_what_means_nothing_is_refused(mine: Path, tmp_path: Path) -> None:
    for words, wrong in {
        ("samples=4",): "samples=4 needs temperature above 0",
        ("top_p=0.9",): "top_p=0.9 has no effect at temperature=0",
        ("temperature=-1",): "temperature=-1: should be greater than or equal to 0",
        (
            "engine=vlm",
        ): "unknown engine 'vlm'; known: openai, transformers, vllm; did you mean 'vllm'?",
        ("engine.base_url=http://x/v1",): "unknown key 'engine.base_url'",
        ("thinking=true",): "has no switch (enable_thinking)",
    }.items():
        refused = command(
            "eval", "model=tiny", f"benchmarks=[{mine}]", *words, f"out={tmp_path / 'out'}"
        )
        assert (refused.returncode, wrong in refused.stderr) == (2, True), refused.stderr
        assert len(refused.stderr.strip().splitlines()) == 1


def test_a_model_without_a_chat_template_is_told_which_to_give(
    student: Path, mine: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "base"
    shutil.copytree(student / "model", folder)
    (folder / "chat_template.jinja").unlink()
    (folder / "rendering.json").unlink()  # as a model comes that was not taught here
    words = (
        f"model={folder}",
        f"benchmarks=[{mine}]",
        "max_new_tokens=2",
        f"out={tmp_path / 'out'}",
    )
    refused = command("eval", *words)
    assert (
        refused.returncode,
        f"model={folder} has no chat template; for a base model give model.chat_template=plain"
        in refused.stderr,
    ) == (2, True)
    done("eval", *words, "model.chat_template=plain", "num_fewshot=2")


@pytest.mark.slow
@pytest.mark.model
def test_a_smaller_budget_scores_what_a_run_with_it_scores(tmp_path: Path) -> None:
    words = ("benchmarks=demo", "limit=1")
    for budget in (20, 60):
        done("eval", *words, f"max_new_tokens={budget}", f"out={tmp_path / str(budget)}")
    said = done(
        "eval.budgets",
        str(tmp_path / "60"),
        "--tokens",
        "20",
        "60",
        "--out",
        str(tmp_path / "b.html"),
    )
    found = json.loads((tmp_path / "b.json").read_text())["curves"]["smollm2-135m (untrained)"]
    for point, budget in zip(found, (20, 60), strict=True):
        scores = json.loads((tmp_path / str(budget) / "scores.json").read_text())["all"]
        assert (point["cap"], point["accuracy"], point["cut"]) == (
            budget,
            scores["accuracy"],
            scores["truncated"],
        )
        assert point["tokens"] == pytest.approx(scores["completion_tokens"], abs=0.01)
    assert "95 %" in said
    assert (tmp_path / "b.html").read_text().count("<svg") == 2
    done(
        "eval.budgets",
        str(tmp_path / "60"),
        "--max-thinking-tokens",
        "5",
        "--out",
        str(tmp_path / "t.html"),
    )
    refused = command(
        "eval.budgets", str(tmp_path / "60"), "--tokens", "0", "--out", str(tmp_path / "x.html")
    )
    assert (refused.returncode, "a cap of 0 tokens is none" in refused.stderr) == (2, True)
    page = ("--out", str(tmp_path / "x.html"))
    beyond = command("eval.budgets", str(tmp_path / "60"), "--tokens", "61", *page)
    assert (beyond.returncode, len(beyond.stderr.splitlines())) == (2, 1), beyond.stderr
    assert "a cap of 61 tokens was not measured" in beyond.stderr
    refused = command("eval.budgets", str(tmp_path / "60"), "--out", str(tmp_path / "x.json"))
    assert (refused.returncode, "give the page another ending" in refused.stderr) == (2, True)


TWELVE = (
    "mmlu-misc,winogrande,openbookqa,squad,coqa,ifeval,mmlu-math,mmlu-pro-math,aqua-rat,gsm8k,"
    "math-500,aime,aime-2024"
)


@pytest.mark.slow
def test_all_benchmarks_survive_three_kills(benchmarks: Path, tmp_path: Path) -> None:
    """Killed at random moments; every stored completion stays and is not generated again."""
    import random
    import signal
    import time

    words = (
        "eval",
        "model=tiny",
        f"benchmarks=[{TWELVE}]",
        f"data_dir={benchmarks}",
        "limit=40",
        "max_new_tokens=24",
        "engine.max_batch_size=16",
    )
    done(*words, f"out={tmp_path / 'whole'}")
    draw, partial, kept = (
        random.Random(0),
        tmp_path / "killed" / "completions.partial.jsonl",
        dict[str, dict](),
    )
    for _ in range(3):
        process = started(*words, f"out={tmp_path / 'killed'}")
        while not (partial.exists() and partial.stat().st_size) and process.poll() is None:
            time.sleep(0.01)
        time.sleep(draw.uniform(0.2, 2.0))
        process.send_signal(signal.SIGKILL)
        process.wait()
        now = {row.key: row for row in CompletionStore(partial).rows}
        assert {key: now.get(key) for key in kept} == kept
        kept = now
    done(*words, f"out={tmp_path / 'killed'}")
    whole, killed = (
        {r.key: r for r in read_completions(tmp_path / n / "completions.jsonl")}
        for n in ("whole", "killed")
    )
    assert {key: killed[key] for key in kept} == kept
    assert {key: row.completion for key, row in killed.items()} == {
        key: row.completion for key, row in whole.items()
    }
    print(f"{len(kept)} of {len(whole)} answers were there after the third kill")


@pytest.mark.slow
def test_two_processes_of_a_ray_cluster_give_the_same_answers(
    student: Path, tmp_path: Path
) -> None:
    words = (
        "eval",
        f"model={student / 'model'}",
        "benchmarks=demo",
        "limit=20",
        "max_new_tokens=8",
        "threads=1",
    )
    done(*words, f"out={tmp_path / 'one'}")
    done(*words, "executor=ray", f"out={tmp_path / 'two'}")
    one, two = (
        {
            row.key: (row.completion, row.verdict, row.n_completion)
            for row in read_completions(tmp_path / name / "completions.jsonl")
        }
        for name in ("one", "two")
    )
    assert len(one) == 160
    assert one == two
    assert {"dtype", "shape"} <= json.loads((tmp_path / "two" / "manifest.json").read_text()).keys()


class Writer(Teacher):
    """Answers with 10 tokens and more, by the numbers of the question; from 200 on it ends no
    answer."""

    def answer(self, prompt: str, thinks: bool | None) -> dict:
        number = int(re.findall(r"\d+", prompt)[0])
        limit, n = self.bodies[-1]["max_tokens"], 10 + number if number < 200 else 10**9
        reason = "length" if n > limit else "stop"
        usage = {"prompt_tokens": 9, "completion_tokens": min(n, limit)}
        message = {"content": f"\\boxed{{{number}}}"}
        return {"choices": [{"message": message, "finish_reason": reason}], "usage": usage}


def numbered(file: Path, numbers: Iterable[int]) -> Path:
    rows = ({"question": f"{n}?", "answer": str(n), "kind": "number"} for n in numbers)
    file.write_text("\n".join(map(json.dumps, rows)))
    return file


def test_a_pilot_proposes_the_limit_that_is_then_part_of_the_run(tmp_path: Path) -> None:
    """Of 30 problems: 29 answers of 10 to 38 tokens, and one that never ends."""
    file, out = numbered(tmp_path / "mine.jsonl", [*range(29), 500]), tmp_path / "scores"
    with Writer() as server:
        engine = ("engine=openai", f"engine.base_url={server.url}", "engine.model=adder")
        words = ("eval", *engine, f"benchmarks=[{file}]", "max_new_tokens=auto", f"out={out}")
        shown = done(*words)
        assert "max_new_tokens=48 (auto): at least 98% of the 29 pilot answers" in shown
        assert "Warning: 1 of 30 pilot answers did not end within the cap of 2,048" in shown
        assert sum(server.calls.values()) == 60
        limits = [body["max_tokens"] for body in server.bodies]
        assert Counter(limits) == {2048: 30, 48: 30}
        manifest = read_manifest(out)
        assert manifest.identity["max_new_tokens"] == 48
        assert manifest.evaluation.pilot is not None
        assert (manifest.evaluation.pilot.n, manifest.evaluation.pilot.n_cut) == (30, 1)
        assert manifest.evaluation.max_new_tokens == 48
        again = done(*words)
        assert "is finished" in again and sum(server.calls.values()) == 60, "no second pilot"
        shutil.rmtree(out)
        done(*words)
        assert sum(server.calls.values()) == 90, "the stored pilot is used"
        number = [word.replace("=auto", "=48").replace(str(out), f"{out}-48") for word in words]
        done(*number)
        assert read_manifest(Path(f"{out}-48")).hash == manifest.hash
        numbered(file, [*range(5), *range(500, 506)])
        refused = command(*words[:-1], f"out={tmp_path / 'loops'}")
    assert (refused.returncode, len(refused.stderr.splitlines()[-1:])) == (1, 1)
    assert "only 5 of 11 pilot answers ended within the cap of 2,048 tokens" in refused.stderr


@pytest.mark.parametrize(("context", "cap"), [(512, 512), (40_000, 16_384)])
def test_a_pilot_of_a_local_model_is_capped_by_its_context(
    context: int, cap: int, student: Path, mine: Path, tmp_path: Path
) -> None:
    """And not by the benchmark's limit, which would cut the answers that the pilot looks for."""
    model = reshaped(student, tmp_path / "model", max_position_embeddings=context)
    words = [f"model={model}", f"benchmarks=[{mine}]", "max_new_tokens=auto"]
    config = cli.compose("eval", Config, words)
    assert {config.max_new_tokens_of(data) for data in config.sources()} == {2048}
    assert {one.max_new_tokens for one in pilot_requests(config, load(config))} == {cap}


def test_a_limit_is_a_number_or_auto(mine: Path) -> None:
    for value in ("lots", "0", "1.5"):
        words = ("eval", "model=tiny", f"benchmarks=[{mine}]", f"max_new_tokens={value}")
        refused = command(*words)
        assert refused.returncode == 2
        assert refused.stderr.count("\n") == 1
        assert "should be a number of tokens above 0, auto or null" in refused.stderr
    for verb in (("distill", "teacher=reference"), ("rl", "model=tiny")):
        refused = command(*verb, "max_new_tokens=auto")
        assert refused.returncode == 2 and refused.stderr.count("\n") == 1
        assert "tokens above 0; only eval finds one: python -m eval model=…" in refused.stderr
    study = ("launch", "study=ratio_sweep", "study.grid.max_new_tokens=auto", "dry_run=true")
    refused = command(*study)
    assert refused.returncode == 2 and refused.stderr.count("\n") == 1
    assert "all evaluations of a study need one number" in refused.stderr


def test_chance_counts_the_answers_that_a_question_allows(mine: Path) -> None:
    words = ("model=tiny", "limit=4", f"benchmarks=[demo,'{mine}']")
    found = load(cli.compose("eval", Config, words)).chance
    assert found["chain_sum"] == FAMILIES["chain_sum"].guess == 0.025
    assert found["mine"] == 0, "an open question of unknown answers"
    options = load(cli.compose("eval", Config, ("model=tiny", "benchmarks=domains"))).problems
    of_four = [one.source for one in options.values() if len(one.choices) == 4]
    chance = load(cli.compose("eval", Config, ("model=tiny", "benchmarks=domains"))).chance
    assert of_four and all(chance[name] == 0.25 for name in set(of_four))
