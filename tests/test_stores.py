"""Stores and run directories: files on disk are whole, or are refused."""

import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import settings, started
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from ratiocine.column_builder import columns_of, read_columns
from ratiocine.columns import NONE, VERDICTS, StoredAnswers
from ratiocine.config import identity
from ratiocine.errors import BadInput
from ratiocine.grading import canonical
from ratiocine.hashing import Seen
from ratiocine.records import Pair, ScoredCompletion
from ratiocine.runs import check_finished, locks, open_run, run_hash
from ratiocine.stats import majority
from ratiocine.stores import (
    CompletionStore,
    RowStore,
    read_completions,
    read_pairs,
    read_rows,
    write_completions,
    write_pairs,
)

ROWS = [{"key": str(i), "text": "ü\n" * i} for i in range(6)]


def test_a_store_returns_the_appended_rows(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    store = RowStore(path)
    store.append(ROWS[:2])
    store.append(ROWS[2:])
    assert RowStore(path).rows == ROWS == list(read_rows(path))


def completion(**changes: object) -> ScoredCompletion:
    values = dict(
        key="s/1",
        id="1",
        benchmark="s",
        category="math-oe",
        prompt="What is 1 + 1?",
        reference="2",
        completion="<think>1 + 1</think>\ud83d\\boxed{2}",
        verdict="right",
        extracted="2",
        reason="boxed",
        stop="stop",
        thought=True,
        n_prompt=7,
        n_completion=9,
        n_think=5,
        n_answer=4,
        seconds=0.25,
        level="3",
        expected=True,
        detail={"f1": 0.5},
        efficiency=(1.0, 0.5),
        token_ids=(1, 2),
        logprobs=(-0.5, -0.25),
    )
    return ScoredCompletion(**{**values, **changes})  # type: ignore[arg-type]


def test_scored_completions_come_back_equal(tmp_path: Path) -> None:
    path = tmp_path / "completions.jsonl"
    rows = [completion(), completion(sample=1, efficiency=None, token_ids=None, logprobs=None)]
    CompletionStore(path).append(rows)
    assert CompletionStore(path).rows == rows
    assert list(read_completions(path)) == rows == list(read_completions(tmp_path))


@examples(max_examples=60, deadline=None)
@given(cut=st.integers(0, 10_000))
def test_a_torn_store_keeps_its_whole_lines_and_continues(
    cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("torn") / "t.jsonl"
    RowStore(path).append(ROWS)
    whole = path.read_bytes()
    path.write_bytes(whole[: cut % (len(whole) + 1)])
    kept = RowStore(path)
    assert kept.rows == ROWS[: len(kept.rows)]
    assert len(kept.rows) == whole[: cut % (len(whole) + 1)].count(b"\n")
    kept.append(ROWS[len(kept.rows) :])
    assert path.read_bytes() == whole


def test_a_changed_byte_is_detected(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    RowStore(path).append(ROWS)
    path.write_bytes(path.read_bytes().replace(b'"key": "3"', b'"key": "9"'))
    assert len(RowStore(path).rows) == 3
    path.write_bytes(path.read_bytes() + b'{"crc": 1, "row": {}}\n')
    with pytest.raises(BadInput, match="line 4 is damaged"):
        list(read_rows(path))


def pair(problem_id: str, **changes: object) -> Pair:
    values = dict(
        id=problem_id,
        prompt="p",
        reasoning="r",
        ift="i",
        reference="1",
        category="math-oe",
        source="s",
        n_tokens_prompt=1,
        n_tokens_reasoning=1,
        n_tokens_ift=1,
    )
    return Pair(**{**values, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([], "holds no pairs"),
        ([pair("a"), pair("a")], "'a' occurs twice"),
        ([pair("a"), pair("b", ift="")], "pair 'b' has no ift"),
        ([pair("a"), pair("b", reasoning=None)], "pair 'b' has no reasoning"),
    ],
)
def test_bad_pairs_are_refused(tmp_path: Path, pairs: list[Pair], message: str) -> None:
    write_pairs(tmp_path / "p.parquet", pairs)
    with pytest.raises(BadInput, match=message):
        read_pairs(tmp_path / "p.parquet")


def test_a_pairs_file_without_a_column_or_that_is_none_is_refused(tmp_path: Path) -> None:
    write_pairs(tmp_path / "p.parquet", [pair("a")])
    pq.write_table(
        pq.read_table(tmp_path / "p.parquet").drop_columns(["category"]), tmp_path / "q.parquet"
    )
    with pytest.raises(BadInput, match="lacks the column category"):
        read_pairs(tmp_path / "q.parquet")
    (tmp_path / "r.parquet").write_bytes((tmp_path / "p.parquet").read_bytes()[:-9])
    with pytest.raises(BadInput, match="no readable parquet"):
        read_pairs(tmp_path / "r.parquet")


MODEL = {"name": "x"}


def test_a_hash_depends_on_hashed_fields_and_inputs_alone() -> None:
    def named(inputs: dict[str, str], **values: object) -> str:
        return run_hash("train", identity(settings(**values)), inputs)

    one = named({"pairs": "1"}, seed=1, model=MODEL)
    assert one == named({"pairs": "1"}, seed=1, model=MODEL, out="x")
    others = named({"pairs": "1"}, seed=2, model=MODEL), named({"pairs": "2"}, seed=1, model=MODEL)
    assert len({one, *others}) == 3


def test_a_finished_run_is_found_again_and_other_work_refused(tmp_path: Path) -> None:
    config = settings(seed=1, out=str(tmp_path / "run"))
    run = open_run("train", config, {})
    assert not run.finished
    run.write_json("mixture.json", {"a": 1})
    with pytest.raises(BadInput, match="no finished run"):
        check_finished(run.out)
    run.finish(n=3)
    assert open_run("train", config, {}).finished
    assert check_finished(run.out).facts["n"] == 3
    with pytest.raises(BadInput, match="a finished run of a different configuration"):
        open_run("train", settings(seed=2, out=config.out), {})
    (run.out / "mixture.json").write_text("{}")
    with pytest.raises(BadInput, match=r"corrupt: mixture\.json"):
        check_finished(run.out)


def test_who_waited_for_a_folder_finds_what_was_done_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, hold = settings(seed=1, out=str(tmp_path / "run")), locks.acquire

    def once_another_has_finished(folder: Path) -> None:
        monkeypatch.setattr(locks, "acquire", hold)
        open_run("train", config, {}).finish(n=3)
        hold(folder)

    monkeypatch.setattr(locks, "acquire", once_another_has_finished)
    assert open_run("train", config, {}).finished
    assert check_finished(tmp_path / "run").facts["n"] == 3


def test_a_kill_while_a_file_is_replaced_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that goes on writes its configuration anew."""
    config = settings(seed=1, out=str(tmp_path / "run"))
    (open_run("train", config, {}).out / "checkpoints").mkdir()

    def ends(*words: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", ends)
        with pytest.raises(KeyboardInterrupt):
            open_run("train", config, {})
    assert not open_run("train", config, {}).finished


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(BadInput, match="no run of this tool"):
        open_run("train", settings(seed=1, out=str(tmp_path)), {})


def test_a_folder_left_by_a_kill_before_its_first_file_is_taken(tmp_path: Path) -> None:
    (tmp_path / ".config.yaml.partial").write_text("# tr")
    assert not open_run("train", settings(seed=1, out=str(tmp_path)), {}).finished


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    run = open_run("train", settings(seed=1, out=str(tmp_path / "run")), {})
    run.finish(schema_version=99)
    with pytest.raises(BadInput, match="release of ratiocine whose schema version is 99"):
        check_finished(run.out)


def test_a_full_disk_and_a_file_in_the_way_are_told(tmp_path: Path) -> None:
    from ratiocine.runs import check_writable

    with pytest.raises(BadInput, match="GB free on this disk"):
        check_writable(tmp_path, need_bytes=10**18)
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="cannot be written"):
        check_writable(tmp_path / "file" / "run")


WRITER = """
import sys
from conftest import settings
from ratiocine.runs import open_run
run = open_run("distill", settings(out=sys.argv[1], seed=0), {})
print("go", flush=True)
while True:
    with run.writing("data.bin") as path:
        with open(path, "wb") as file:
            for _ in range(64):
                file.write(b"x" * 65536)
    run.finish(n=1)
    for name in ("DONE", "manifest.json"):
        (run.out / name).unlink()
"""


def test_a_kill_at_any_moment_leaves_nothing_half_accepted(tmp_path: Path) -> None:
    """Whatever instant the writer dies at, the run is refused, or all of it is there."""
    for moment in range(12):
        out = tmp_path / str(moment)
        begun = tmp_path / f"{moment}.txt"
        writer = started("-c", WRITER, str(out), out=begun)
        while not (begun.exists() and begun.read_text()):
            assert writer.poll() is None
            time.sleep(0.001)
        time.sleep(0.005 + 0.013 * moment)
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        try:
            manifest = check_finished(out)
        except BadInput:
            continue
        assert json.loads((out / "manifest.json").read_text())["n"] == 1 == manifest.facts["n"]
        assert (out / "data.bin").stat().st_size == 64 * 65536


@given(st.lists(st.text(max_size=2)))
@examples(deadline=None)
def test_what_was_seen_is_known(texts: list[str]) -> None:
    seen, known = Seen(), set()
    for text in texts:
        assert seen.has(text) == (text in known)
        assert seen.add(text) == (text not in known)
        known.add(text)


def test_many_are_seen() -> None:
    seen = Seen()
    assert all(seen.add(str(i)) for i in range(20000))
    assert not any(seen.add(str(i)) for i in range(20000))
    assert len(seen.slots) * 8 < 30 * 20000


def test_a_store_is_copied_in_the_order_of_problems_and_samples(tmp_path: Path) -> None:
    rows = [completion(key=f"s/{n % 3}", sample=n // 3, n_prompt=n) for n in (5, 0, 4, 1, 3, 2)]
    store = CompletionStore(tmp_path / "partial.jsonl")
    store.append(rows[:4])
    store = CompletionStore(store.path)
    store.append(rows[4:])
    assert store.rows == rows
    store.copy_sorted(tmp_path / "whole.jsonl", {"s/2": 0, "s/0": 1, "s/1": 2})
    found = [row.n_prompt for row in read_completions(tmp_path / "whole.jsonl")]
    assert found == [2, 5, 0, 3, 1, 4]


def test_answers_are_read_from_the_file_when_asked_for(tmp_path: Path) -> None:
    rows = [completion(key=f"s/{n % 2}", sample=n // 2) for n in range(4)]
    write_completions(tmp_path / "completions.jsonl", rows)
    columns = read_columns(tmp_path / "completions.jsonl")
    held, whole = (StoredAnswers(tmp_path, columns, with_tokens=some) for some in (False, True))
    assert list(held) == ["s/0", "s/1"]
    assert [*whole["s/1"]] == [rows[1], rows[3]]
    assert held["s/1"][0].token_ids is None
    write_completions(tmp_path / "completions.jsonl", rows[:1])
    with pytest.raises(BadInput, match="has changed since it was read"):
        held["s/1"]


ANSWER = st.tuples(
    st.integers(0, 2), st.sampled_from(["1", "1.0", "2", None]), st.sampled_from(VERDICTS)
)


@given(answers=st.lists(ANSWER, min_size=1, max_size=24))
def test_columns_vote_as_the_rows_do(answers: list[tuple[int, str | None, str]]) -> None:
    rows = [completion(key=f"s/{key}", extracted=text, verdict=v) for key, text, v in answers]
    columns = columns_of(rows)
    for number, key in enumerate(columns.problems.keys):
        own = [row for row in rows if row.key == key and row.verdict != "ungradable"]
        votes = [(canonical(row.extracted), row.right) for row in own if row.extracted is not None]
        assert columns.majorities[number] == pytest.approx(majority(votes))
        if own:
            assert columns.shares[number] == sum(row.right for row in own) / len(own)


ROW = st.fixed_dictionaries(
    {
        "key": st.sampled_from(["s/0", "s/1", "s/2"]),
        "verdict": st.sampled_from(VERDICTS),
        "stop": st.sampled_from(["stop", "length", "failed"]),
        "n_completion": st.integers(0, 99),
        "extracted": st.sampled_from(["1", " A", "a", None]),
        "reason": st.sampled_from(["boxed", "none"]),
        "looping": st.sampled_from([True, False, None]),
    }
)


@given(values=st.lists(ROW, min_size=1, max_size=24), picked=st.sets(st.integers(0, 2)))
def test_columns_count_as_the_rows_do(values: list[dict], picked: set[int]) -> None:
    rows = [completion(**value) for value in values]
    columns = columns_of(rows)
    keys = columns.problems.keys
    at = np.array([number for number in range(len(keys)) if number in picked], dtype=np.int64)
    own = [row for number in at for row in rows if row.key == keys[number]]
    assert columns.n_completion[columns.rows(at)].tolist() == [row.n_completion for row in own]
    assert [columns.reasons[code] for code in columns.reason[columns.rows(at)]] == [
        row.reason for row in own
    ]
    gradable = [row for row in own if row.verdict != "ungradable"]
    for name, expected in {
        "one": len(own),
        "graded": len(gradable),
        "loops": sum(row.looping is True for row in own),
        "has_looping": sum(row.looping is not None for row in own),
        "right_or_truncated": sum(row.right or row.stop == "length" for row in gradable),
        "answered n_completion": sum(row.n_completion for row in own if row.answered),
        "right answered n_completion": sum(
            row.n_completion for row in own if row.answered and row.right
        ),
    }.items():
        assert columns.total(name, at) == expected
    # Each answer stands for the first completion with an equal one.
    chosen = columns.rows(columns.everything)
    ordered = [row for key in keys for row in rows if row.key == key]
    for name, same in (("vote", canonical), ("text", lambda text: text.strip().casefold())):
        for number, code in zip(chosen, getattr(columns, name)[chosen], strict=True):
            text = ordered[number].extracted
            if text is None:
                assert code == NONE
            else:
                assert same(ordered[code].extracted) == same(text)
