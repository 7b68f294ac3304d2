"""Test-time strategies: answers by hand, identities, and the real command over saved samples."""

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import grid
import pytest
from conftest import ROOT, command, done
from hypothesis import given
from hypothesis import strategies as st

from eval.report import load_evaluations
from ratiocine import cli, cost
from ratiocine.records import ScoredCompletion
from ratiocine.stores import read_completions
from ratiocine.strategies import (
    STRATEGIES,
    AdaptiveConsistency,
    BestOfN,
    Call,
    CoTDecoding,
    DeepConf,
    MinimumBayesRisk,
    Question,
    Sample,
    SelfConsistency,
    ShortMAtK,
    Strategy,
    WeightedVote,
    replay,
)
from ratiocine.strategies.adaptive_consistency import certainty
from ratiocine.strategies.deep_conf import lowest_window
from ratiocine.strategies.minimum_bayes_risk import token_f1

SAMPLES = st.lists(
    st.builds(
        Sample,
        vote=st.sampled_from(["a", "b", "c", None]),
        tokens=st.integers(1, 50),
        confidence=st.floats(-3, 0),
    ),
    min_size=1,
    max_size=12,
)


def samples(votes: str, tokens: Sequence[int] = (), confidence: Sequence[float] = ()) -> list:
    """A sample per letter; `-` is one without an answer."""
    return [
        Sample(
            None if vote == "-" else vote,
            tokens[at] if tokens else 5,
            confidence[at] if confidence else None,
        )
        for at, vote in enumerate(votes)
    ]


def taken(strategy: Strategy, given: Sequence[Sample]) -> dict[str, float]:
    """Probability of each answer."""
    found: dict[str, float] = {}
    for at, weight in replay(strategy, given).weights.items():
        assert given[at].vote is not None
        found[given[at].vote] = found.get(given[at].vote, 0.0) + weight
    return found


@pytest.mark.parametrize(
    ("votes", "expected"),
    [
        ("abab-a", {"a": 1.0}),
        ("ab--", {"a": 0.5, "b": 0.5}),
        ("---", {}),
        ("-b", {"b": 1.0}),
    ],
)
def test_self_consistency_by_hand(votes: str, expected: dict[str, float]) -> None:
    assert taken(SelfConsistency(n=len(votes)), samples(votes)) == pytest.approx(expected)


def test_adaptive_consistency_stops_by_hand() -> None:
    """Beta(a + 1, b + 1) above 1/2: 1 - 2^-4 after three equal answers, 1 - 2^-5 after four; 0.9375
    at 5 to 1 and 1 - 9/256 at 6 to 1."""
    assert certainty(3, 0) == pytest.approx(1 - 2**-4)
    assert certainty(6, 1) == pytest.approx(1 - 9 / 256)
    for votes, asked in (("aaaaaaaa", 4), ("abaaaaaa", 7), ("abababab", 8), ("--aaaa--", 6)):
        answer = replay(AdaptiveConsistency(n=8), samples(votes))
        assert len(answer.tokens) == asked, votes


def test_short_m_at_k_by_hand() -> None:
    given = samples("abba", tokens=(5, 9, 3, 7))
    assert taken(ShortMAtK(k=4, m=1), given) == {"b": 1}
    assert taken(ShortMAtK(k=4, m=2), given) == {"b": 0.5, "a": 0.5}
    assert taken(ShortMAtK(k=4, m=3), given) == {"a": 1}
    assert replay(ShortMAtK(k=4, m=3), given).tokens == [5, 7, 3, 7], "cut where the third ends"
    refused = samples("-ab", tokens=(0, 4, 6))
    assert taken(ShortMAtK(k=3, m=1), refused) == {"a": 1}
    assert replay(ShortMAtK(k=3, m=1), refused).tokens == [0, 4, 4]
    assert replay(ShortMAtK(k=2, m=1), samples("--", tokens=(0, 0))).tokens == [0, 0]


