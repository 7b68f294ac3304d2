"""The grader's version is kept by hand: it must be bumped in the change that moves a verdict."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import make_verdicts
import pytest
from conftest import ROOT

from ratiocine.grading import GRADER_VERSION, worker


def complaint(version: str, differences: list) -> str | None:
    """Why the stored corpus and the grader do not go together; None where they do."""
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
    """The corpus is large enough to see a small change of each kind."""
    from ratiocine.grading import numbers, wording

    one = make_verdicts.stored()
    few = [(p, cases) for p, cases in one[1] if p.kind in ("number", "string")]
    monkeypatch.setattr(make_verdicts, "stored", lambda: (one[0], few))
    monkeypatch.setitem(numbers.TIMES, "million", 10**7)
    numbers._read_number.cache_clear()
    found = make_verdicts.differences()
    numbers._read_number.cache_clear()
    assert found
    assert "bump GRADER_VERSION" in (complaint(GRADER_VERSION, found) or "")
    assert "make it anew" in (complaint("0", []) or "")
    assert wording.folded("A.") == "a"


def test_the_corpus_holds_every_kind_and_both_verdicts() -> None:
    corpus = make_verdicts.stored()[1]
    verdicts = Counter((p.kind, verdict[0]) for p, cases in corpus for _, verdict in cases)
    for kind in ("number", "expression", "choice", "span", "string", "instructions", "countdown"):
        assert verdicts[kind, "right"] >= 5, kind
        assert verdicts[kind, "wrong"] >= 10, kind
    assert sum(n for (_, verdict), n in verdicts.items() if verdict == "ungradable") >= 3
    assert 2000 < sum(verdicts.values()) < 8000
    assert not any(
        "too_costly" in verdict[2] for _, cases in corpus for _, verdict in cases
    )


def test_grading_needs_no_torch() -> None:
    """A judge is started for each process that grades: it must be light."""
    code = (
        "import sys; import ratiocine.grading as g, ratiocine.grading.worker;"
        "from ratiocine.prompts import split; from ratiocine.records import Problem;"
        "p = Problem('p', '?', '4', 'number', 'math-oe', 't');"
        "assert g.grade(p, split('4')).verdict == 'right';"
        "print(sorted({'torch', 'transformers', 'sympy', 'datasets'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


def test_the_judge_starts_as_its_own_module() -> None:
    """Its server imports what it judges with, and nothing of the training stack."""
    assert worker.equivalent("2", "\\log_3 9", limit=60) in ("same", "different")
    server = worker._pool().server
    words = server.args
    assert words[1:4] == ["-P", "-m", "ratiocine.grading.worker"]
    maps = Path(f"/proc/{server.pid}/maps")
    if maps.exists():
        assert "libtorch" not in maps.read_text()
