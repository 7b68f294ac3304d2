"""The benchmarks start: their options parse, and what they import exists."""

import ast
import importlib
from pathlib import Path

import pytest
from conftest import ROOT, command

FILES = sorted((ROOT / "bench").rglob("*.py"))
OURS = {"bench", "ratiocine", "distill", "train", "rl", "eval", "launch"}
TOP = sorted((ROOT / "bench").iterdir())
TOOLS = [
    path.stem
    for path in TOP
    if path.stem not in ("__init__", "harness", "llama_cpp")
    and (path.suffix == ".py" or (path / "__main__.py").exists())
]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_names_imported_by_a_benchmark_exist(file: Path) -> None:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] in OURS:
            module = importlib.import_module(str(node.module))
            for alias in node.names:
                if not hasattr(module, alias.name):
                    importlib.import_module(f"{node.module}.{alias.name}")


@pytest.mark.parametrize("tool", TOOLS)
def test_a_benchmark_prints_its_usage(tool: str) -> None:
    result = command(f"bench.{tool}", "--help")
    assert result.returncode == 0, result.stderr
    assert f"python -m bench.{tool}" in result.stdout
