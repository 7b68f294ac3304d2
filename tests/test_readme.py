"""The commands of README.md and docs/ run as written, shortened; those that need the network or
several processes (`test_ranks.py`) are only composed. README.md uses the packaged model, docs/ the
tiny one and the quickstart's output."""

import importlib
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT, command

from ratiocine import cli
from ratiocine.data import DataConfig
from ratiocine.rewards import RewardConfig

DOCS = ROOT / "docs"
PAGES = sorted(page.stem for page in DOCS.glob("*.md"))
SHORT = {  # overrides that make a verb quick
    "distill": ["limit=2"],
    "train": ["max_steps=1"],
    "rl": ["max_steps=1", "limit=40", "val_size=4"],
    "eval": ["limit=1", "max_new_tokens=4"],
    "launch": ["dry_run=true"],
}
HUB_MODELS = {name for name in cli.options("model") if name.startswith("qwen")}
NEEDS_NETWORK = {
    "data=gsm8k",
    "data=math-reasoning-ift-pairs",
    "teacher=openai",
    *(f"{key}={name}" for key in ("model", "teacher.model") for name in HUB_MODELS),
}
TITLED_BLOCK = re.compile(r'```(\w+) title="([^"]+)"\n(.*?)```', re.S)
GROUPS = (  # of conf/, whose every option is named in a page
    "data",
    "deepspeed",
    "engine",
    "executor",
    "objective",
    "reward",
    "scenario",
    "select",
    "strategy",
    "study",
    "teacher",
    "thinking_prompt",
)


def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def commands(page: Path) -> list[list[str]]:
    """The words of every command in the page's `sh` blocks."""
    blocks = re.findall(r"```sh\n(.*?)```", text(page), re.S)
    return [shlex.split(line) for block in blocks for line in block.strip().splitlines()]


def shortened(words: list[str]) -> list[str]:
    """A command with overrides that make it quick; composed only where it cannot run quickly."""
    composed_only = ("data.columns", "teacher=desk", "executor.nproc_per_node")
    placeholder = any(word.startswith(composed_only) for word in words)
    if placeholder or NEEDS_NETWORK & set(words):
        return [*words, "--cfg", "job"]
    return [*words, *(word for word in SHORT.get(words[2], []) if word not in words)]


class Commands:
    """Runs commands of pages in one shared folder; `tiny` replaces the packaged model."""

    def __init__(self, root: Path, *, tiny: bool) -> None:
        self.root = root
        self.tiny = tiny
        self.done: list[list[str]] = []

    def run_page(self, page: Path) -> None:
        """All commands that no earlier page had, with the files that the page defines."""
        files = self.root / page.stem
        files.mkdir()
        for kind, name, block in TITLED_BLOCK.findall(text(page)):
            if kind in ("json", "yaml"):
                content = self.relocated(block, files) if kind == "yaml" else block
                (files / name).parent.mkdir(parents=True, exist_ok=True)
                (files / name).write_text(content, encoding="utf-8")
        for words in map(shortened, commands(page)):
            assert words[:2] == ["python", "-m"]
            if words not in self.done:
                self.done.append(words)
                overrides = [self.relocated(word, files) for word in words[3:]]
                self.run(words[2], overrides, files / "conf")

    def run(self, verb: str, words: list[str], conf: Path) -> None:
        if verb in SHORT:
            composed = "--cfg" in words
            keys = {word.partition("=")[0] for word in words}
            if not composed and "out" not in keys:
                words = [*words, f"out={self.root}/{len(self.done)}"]
            if self.tiny and not composed and verb != "launch" and "model" not in keys:
                words = [*words, "model=tiny"]
            if conf.is_dir():
                words = [*words, "--config-dir", str(conf)]
        if verb == "eval.budgets":  # within the shortened answers
            words = [{"16": "1", "32": "2", "64": "4"}.get(word, word) for word in words]
        result = command(verb, *words)
        message = f"python -m {verb} {shlex.join(words)}\n{result.stderr[-3000:]}"
        assert result.returncode == 0, message

    def relocated(self, word: str, files: Path) -> str:
        """A word with its folders and files below `root`."""
        word = word.replace("runs/", f"{self.root}/").replace("0.25,0.5,0.75,1", "1")
        word = re.sub(r"\b(mine|test|own)\.(jsonl|parquet|yaml)", rf"{files}/\1.\2", word)
        return word.replace("smollm2-135m", "tiny") if self.tiny else word


