"""Relays: one model goes on from the beginnings of another one's traces."""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import command, done

from eval.relay import Accuracy, RelayResult, holds_answer, lines_of, recovered_gap
from ratiocine.completion_parts import CLOSE, CLOSING
from ratiocine.cuts import BY
from ratiocine.records import Problem, ScoredCompletion
from ratiocine.runs import read_manifest
from ratiocine.stores import read_completions

SETTINGS = ("benchmarks=demo", "limit=4", "max_new_tokens=96", "dtype=float32", "logprobs=true")


def evaluated(model: Path, out: Path, *words: str) -> Path:
    done("eval", f"model={model}", *SETTINGS, *words, f"out={out}")
    return out


def answers(folder: Path) -> dict[str, ScoredCompletion]:
    return {row.key: row for row in read_completions(folder)}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, pairs: Path, chooser: Path) -> dict[str, Path]:
    """A tiny student that thinks, and one that does not, each with its evaluation."""
    root = tmp_path_factory.mktemp("relay")
    done(
        "train",
        "ratio=1",
        "model=tiny",
        f"pairs={pairs}",
        "batch_size=8",
        "epochs=30",
        "lr=5e-3",
        f"out={root / 'thinker'}",
    )
    thinker = root / "thinker" / "model"
    return {
        "thinker": thinker,
        "chooser": chooser,
        "source": evaluated(thinker, root / "source"),
        "alone": evaluated(chooser, root / "alone"),
    }


def relay(models: dict[str, Path], out: Path, at: float, by: str, *more: str) -> Path:
    """The chooser after the thinker."""
    values = ", ".join([f"source: {models['source']}", f"at: {at}", f"by: {by}", *more])
    return evaluated(models["chooser"], out, f"relay={{{values}}}")


@pytest.mark.slow
@pytest.mark.long
def test_the_ends_are_the_two_models(models: dict[str, Path], tmp_path: Path) -> None:
    """Token for token: the receiver alone at 0, the source at 1."""
    source, alone = answers(models["source"]), answers(models["alone"])
    assert sum(row.thought for row in source.values()) >= len(source) / 2
    none = answers(relay(models, tmp_path / "0", 0, "surprisal"))
    assert {key: row.token_ids for key, row in none.items()} == {
        key: row.token_ids for key, row in alone.items()
    }
    whole = answers(relay(models, tmp_path / "1", 1, "surprisal"))
    for key, row in whole.items():
        assert (row.completion, row.verdict) == (source[key].completion, source[key].verdict)
        assert (row.n_completion, row.stop) == (0, source[key].stop)


@pytest.mark.slow
@pytest.mark.long
def test_the_receiver_goes_on_from_the_cut(models: dict[str, Path], tmp_path: Path) -> None:
    source = answers(models["source"])
    folders = []
    for by in BY:
        folders.append(relay(models, tmp_path / by, 0.5, by))
        for key, row in answers(folders[-1]).items():
            told = source[key].completion.partition(CLOSE)[0]
            if source[key].thought:
                tag = len("<think>\n")
                step = told[tag:].lstrip().partition("\n")[0]  # at least one is the source's
                assert row.completion.startswith(told[:tag]) and step in row.completion, by
                assert row.n_prompt > 0 and row.n_completion > 0
        facts = read_manifest(folders[-1]).evaluation.relay
        assert facts is not None and facts.flops is not None
        tokens = [row.n_think for row in source.values()]
        assert 0.3 * np.mean(tokens) < facts.n_tokens < np.mean(tokens)
    forced = relay(models, tmp_path / "forced", 0.5, "steps", "force_answer: true")
    for key, row in answers(forced).items():
        if source[key].thought:
            head, tag, _ = row.completion.partition(CLOSE)
            assert tag and source[key].completion.startswith(head.rstrip())
            assert row.n_think == 0, "no token of the trace is the receiver's"
    out = tmp_path / "relays.html"
    words = [str(one) for one in (*folders, forced, models["source"], models["alone"])]
    shown = done("eval.relay", *words, "--out", str(out))
    found = json.loads(out.with_suffix(".json").read_text())["relays"]
    assert out.read_text().count("<svg") == 2
    assert [one["by"] for one in found] == [*BY, "steps"]
    alone = answers(models["alone"])
    for one in found:
        whole = one["everywhere"]
        assert whole["receiver"][0] == pytest.approx(np.mean([row.right for row in alone.values()]))
        assert whole["source"][0] == pytest.approx(np.mean([row.right for row in source.values()]))
        assert whole["gain"][0] == pytest.approx(whole["relay"][0] - whole["receiver"][0])
        assert one["receiver_tokens"] > 0 and one["flops"] > 0
    assert "0.5 by steps, forced" in shown
    refused = command("eval.budgets", words[0], "--tokens", "9", "--out", str(tmp_path / "b.html"))
    assert (refused.returncode, "another model's" in refused.stderr) == (2, True)
    page = tmp_path / "report.html"
    done("eval.report", words[0], words[-1], "--out", str(page))
    assert "after 0.5 of" in page.read_text()