def test_confidence_by_hand() -> None:
    given = samples("aabc-", confidence=(-1.0, -2.0, -0.5, -3.0, 0.0))
    assert taken(BestOfN(n=5), given) == {"b": 1}
    assert taken(WeightedVote(n=5), given) == {"b": 1}, "0.61 against 0.37 + 0.14"
    assert taken(SelfConsistency(n=5), given) == {"a": 1}


def test_branches_are_weighted_by_their_margins() -> None:
    """CoT-decoding sums Δ by answer, or takes the largest: 0.5 + 0.4 for a, 0.7 for b."""
    branches = [
        Sample(vote, 5, margin=margin) for vote, margin in zip("abac", (0.5, 0.7, 0.4, None))
    ]

    def answer(strategy: Strategy) -> dict[int, float]:
        run = strategy.run(Question())
        assert next(run) == Call(4, ranked=True)
        with pytest.raises(StopIteration) as end:
            run.send(branches)
        return dict(end.value.value.weights)

    assert answer(CoTDecoding(k=4)) == {0: 0.5, 2: 0.5}
    assert answer(CoTDecoding(k=4, aggregate="max")) == {1: 1}


def test_the_least_confident_window_decides() -> None:
    """Of windows of two tokens: means of -1.5, -2 and -0.5, so that half of the three are two."""
    given_ = [
        Sample("a", 3, logprobs=(-1.0, -2.0, 0.0)),
        Sample("b", 3, logprobs=(-4.0, 0.0, 0.0)),
        Sample("b", 2, logprobs=(-0.5, -0.5)),
        Sample(None, 2, logprobs=(0.0, 0.0)),
    ]
    assert [lowest_window(one.logprobs or (), 2) for one in given_[:3]] == [-1.5, -2.0, -0.5]
    assert lowest_window((-1.0,), 2) == -1.0, "fewer tokens than a window"
    assert taken(DeepConf(n=4, window=2, keep=0.5), given_) == {"b": 1}
    assert taken(DeepConf(n=4, window=2, keep=0.4), given_) == {"b": 1}
    assert taken(DeepConf(n=4, window=3, keep=1.0), given_) == {"b": 1}, "e^-4/3 and e^-1/2"


def test_the_answer_most_like_the_others_is_taken() -> None:
    answers = "red blue", "red green", "red", "black"
    given_ = [Sample(text, 5, answer=text) for text in answers]
    assert token_f1("red blue", "Red") == pytest.approx(2 / 3)
    assert token_f1("", "") == 1
    assert taken(MinimumBayesRisk(n=4), given_) == {"red": 1}
    equal = taken(MinimumBayesRisk(n=4, utility="exact"), given_)
    assert equal == pytest.approx(dict.fromkeys(answers, 0.25))


@given(SAMPLES)
def test_identities(given_: list[Sample]) -> None:
    n = len(given_)
    vote = taken(SelfConsistency(n=n), given_)
    assert sum(vote.values()) == pytest.approx(1 if any(s.vote for s in given_) else 0)
    assert taken(ShortMAtK(k=n, m=n), given_) == pytest.approx(vote)
    exact = taken(MinimumBayesRisk(n=n, utility="exact"), given_)
    assert exact == pytest.approx(vote), "the majority"
    equal = [Sample(one.vote, one.tokens, -1.0, logprobs=(-1.0,)) for one in given_]
    assert taken(DeepConf(n=n, keep=1.0), equal) == pytest.approx(vote)
    assert taken(WeightedVote(n=n), equal) == pytest.approx(vote)
    adaptive = replay(AdaptiveConsistency(n=n, threshold=1 - 1e-12), given_)
    assert len(adaptive.tokens) == n
    answered = [one.vote for one in given_ if one.vote]
    shares = {v: answered.count(v) / len(answered) for v in answered}
    assert taken(BestOfN(n=n), equal) == pytest.approx(shares), "one at random"
    assert adaptive.tokens == [one.tokens for one in given_]


@given(st.lists(st.booleans(), min_size=1, max_size=12))
def test_best_of_n_with_an_oracle_is_pass_at_n(right: list[bool]) -> None:
    given_ = [Sample("r" if one else "w", 5, 0.0 if one else -1.0) for one in right]
    assert taken(BestOfN(n=len(right)), given_).get("r", 0) == pytest.approx(int(any(right)))


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_configuration_file_holds_the_defaults(name: str) -> None:
    assert {file.stem for file in (ROOT / "conf/strategy").glob("*.yaml")} == set(STRATEGIES)
    assert cli.named("strategy", name, STRATEGIES[name]) == STRATEGIES[name]()


