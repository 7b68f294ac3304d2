"""Traces, pairs and run directories: what is on disk is whole, or is not accepted."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

from ratiocine.errors import BadInput
from ratiocine.hashing import Seen
from ratiocine.records import Pair
from ratiocine.runs import check_finished, locks, open_run, run_hash
from ratiocine.stores import CompletionStore, read_completions, read_pairs, write_pairs

ROWS = [{"key": str(i), "text": "ü\n" * i} for i in range(6)]


def test_a_store_gives_back_what_was_appended(tmp_path: Path) -> None:
    store = CompletionStore(tmp_path / "t.jsonl")
    store.append(ROWS[:2])
    store.append(ROWS[2:])
    assert (
        CompletionStore(tmp_path / "t.jsonl").rows
        == ROWS
        == list(read_completions(tmp_path / "t.jsonl"))
    )


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(0, 10_000))
def test_a_torn_store_keeps_its_whole_lines_and_goes_on(
    cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("torn") / "t.jsonl"
    CompletionStore(path).append(ROWS)
    whole = path.read_bytes()
    path.write_bytes(whole[: cut % (len(whole) + 1)])
    kept = CompletionStore(path)
    assert kept.rows == ROWS[: len(kept.rows)]
    assert len(kept.rows) == whole[: cut % (len(whole) + 1)].count(b"\n")
    kept.append(ROWS[len(kept.rows) :])
    assert path.read_bytes() == whole


def test_a_changed_byte_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    CompletionStore(path).append(ROWS)
    path.write_bytes(path.read_bytes().replace(b'"key": "3"', b'"key": "9"'))
    assert len(CompletionStore(path).rows) == 3
    path.write_bytes(path.read_bytes() + b'{"crc": 1, "row": {}}\n')
    with pytest.raises(BadInput, match="line 4 is damaged"):
        list(read_completions(path))


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


CONFIG = {"seed": 1, "model": {"name": "x", "path": "/a"}, "out": None, "threads": 2}


def test_a_hash_names_the_work_and_not_the_machine() -> None:
    def named(**changes: object) -> str:
        return run_hash("train", {**CONFIG, **changes}, {"pairs": "1"})

    assert named() == named(threads=8) == named(out="x") == named(model={"name": "x", "path": "/b"})
    assert named() != named(seed=2) != run_hash("train", CONFIG, {"pairs": "2"})


def test_a_finished_run_is_found_again_and_other_work_refused(tmp_path: Path) -> None:
    config = {**CONFIG, "out": str(tmp_path / "run")}
    run = open_run("train", config, {})
    assert not run.finished
    run.write_json("mixture.json", {"a": 1})
    with pytest.raises(BadInput, match="no finished run"):
        check_finished(run.out)
    run.finish(n=3)
    assert open_run("train", config, {}).finished
    assert check_finished(run.out)["n"] == 3
    with pytest.raises(BadInput, match="a finished run of a different configuration"):
        open_run("train", {**config, "seed": 2}, {})
    (run.out / "mixture.json").write_text("{}")
    with pytest.raises(BadInput, match=r"corrupt: mixture\.json"):
        check_finished(run.out)


def test_who_waited_for_a_folder_finds_what_was_done_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, hold = {**CONFIG, "out": str(tmp_path / "run")}, locks.hold

    def once_another_has_finished(folder: Path) -> None:
        monkeypatch.setattr(locks, "hold", hold)
        open_run("train", config, {}).finish(n=3)
        hold(folder)

    monkeypatch.setattr(locks, "hold", once_another_has_finished)
    assert open_run("train", config, {}).finished
    assert check_finished(tmp_path / "run")["n"] == 3


def test_a_kill_while_a_file_is_replaced_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that goes on writes its configuration anew."""
    config = {**CONFIG, "out": str(tmp_path / "run")}
    (open_run("train", config, {}).out / "checkpoints").mkdir()

    def ends(*words: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", ends)
        with pytest.raises(KeyboardInterrupt):
            open_run("train", config, {})
    assert not open_run("train", config, {}).finished


def test_where_things_are_is_no_part_of_a_run() -> None:
    def named(where: str, n: int = 1) -> str:
        return run_hash(
            "distill",
            {"select": {"pass_rates": [{"run": where, "n": n}]}, "out": where},
            {"pass_rates:0": "ab"},
        )

    assert named("here") == named("there") != named("here", n=2)


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(BadInput, match="no run of this tool"):
        open_run("train", {**CONFIG, "out": str(tmp_path)}, {})


def test_a_folder_left_by_a_kill_before_its_first_file_is_taken(tmp_path: Path) -> None:
    (tmp_path / ".config.yaml.partial").write_text("# tr")
    assert not open_run("train", {**CONFIG, "out": str(tmp_path)}, {}).finished


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    run = open_run("train", {**CONFIG, "out": str(tmp_path / "run")}, {})
    run.finish(schema_version=99)
    with pytest.raises(BadInput, match="newer version"):
        check_finished(run.out)


def test_a_full_disk_and_a_file_in_the_way_are_told(tmp_path: Path) -> None:
    from ratiocine.runs import check_writable

    with pytest.raises(BadInput, match="GB free on this disk"):
        check_writable(tmp_path, need_bytes=10**18)
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="cannot be written"):
        check_writable(tmp_path / "file" / "run")


WRITER = """
import sys, pathlib
from ratiocine.runs import open_run
run = open_run("distill", {"out": sys.argv[1], "seed": 0}, {})
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
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(out)], cwd=ROOT, stdout=subprocess.PIPE
        )
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(0.005 + 0.013 * moment)
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        try:
            manifest = check_finished(out)
        except BadInput:
            continue
        assert json.loads((out / "manifest.json").read_text())["n"] == 1 == manifest["n"]
        assert (out / "data.bin").stat().st_size == 64 * 65536


@given(st.lists(st.text(max_size=2)))
@settings(deadline=None)
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