@pytest.mark.slow
@pytest.mark.long
def test_what_cannot_be_relayed_is_one_line(models: dict[str, Path], tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    words = ("eval", f"model={models['thinker']}", *SETTINGS[:3])
    done(*words, "limit=2", f"out={bare}")
    for value, message in (
        (f"source: {bare}, at: 0.5", "has no log-probabilities; evaluate it with logprobs=true"),
        (f"source: {bare}, at: 0.5, by: steps", "lacks 16 of 32 problems"),
        (f"source: {bare}, at: 2", "relay.at=2"),
        (f"source: {bare}, by: words", "relay.by='words'"),
        (f"source: {tmp_path / 'bar'}", "does not exist"),
        (f"source: {models['alone']}, by: steps", "not one of its answers has a trace to go on"),
    ):
        refused = command(*words, f"relay={{{value}}}", f"out={tmp_path / 'x'}")
        assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1), refused.stderr
        assert message in refused.stderr
    for folders, message in (
        ((bare,), "no relay among these evaluations"),
        ((relay(models, tmp_path / "half", 0.5, "steps"), bare), "its source, the evaluation with"),
        ((tmp_path / "half", models["source"]), "the evaluation of its model alone"),
    ):
        refused = command("eval.relay", *map(str, folders), "--out", str(tmp_path / "r.html"))
        assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1), refused.stderr
        assert message in refused.stderr


def test_the_recovered_gap() -> None:
    """0 at the receiver, 1 at the source, a half between them; none without a gap."""
    receiver, source = [0.0] * 80 + [1.0] * 20, [0.0] * 20 + [1.0] * 80
    half = [0.0] * 50 + [1.0] * 50
    for relayed, gap in ((receiver, 0.0), (source, 1.0), (half, 0.5)):
        found = recovered_gap(relayed, source, receiver)
        assert found is not None
        assert found[0] == pytest.approx(gap)
        assert found[1] <= found[0] <= found[2]
    assert recovered_gap(half, receiver, receiver) is None


def test_lines_run_from_the_receiver_to_the_source() -> None:
    def result(at: float, accuracy: float) -> RelayResult:
        of = [(value, value - 0.1, value + 0.1) for value in (0.2, accuracy, 0.8)]
        everywhere = Accuracy(9, *of, gain=(0.0, 0.0, 0.0))
        return RelayResult("a", "b", at, "steps", False, everywhere, None, None, 1, 1, None, 0)

    (line,) = lines_of([result(0.75, 0.6), result(0.25, 0.4)]).values()
    assert [point[:2] for point in line] == [(0, 0.2), (0.25, 0.4), (0.75, 0.6), (1, 0.8)]


@pytest.mark.parametrize(
    ("kind", "reference", "prefix", "held"),
    [
        ("number", "12", "<think>\n5 + 7 = 12\n", True),
        ("number", "12", "<think>\n5 + 7 = ", False),
        ("number", "12", "<think>\n5 + 7 = 120\n", False),
        ("number", "0.5", "<think>\n1/2\n", True),
        ("string", "the sea", "<think>\nThe Sea is\n", True),
        ("string", "the sea", "<think>\nThe lake\n", False),
        ("choice", "B", "<think>\nan apple grows\n", True),
        ("choice", "B", "<think>\nB\n", False),
        ("number", "12", "", False),
        ("number", "9", "<think>\nso \\boxed{9}\n", True),
        ("string", "no", "<think>\nI know this\n", False),
        ("string", "...", "<think>\nhm\n", False),
        ("open choice", "B", "<think>\nlet us begin\n", False),
        ("number", "12", f"<think>\n5 + 7 ={CLOSING}", False),
        ("number", "12", f"<think>\n5 + 7 = 12{CLOSING}", True),
        ("number", "12", "<think>\n5 + 7\n</think>\n\nIt is", True),
    ],
)
def test_leaks(kind: str, reference: str, prefix: str, held: bool) -> None:
    choices = ("a stone", "an apple") if kind == "choice" else ()
    kind = kind.removeprefix("open ")
    problem = Problem("1", "?", reference, kind, "math-oe", "s", choices=choices)  # type: ignore[arg-type]
    assert holds_answer(problem, prefix) == held