@pytest.fixture(scope="module")
def sampled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model's evaluation with samples, half of its answers made to be right."""
    folder = tmp_path_factory.mktemp("sampled")
    words = ("benchmarks=demo", "limit=3", "samples=4", "temperature=1", "logprobs=true")
    done("eval", "model=tiny", *words, "max_new_tokens=4", f"out={folder / 'made'}")
    rng, rows = random.Random(0), []
    for row in read_completions(folder / "made" / "completions.jsonl"):
        verdict, extracted = ("right", "1") if rng.random() < 0.5 else ("wrong", "2")
        rows.append(replace(row, verdict=verdict, extracted=extracted))
    (made,) = load_evaluations([folder / "made"])
    known = {key: value for key, value in made.config.items() if key != "out"}
    return grid.write_evaluation(folder / "run", rows, made.facts, **known)


def test_saved_samples_score_strategies(sampled: Path, tmp_path: Path) -> None:
    page = tmp_path / "s.html"
    chosen = ("self_consistency n=4", "short_m_at_k k=4 m=1", "best_of_n n=2", "weighted_vote n=4")
    shown = done("eval.strategies", str(sampled), "--strategies", *chosen, "--out", str(page))
    found = {
        one["strategy"]: one for one in json.loads(page.with_suffix(".json").read_text())["points"]
    }
    by_key: dict[str, list[ScoredCompletion]] = {}
    for row in read_completions(sampled / "completions.jsonl"):
        by_key.setdefault(row.key, []).append(row)
    right = [sum(row.right for row in of) for of in by_key.values()]
    one, vote = found["one sample"], found["self_consistency n=4"]
    assert (one["n"], one["accuracy"]) == (24, pytest.approx(fmean(right) / 4))
    tokens = fmean(row.n_completion for of in by_key.values() for row in of)
    assert one["tokens"] == pytest.approx(tokens)
    majority = fmean({0: 0, 1: 0, 2: 0.5, 3: 1, 4: 1}[n] for n in right)
    assert vote["accuracy"] == pytest.approx(majority)
    assert (vote["samples"], vote["tokens"]) == (4, pytest.approx(4 * tokens))
    shape = cost.Shape(**json.loads((sampled / "manifest.json").read_text())["shape"])
    expected = fmean(
        sum(cost.exact_generation(shape, row.n_prompt, row.n_completion) for row in of)
        - 3 * cost.exact_generation(shape, of[0].n_prompt, 0)
        for of in by_key.values()
    )
    assert vote["flops"] == pytest.approx(expected), "the prompt is read once"
    assert found["best_of_n n=2"]["samples"] == 2
    assert found["short_m_at_k k=4 m=1"]["tokens"] <= 4 * tokens
    assert one["on_front"], "nothing is cheaper"
    assert "one sample" in shown
    assert page.read_text().count("<svg") == 2
    every = done("eval.strategies", str(sampled), "--out", str(tmp_path / "d.html"))
    assert "self_consistency n=2" in every and "self_consistency n=4" in every


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("self_consistancy", "unknown strategy 'self_consistancy'; there are self_consistency"),
        ("self_consistency n=8", "takes up to 8 samples, and tiny (untrained) has 4"),
        ("self_consistency m=2", "unknown key 'm'"),
        ("self_consistency n=0", "n=0"),
        ("self_consistency n", "n is no KEY=VALUE"),
        ("short_m_at_k k=2 m=3", "m=3 is above k=2"),
        ("", "unknown strategy ''"),
    ],
)
def test_wrong_strategies(words: str, expected: str, sampled: Path, tmp_path: Path) -> None:
    out = ("--out", str(tmp_path / "s.html"))
    result = command("eval.strategies", str(sampled), "--strategies", words, *out)
    assert (result.returncode, expected in result.stderr) == (2, True), result.stderr
