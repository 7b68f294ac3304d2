"""Strategies on an engine: calls by hand, identities with ordinary evaluations, the command."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import command, done

from eval.config import Config
from ratiocine import cli, cost, models
from ratiocine.completion_parts import CLOSE, CLOSING, render
from ratiocine.deliberation import ACTED, deliberated
from ratiocine.engines import Request
from ratiocine.prompts import text_ids, user_text
from ratiocine.records import Completion, Problem, ScoredCompletion
from ratiocine.runs import read_manifest
from ratiocine.stores import read_completions
from ratiocine.strategies import (
    STRATEGIES,
    AdaptiveConsistency,
    BudgetForcing,
    EarlyExit,
    LeastToMost,
    SelfConsistency,
    SelfRefine,
    StepBack,
    Strategy,
    ZeroShotCoT,
)

PROBLEM = Problem("p", "How many?", "7", "number", "math-oe", "s")
WORDS = ("eval", "model=tiny", "benchmarks=demo", "limit=2", "max_new_tokens=12", "temperature=1")


class Scripted:
    """An engine that says the next text to each request, a token per word."""

    name = "scripted"

    def __init__(self, *texts: str) -> None:
        self.texts, self.asked = list(texts), list[Request]()

    def generate(self, requests: Iterable[Request]) -> Iterator[list[Completion]]:
        for request in requests:
            self.asked.append(request)
            for sample in request.samples:
                words = self.texts.pop(0).split(" ")
                end = next((at for at, w in enumerate(words) if w in request.stop), None)
                n = min(request.max_new_tokens, len(words) if end is None else end + 1)
                text = " ".join(words[: n if end is None or n <= end else end])
                stop = "stop" if n == len(words) or n == (end or -1) + 1 else "length"
                yield [Completion(request.id, text, stop, 10, n, 0.0, sample=sample)]


def answered(strategy: Strategy, *texts: str, limit: int = 20) -> tuple[ScoredCompletion, list]:
    """The row of one problem, and what was asked."""
    engine = Scripted(*texts)
    prompt = ({"role": "user", "content": user_text(PROBLEM)},)
    requests = [Request("s/p", prompt, limit)]
    ((row,),) = deliberated(engine, requests, {"s/p": PROBLEM}, None, strategy)
    assert not engine.texts
    return row, engine.asked


def test_a_trace_is_ended_at_its_limit() -> None:
    strategy = BudgetForcing(max_thinking_tokens=3, waits=0)
    row, asked = answered(strategy, "<think> one two three four", "\\boxed{7}")
    assert row.completion == f"<think> one two\n{CLOSE}\\boxed{{7}}"
    assert row.right
    assert row.calls == ((10, 3), (10, 1))
    assert (row.n_completion, row.n_answer, row.n_think) == (4, 1, 3)
    assert [one.max_new_tokens for one in asked] == [3, 17], "what is left of the limit"
    assert row.detail[ACTED] == 1
    row, asked = answered(strategy, f"<think> one {CLOSE}", "\\boxed{7}")
    assert row.detail[ACTED] == 0, "the model ended it"


def test_a_trace_goes_on_after_wait() -> None:
    strategy = BudgetForcing(waits=2)
    texts = (f"<think> one {CLOSE}", f"two {CLOSE}", f"three {CLOSE}", "\\boxed{7}")
    row, asked = answered(strategy, *texts)
    assert row.completion == f"<think> one\nWaittwo\nWaitthree\n{CLOSE}\\boxed{{7}}"
    assert [one.prefix for one in asked[:3]] == [
        "",
        "<think> one\nWait",
        "<think> one\nWaittwo\nWait",
    ]
    assert row.n_completion == 3 + 2 + 2 + 1
    row, asked = answered(strategy, "\\boxed{7}")
    assert row.right
    assert row.detail[ACTED] == 0, "a direct answer has no trace"


def test_an_early_exit_is_taken_where_trials_agree() -> None:
    strategy = EarlyExit(every=2, agree=2, answer_tokens=1)
    trace = "<think> a", "b c x", "d e x"
    row, asked = answered(
        strategy, f"{trace[0]} x", "\\boxed{5}", trace[1], "\\boxed{7}", trace[2], "\\boxed{7}"
    )
    assert row.right
    assert row.detail[ACTED] == 1
    assert row.n_completion == 9
    assert asked[1].prefix == f"<think> a\n{CLOSE}"
    row, _ = answered(strategy, f"<think> {CLOSE}", "\\boxed{7}")
    assert row.right
    assert row.detail[ACTED] == 0


def test_programs_pass_on_what_was_said() -> None:
    row, asked = answered(StepBack(), "sums", "\\boxed{7}")
    assert "Principle: sums" in asked[1].messages[0]["content"]
    assert row.calls == ((10, 1), (10, 1))
    row, asked = answered(LeastToMost(n=2), "1. One?\n2) Two?\n- Three?", "a", "b", "\\boxed{7}")
    assert asked[1].messages[0]["content"].endswith("Answer this question alone: One?")
    assert asked[3].messages[0]["content"].endswith("One? a\nTwo? b")
    row, asked = answered(SelfRefine(), "\\boxed{5}", "it is wrong", "\\boxed{7}")
    assert [one["role"] for one in asked[2].messages] == ["user", "assistant"] * 2 + ["user"]
    assert row.right
    assert row.detail[ACTED] == 1
    row, asked = answered(ZeroShotCoT(), "\\boxed{7}")
    assert asked[0].messages[0]["content"].endswith("\n\nLet's think step by step.")


def test_a_vote_is_of_the_samples_of_the_problem() -> None:
    texts = "\\boxed{5}", "\\boxed{7} indeed", "\\boxed{7}"
    row, (asked,) = answered(SelfConsistency(n=3), *texts)
    assert asked.id == "s/p"
    assert asked.samples == (0, 1, 2)
    assert row.right
    assert row.calls == ((10, 1, 2, 1),)
    assert row.detail[ACTED] == 1


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_budget_is_never_exceeded(name: str) -> None:
    """And a strategy that it ends has an answer nevertheless."""
    kind = STRATEGIES[name]
    for budget in (1, 2, 3, 7, 12):
        texts = ["<think> 1. one? two? three", "\\boxed{5} so", "\\boxed{7} so it is"] * 20
        engine = Scripted(*texts)
        requests = [Request("s/p", ({"role": "user", "content": "How many?"},), 6)]
        strategy = kind(budget=budget)
        ((row,),) = deliberated(engine, requests, {"s/p": PROBLEM}, None, strategy)
        assert row.calls is not None
        generated = [n for _, *rest in row.calls for n in rest]
        assert 0 < sum(generated) == row.n_completion <= budget
        assert all(n > 0 for n in generated)


@pytest.mark.parametrize("name", STRATEGIES)
def test_what_the_engine_refuses_is_not_asked_again_and_again(name: str) -> None:
    class Refusing:
        name = "refusing"
        n = 0

        def generate(self, requests: Iterable[Request]) -> Iterator[list[Completion]]:
            for request in requests:
                for sample in request.samples:
                    self.n += 1
                    yield [Completion(request.id, "no", "refused", 9, 0, 0.0, sample=sample)]

    engine, strategy = Refusing(), STRATEGIES[name]()
    requests = [Request("s/p", ({"role": "user", "content": "How many?"},), 6)]
    ((row,),) = deliberated(engine, requests, {"s/p": PROBLEM}, None, strategy)
    assert (row.stop, row.verdict, row.completion) == ("refused", "wrong", "no")
    assert engine.n <= strategy.most


def test_where_the_budget_ends_the_most_frequent_answer_is_taken() -> None:
    texts = "\\boxed{7} a", "\\boxed{5} b", "\\boxed{7} c d e"
    row, asked = answered(AdaptiveConsistency(n=9, budget=5, threshold=0.99), *texts)
    assert row.right
    assert [one.max_new_tokens for one in asked] == [5, 3, 1]


@pytest.fixture(scope="module")
def sampled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sampled")
    done(*WORDS, "samples=4", f"out={folder / 'samples'}")
    done(*WORDS, "strategy=self_consistency", "strategy.n=4", f"out={folder / 'voted'}")
    return folder


@pytest.mark.model
def test_samples_are_those_of_an_ordinary_evaluation(sampled: Path) -> None:
    """And so are tokens and FLOPs, those of a vote over saved samples."""
    samples: dict[str, list[ScoredCompletion]] = {}
    for row in read_completions(sampled / "samples"):
        samples.setdefault(row.key, []).append(row)
    voted = {row.key: row for row in read_completions(sampled / "voted")}
    assert voted.keys() == samples.keys()
    shape = read_manifest(sampled / "voted").evaluation.shape
    assert shape is not None
    flops = 0
    for key, rows in samples.items():
        one = voted[key]
        assert one.completion in [row.completion for row in rows]
        assert one.calls == ((rows[0].n_prompt, *(row.n_completion for row in rows)),)
        assert one.n_completion == sum(row.n_completion for row in rows)
        flops += cost.generations(shape, rows[0].n_prompt, [row.n_completion for row in rows])
    scores = json.loads((sampled / "voted" / "scores.json").read_text())
    assert scores["all"]["exact_flops"] == pytest.approx(flops / len(voted))


@pytest.mark.model
def test_saved_samples_give_the_same_answers(sampled: Path, tmp_path: Path) -> None:
    words = (*WORDS, "strategy=self_consistency", "strategy.n=4")
    done(*words, f"samples_from={sampled / 'samples'}", f"out={tmp_path / 'saved'}")
    saved, voted = (list(read_completions(one)) for one in (tmp_path / "saved", sampled / "voted"))
    assert [replace(row, seconds=0.0) for row in saved] == [
        replace(row, seconds=0.0, token_ids=None) for row in voted
    ]
    assert read_manifest(tmp_path / "saved").evaluation.shape is not None
    vote = ("strategy=self_consistency", "strategy.n=4")
    for changed, message in (
        (
            ("strategy=self_consistency",),
            "has samples=4; strategy=self_consistency asks for up to 8",
        ),
        ((*vote, "top_p=0.9"), "top_p=0.9: samples_from="),
        ((*vote, "limit=3"), "lacks problems of these benchmarks"),
        (("strategy=best_of_n", "strategy.n=4"), "has no log-probabilities"),
        (("strategy=step_back",), "asks for more than samples of the problem"),
        ((*vote, "model=smollm2-135m"), "is of another model"),
        ((), "is for a strategy; give strategy="),
    ):
        result = command(*WORDS, *changed, f"samples_from={sampled / 'samples'}")
        assert result.returncode == 2, changed
        assert message in result.stderr, result.stderr


@pytest.mark.model
def test_an_interrupted_strategy_answers_as_an_uninterrupted_one(sampled: Path) -> None:
    whole = list(read_completions(sampled / "voted"))
    again = sampled / "again"
    words = (*WORDS, "strategy=self_consistency", "strategy.n=4", f"out={again}")
    done(*words)
    lines = (again / "completions.jsonl").read_bytes().splitlines(keepends=True)
    (again / "completions.partial.jsonl").write_bytes(b"".join(lines[:3]))
    (again / "completions.jsonl").unlink()
    (again / "DONE").unlink()
    done(*words)

    def untimed(rows: Iterable[ScoredCompletion]) -> list[ScoredCompletion]:
        return [replace(row, seconds=0.0) for row in rows]

    assert untimed(read_completions(again)) == untimed(whole)


@pytest.mark.model
@pytest.mark.parametrize("name", ["tiny", "smollm2-135m"])
def test_a_trace_that_is_ended_has_the_tokens_of_one_that_ends(name: str) -> None:
    config = cli.compose("eval", Config, [f"model={name}"])
    tokenizer = models.load_tokenizer(config.model)
    whole = text_ids(tokenizer, render("\\boxed{12}", "5 + 7 = 12"))
    begun = text_ids(tokenizer, f"<think>\n5 + 7 = 12{CLOSING}")
    assert whole[: len(begun)] == begun


@pytest.mark.model
def test_ranked_completions_begin_with_the_most_probable_tokens(tmp_path: Path) -> None:
    """The first is the greedy one."""
    words = ("eval", "model=tiny", "benchmarks=demo", "limit=1", "max_new_tokens=6")
    done(*words, f"out={tmp_path / 'greedy'}")
    done(*words, "strategy=cot_decoding", "strategy.k=1", f"out={tmp_path / 'first'}")
    greedy = [row.completion for row in read_completions(tmp_path / "greedy")]
    assert [row.completion for row in read_completions(tmp_path / "first")] == greedy
    report = done(
        "eval.report",
        str(tmp_path / "greedy"),
        str(tmp_path / "first"),
        "--out",
        str(tmp_path / "r.html"),
    )
    assert "cot_decoding k=1" in report + (tmp_path / "r.md").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("strategy=self_consistency",), "needs temperature above 0, such as temperature=0.7"),
        (("strategy=nothing",), "unknown strategy 'nothing'; known: adaptive_consistency"),
        (("strategy=cot_decoding", "strategy.k=0"), "strategy.k=0: should be greater than 0"),
        (("strategy=cot_decoding", "strategy.n=2"), "unknown key 'strategy.n'"),
        (("strategy=budget_forcing", "strategy.waits=0"), "give max_thinking_tokens=N, waits=N"),
        (("strategy=short_m_at_k", "strategy.m=9", "temperature=1"), "m=9 is above k=8"),
        (("strategy=cot_decoding", "relay={source: x}"), "exclude each other"),
        (
            (
                "strategy=budget_forcing",
                "engine=openai",
                "engine.model=x",
                "engine.base_url=http://localhost:1/v1",
            ),
            "engine=openai has no prefix; engines that have: transformers, vllm",
        ),
    ],
)
def test_a_strategy_without_an_effect_is_refused(words: tuple[str, ...], message: str) -> None:
    model = () if "engine=openai" in words else ("model=tiny",)
    result = command("eval", *model, "benchmarks=demo", *words)
    assert result.returncode == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_saved_answers_of_a_strategy_are_no_samples(sampled: Path) -> None:
    for tool in ("strategies", "budgets"):
        result = command(f"eval.{tool}", str(sampled / "voted"))
        assert result.returncode == 2
        assert "an evaluation with strategy=" in result.stderr
    result = command("eval.strategies", str(sampled / "samples"), "--strategies", "step_back")
    assert "python -m eval strategy=step_back runs it" in result.stderr
