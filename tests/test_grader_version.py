"""The grader's version is kept by hand: a change that moves a verdict must bump it."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import make_verdicts
import pytest
from conftest import ROOT

from ratiocine.grading import GRADER_VERSION, numbers, worker


def complaint(version: str, differences: list) -> str | None:
    """Why the stored corpus and the grader do not match; None if they do."""
    if differences and version == GRADER_VERSION:
        return f"{len(differences)} verdicts changed: bump GRADER_VERSION, run make_verdicts.py"
    if version != GRADER_VERSION:
        return f"the corpus is of version {version}, the grader of {GRADER_VERSION}: make it anew"
    return None


def test_no_verdict_changes_without_a_new_version() -> None:
    assert worker.equivalent("x^2", "x x", limit=60) == "same"  # a new process imports sympy first
    version, differences = make_verdicts.stored()[0], make_verdicts.differences()
    assert complaint(version, differences) is None, differences[:5]


def test_a_changed_verdict_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    version, corpus = make_verdicts.stored()
    few = [(problem, cases) for problem, cases in corpus if problem.kind == "number"]
    monkeypatch.setattr(make_verdicts, "stored", lambda: (version, few))
    monkeypatch.setattr(numbers, "SCALES", [(words, n * 10) for words, n in numbers.SCALES])
    numbers._read_number.cache_clear()
    found = make_verdicts.differences()
    numbers._read_number.cache_clear()
    assert 0 < len(found) < 50
    assert "bump GRADER_VERSION" in (complaint(GRADER_VERSION, found) or "")
    assert "make it anew" in (complaint("0", found) or "")


def test_the_corpus_holds_every_kind_and_verdict() -> None:
    corpus = make_verdicts.stored()[1]
    verdicts = Counter((p.kind, verdict[0]) for p, cases in corpus for _, verdict in cases)
    kinds = ("number", "expression", "choice", "span", "string", "instructions", "countdown")
    for kind in (*kinds, "puzzle"):
        assert verdicts[kind, "right"] >= 5, kind
        assert verdicts[kind, "wrong"] >= 10, kind
    assert sum(n for (_, verdict), n in verdicts.items() if verdict == "ungradable") >= 3
    assert 2000 < sum(verdicts.values()) < 8000
    assert not any("too_costly" in verdict[2] for _, cases in corpus for _, verdict in cases)


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_grading_imports_no_training_library() -> None:
    code = (
        "import sys; import ratiocine.grading as grading, ratiocine.grading.server;"
        "from ratiocine.completion_parts import split; from ratiocine.records import Problem;"
        "problem = Problem('p', '?', '4', 'number', 'math-oe', 't');"
        "assert grading.grade(problem, split('4')).verdict == 'right';"
        "print(sorted({'torch', 'transformers', 'sympy', 'datasets'} & set(sys.modules)))"
    )
    done = run("-c", code)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


def test_the_judge_is_a_module_of_its_own_without_torch() -> None:
    assert worker.equivalent("2", "\\log_3 9", limit=60) in ("same", "different")
    server = worker._pool().server
    assert server.args[1:4] == ["-P", "-m", "ratiocine.grading.server"]
    maps = Path(f"/proc/{server.pid}/maps")
    if maps.exists():
        assert "libtorch" not in maps.read_text()


@pytest.mark.slow
def test_reasoning_gym_is_imported_quietly(tmp_path: Path) -> None:
    """Some of its dependencies raise SyntaxWarnings when they are compiled for the first time."""
    code = "from ratiocine.grading import reasoning_gym; print(reasoning_gym().__name__)"
    done = run("-X", f"pycache_prefix={tmp_path}", "-W", "error::SyntaxWarning", "-c", code)
    assert (done.returncode, done.stdout.strip()) == (0, "reasoning_gym"), done.stderr[-800:]
    assert "Warning" not in done.stderr
