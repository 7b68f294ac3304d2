"""Structure: imports go one way, packages have doors, no cycles, no two modules of one name."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
VERBS = ("distill", "train", "rl", "eval")
ALLOWED = {
    "ratiocine": {"ratiocine"},
    **{verb: {verb, "ratiocine"} for verb in VERBS},
    "launch": {"launch", "ratiocine", *VERBS},
    "bench": {"bench", "launch", "ratiocine", *VERBS},
}
OURS = {*ALLOWED, "tests"}
# Units of `ratiocine`, lowest first: each may import from the rows above its own.
LAYERS = (
    ("config", "cost", "errors", "hashing", "plotting", "records", "startup", "stats"),
    ("completion_parts", "devices", "renames", "stores"),
    ("cuts", "prompts"),
    ("executors", "rendering", "grading"),
    ("columns",),
    ("column_builder",),
    ("cli", "progress", "rewards", "scores", "strategies"),
    ("runs",),
    ("data", "models"),
    ("engines", "training"),
    ("evaluate", "memory"),
    ("deliberation",),
)
REPEATED = {"__init__", "__main__", "config"}  # one role in several packages
LIGHT = ("torch", "transformers", "datasets", "pandas", "peft", "hydra", "scipy", "matplotlib")


def imported(source: str) -> set[str]:
    """Full names of all modules a source file imports, wherever the import stands."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module or ""}
    return found


def breaches(package: str, source: str) -> set[str]:
    return {
        name
        for name in imported(source)
        if (top := name.split(".")[0]) in OURS and top not in ALLOWED[package]
    }


FILES = [(package, file) for package in ALLOWED for file in sorted((ROOT / package).rglob("*.py"))]
MODULES = {
    ".".join(file.relative_to(ROOT).with_suffix("").parts): file
    for package, file in FILES
    if package != "bench"
}
DOORS = {
    ".".join(stub.parent.relative_to(ROOT).parts): stub
    for package in ALLOWED
    for stub in sorted((ROOT / package).rglob("__init__.pyi"))
}


@cache
def door(stub: Path) -> dict[str, str]:
    """What a door names, each with the room that it comes from; a room that is named itself has its
    own name."""
    found = {}
    for node in ast.parse(stub.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                found[alias.name] = node.module or alias.name
    return found


@cache
def sources(file: Path) -> list[tuple[str, str | None]]:
    """The (module, name) pairs of a file's imports; name is None for `import module`."""
    found: list[tuple[str, str | None]] = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(alias.name, None) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [(node.module, alias.name) for alias in node.names]
    return found


def edges(modules: Mapping[str, Path]) -> dict[str, set[str]]:
    """Which module imports which, through doors to the room behind them, type-only imports
    included."""
    found: dict[str, set[str]] = {module: set() for module in modules}
    for module, file in modules.items():
        for source, name in sources(file):
            target = f"{source}.{name}"
            if source in DOORS and name is not None and target not in modules:
                target = f"{source}.{door(DOORS[source]).get(name, '')}"
            elif target not in modules:
                target = source
            if target in modules and target != module:
                found[module].add(target)
    return found


def cycle(graph: Mapping[str, set[str]]) -> list[str]:
    """Modules on a cycle: what is left when modules that import nothing that is left are taken
    away, from both ends."""
    left = {module: set(targets) for module, targets in graph.items()}
    while True:
        leaves = [module for module, targets in left.items() if not targets & left.keys()]
        roots = left.keys() - {target for targets in left.values() for target in targets}
        gone = {*leaves, *roots}
        if not gone:
            return sorted(left)
        for module in gone:
            del left[module]


@pytest.mark.parametrize(
    ("package", "file"), FILES, ids=lambda value: str(value).removeprefix(str(ROOT))
)
def test_imports_go_one_way(package: str, file: Path) -> None:
    assert not breaches(package, file.read_text(encoding="utf-8"))


def test_the_rule_bites() -> None:
    assert breaches("train", "def f():\n    from eval.suite import load\n") == {
        "eval.suite",
        "eval.suite.load",
    }
    assert breaches("ratiocine", "import train.sft") == {"train.sft"}
    assert not breaches("launch", "import train.sft, ratiocine.cli")
    assert cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == ["b", "c"]
    assert cycle({"a": {"b"}, "b": set()}) == []


def test_no_import_cycles() -> None:
    assert cycle(edges(MODULES)) == []


def test_packages_of_the_library_look_one_way() -> None:
    rank = {unit: at for at, row in enumerate(LAYERS) for unit in row}
    units = {module.split(".")[1] for module in MODULES if module.startswith("ratiocine.")}
    assert units - {"__init__"} == rank.keys(), "LAYERS lists every unit of ratiocine"
    for module, targets in edges(MODULES).items():
        if module.startswith("ratiocine.") and not module.endswith("ratiocine.__init__"):
            unit = module.split(".")[1]
            for other in {target.split(".")[1] for target in targets} - {unit}:
                assert rank[other] < rank[unit], f"{module} looks into {other}"


def test_outsiders_come_through_the_door() -> None:
    for module, file in {**MODULES, **{str(f): f for p, f in FILES if p == "bench"}}.items():
        for source, name in sources(file):
            for package, stub in DOORS.items():
                if module.startswith(f"{package}."):
                    continue
                assert not source.startswith(f"{package}."), f"{module} enters the room {source}"
                if source == package and name is not None:
                    assert name in door(stub), f"{module}: {package} names no {name}"


@pytest.mark.parametrize("package", DOORS)
def test_doors_lead_somewhere(package: str) -> None:
    rooms = {module.rpartition(".")[2] for module in MODULES if module.startswith(f"{package}.")}
    files = [*(file for _, file in FILES), *(ROOT / "tests").glob("*.py")]
    used = {name for file in files for source, name in sources(file) if source == package}
    text = "".join(file.read_text(encoding="utf-8") for file in files)
    for name, room in door(DOORS[package]).items():
        assert room in rooms, f"{package}: no room {room}"
        assert name not in rooms or name == room, f"{package}: {name} hides a room"
        short = package.rpartition(".")[2]
        assert name in used or f"{short}.{name}" in text, f"{package}: nobody uses {name}"


def test_no_two_modules_share_a_name() -> None:
    names = Counter(module.rpartition(".")[2] for module in MODULES)
    assert not {name for name, count in names.items() if count > 1} - REPEATED


def test_only_the_command_line_imports_hydra() -> None:
    users = {
        file.relative_to(ROOT).as_posix()
        for _, file in FILES
        if any(n.split(".")[0] == "hydra" for n in imported(file.read_text(encoding="utf-8")))
    }
    assert users
    assert all(user.startswith("ratiocine/cli") for user in users), users


@pytest.mark.parametrize(
    "code", ["import ratiocine.grading", "import ratiocine", "from ratiocine.grading import grade"]
)
def test_light_imports_stay_light(code: str) -> None:
    check = f"{code}; import sys; sys.exit(any(n in sys.modules for n in {LIGHT!r}))"
    assert subprocess.run([sys.executable, "-c", check], cwd=ROOT).returncode == 0