def leaves_nothing_behind() -> bool:
    """Hydra writes no folders of its own into the checkout."""
    return not any(ROOT.glob("outputs")) and not any(ROOT.glob("multirun*"))


@pytest.mark.model
def test_the_commands_of_the_readme_run(tmp_path: Path) -> None:
    assert len(commands(ROOT / "README.md")) >= 8
    Commands(tmp_path, tiny=False).run_page(ROOT / "README.md")
    assert (tmp_path / "report.html").exists()
    assert leaves_nothing_behind()


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory: pytest.TempPathFactory) -> Commands:
    """What the other pages continue from. Studies of the README are planned by its own test."""
    runner = Commands(tmp_path_factory.mktemp("docs"), tiny=True)
    in_readme = commands(ROOT / "README.md")
    runner.done += [shortened(words) for words in in_readme if words[2] == "launch"]
    runner.run_page(DOCS / "quickstart.md")
    return runner


@pytest.mark.slow
@pytest.mark.model
@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if page != "quickstart" and commands(DOCS / f"{page}.md")],
)
def test_the_commands_of_a_page_run(page: str, quickstart: Commands) -> None:
    quickstart.run_page(DOCS / f"{page}.md")
    assert leaves_nothing_behind()


def test_the_code_of_the_page_on_extending_runs() -> None:
    namespace: dict[str, Any] = {}
    tests = 0
    for kind, name, block in TITLED_BLOCK.findall(text(DOCS / "extend.md")):
        if kind == "python":
            before = set(namespace)
            namespace = {**names_in(name), **namespace}
            exec(compile(block, name, "exec", dont_inherit=True), namespace)
            for added in set(namespace) - before:
                if added.startswith("test_"):
                    tests += 1
                    namespace[added]()
    assert tests == 6


def names_in(name: str) -> Mapping[str, Any]:
    """The names of the file that a block is added to, if it exists."""
    if not (ROOT / name).exists():
        return {"__name__": "page"}
    return vars(importlib.import_module(name.removesuffix(".py").replace("/", ".")))


def test_the_configurations_of_the_page_on_extending_are_valid() -> None:
    blocks = {
        name: yaml.safe_load(block)
        for kind, name, block in TITLED_BLOCK.findall(text(DOCS / "extend.md"))
        if kind == "yaml"
    }
    assert cli.check(DataConfig, blocks["conf/data/riddles.yaml"]).hub is not None
    reward = blocks["conf/reward/boxed.yaml"]
    known = [term for term in reward["terms"] if term["name"] != "boxed"]
    assert len(known) == len(reward["terms"]) - 1
    cli.check(RewardConfig, {**reward, "terms": known})
    for file in blocks:
        assert (cli.CONF / Path(file).parts[1]).is_dir()
        assert not (ROOT / file).exists()


@pytest.mark.parametrize("group", GROUPS)
def test_every_option_of_a_group_is_documented(group: str) -> None:
    pages = "".join(text(page) for page in (ROOT / "README.md", *DOCS.glob("*.md")))
    names = set(cli.options(group)) - {"local", "none"}
    assert names
    for name in names:
        quoted = re.search(rf"`{re.escape(group)}={re.escape(name)}[` ]", pages)
        assert quoted or f"`{name}`" in pages, name


def test_every_file_named_for_extensions_exists() -> None:
    page = text(ROOT / "CONTRIBUTING.md") + text(DOCS / "extend.md")
    for name in re.findall(r"`((?:[a-z_]+/)+[a-z_]+\.py)`", page):
        created = f'title="{name}"' in page
        assert created or (ROOT / name).exists(), name
