"""The checks for a GPU run on a CPU with a tiny shape; one that fails does not stop the others."""

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import command

from bench.gpu_check.machine import peak_flops
from bench.gpu_check.page import page


def checked(out: Path, *words: str) -> tuple[int, dict[str, Any], dict[str, Any]]:
    """Exit code, last line and JSON file of a tiny run."""
    done = command("bench.gpu_check", "--tiny", "--out", str(out), "--work", str(out), *words)
    assert done.stdout, done.stderr[-3000:]
    (file,) = out.glob("*.json")
    assert file.with_suffix(".html").exists()
    return done.returncode, json.loads(done.stdout.splitlines()[-1]), json.loads(file.read_text())


@pytest.mark.long
def test_a_check_at_its_time_limit_fails_and_others_go_on(tmp_path: Path) -> None:
    only = ("--only", "sft-full", "sft-lora", "vllm", "--limit", "sft-full=0.2")
    code, last, result = checked(tmp_path, *only)
    rows = {row["name"]: row for row in result["rows"]}
    assert code == 1
    assert last["failed"] == ["sft-full"], result["rows"]
    assert "time limit of 0.2 s" in rows["sft-full"]["reason"]
    lora = rows["sft-lora"]
    assert lora["status"] == "pass", lora
    assert lora["measured"]["loss_last"] < lora["measured"]["loss_first"]
    assert lora["measured"]["mfu"] > 0
    assert any("train ratio=0.5" in words for words in lora["commands"])
    assert not list(tmp_path.glob("gpu-check-*/")), "the folder of the runs is left"


@pytest.mark.long
def test_checks_after_the_time_are_not_run(tmp_path: Path) -> None:
    code, last, result = checked(tmp_path, "--only", "memory", "sft-full", "--budget", "0")
    row, memory = result["rows"]
    assert (code, last["not run"]) == (0, 1)
    assert (row["status"], row["reason"]) == ("not run", "time")
    assert memory["reason"] == "no training ran", "it is the last, and needs no time"


@pytest.mark.slow
def test_every_check_runs_on_a_cpu(tmp_path: Path) -> None:
    code, last, result = checked(tmp_path)
    assert (code, last["fail"], last["not run"]) == (0, 0, 0), result["rows"]
    rows = {row["name"]: row for row in result["rows"]}
    assert rows["resume"]["measured"]["identical"]
    assert {name for name, row in rows.items() if row["status"] == "skipped"} <= {
        *("memory", "zero2", "zero3", "qlora", "trl-liger", "vllm")
    }


def test_the_page_escapes_output() -> None:
    row = {
        "name": "sft-full",
        "about": "train",
        "status": "fail",
        "reason": "<script>alert(1)</script>",
        "seconds": 1.0,
        "measured": {"loss": 0.5, "equal": True, "<b>": "<i>"},
        "expected": "a < b",
        "commands": ["python -m train '<x>'"],
        "log": "</pre><script>alert(2)</script>\x1b[31m",
    }
    machine = {"gpu": "<H100>", "peak_flops": 1e12, "matmul_flops": 1e12, "versions": {}}
    result = {"rows": [row], "machine": {**machine, "peak_source": "data sheet"}}
    facts = {"tiny": True, "seconds": 1.0, "date": "today", "revision": None, "processes": "forks"}
    html = page({**result, **facts})
    assert "<script>" not in html
    assert "<i>" not in html
    assert "&lt;script&gt;alert(2)" in html
    assert "⟨U+001B⟩" in html


@pytest.mark.parametrize(
    ("name", "tera"),
    [
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA L40S", 362),
        ("NVIDIA L4", 121),
        ("NVIDIA GH200 480GB", 989),
    ],
)
def test_peak_flops_by_name(name: str, tera: int) -> None:
    assert peak_flops(name) == tera * 1e12
    assert peak_flops("Some other card") is None
