"""Commands of the README and of docs/ run as they stand, made short; those that need a hub or a server compose. The README's have
the packaged model, the others the tiny one, and go on from what the quickstart made."""

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
SHORT = {
    "distill": ["limit=2"],
    "train": ["max_steps=1"],
    "rl": ["max_steps=1", "limit=40", "val_size=4"],
    "eval": ["limit=1", "max_new_tokens=4"],
    "launch": ["dry_run=true"],
}
HUB = {name for name in cli.options("model") if name.startswith("qwen")}
ELSEWHERE = {
    "data=gsm8k",
    "data=math-reasoning-ift-pairs",
    "teacher=openai",
    *(f"{key}={name}" for key in ("model", "teacher.model") for name in HUB),
}
TITLED = re.compile(r'```(\w+) title="([^"]+)"\n(.*?)```', re.S)


def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def commands(page: Path) -> list[list[str]]:
    """The words of every command in the page's `sh` blocks."""
    return [
        shlex.split(line)
        for block in re.findall(r"```sh\n(.*?)```", text(page), re.S)
        for line in block.strip().splitlines()
    ]


def shortened(words: list[str]) -> list[str]:
    """A command as it is run here, or, where that needs a hub or a server, composed."""
    if ELSEWHERE & set(words) or any(
        word.startswith(("data.columns", "teacher=desk")) for word in words
    ):
        return [*words, "--cfg", "job"]
    return [*words, *(word for word in SHORT.get(words[2], []) if word not in words)]


class Commands:
    """Runs commands of pages in a folder that all share; `tiny` takes the tiny model for the packaged one."""

    def __init__(self, root: Path, *, tiny: bool) -> None:
        self.root, self.tiny, self.done = root, tiny, list[list[str]]()

    def run(self, page: Path) -> None:
        """All commands that no page before had, with the page's files beside them."""
        files = self.root / page.stem
        files.mkdir()
        for kind, name, block in TITLED.findall(text(page)):
            if kind in ("json", "yaml"):
                (files / name).parent.mkdir(parents=True, exist_ok=True)
                (files / name).write_text(
                    self.placed(block, files) if kind == "yaml" else block, encoding="utf-8"
                )
        for words in map(shortened, commands(page)):
            assert words[:2] == ["python", "-m"]
            if words not in self.done:
                self.done.append(words)
                self.one(words[2], [self.placed(word, files) for word in words[3:]], files / "conf")

    def one(self, verb: str, words: list[str], conf: Path) -> None:
        if verb in SHORT:
            composed, named = "--cfg" in words, {word.partition("=")[0] for word in words}
            words += [] if composed or "out" in named else [f"out={self.root}/{len(self.done)}"]
            words += (
                ["model=tiny"]
                if self.tiny and verb != "launch" and not composed and "model" not in named
                else []
            )
            words += ["--config-dir", str(conf)] if conf.is_dir() else []
        result = command(verb, *words)
        assert result.returncode == 0, (
            f"python -m {verb} {shlex.join(words)}\n{result.stderr[-3000:]}"
        )

    def placed(self, word: str, files: Path) -> str:
        """A word with its folders and files in ours."""
        word = word.replace("runs/", f"{self.root}/").replace("0.25,0.5,0.75,1", "1")
        word = re.sub(r"\b(mine|test)\.(jsonl|parquet)", rf"{files}/\1.\2", word)
        return word.replace("smollm2-135m", "tiny") if self.tiny else word


@pytest.mark.model
def test_the_commands_of_the_readme_run(tmp_path: Path) -> None:
    assert len(commands(ROOT / "README.md")) >= 8
    Commands(tmp_path, tiny=False).run(ROOT / "README.md")
    assert (tmp_path / "report.html").exists()
    assert not any(ROOT.glob("outputs")) and not any(ROOT.glob("multirun*"))


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Commands:
    """What other pages go on from; a study that the README names already is planned there."""
    made = Commands(tmp_path_factory.mktemp("docs"), tiny=True)
    made.done += [
        shortened(words) for words in commands(ROOT / "README.md") if words[2] == "launch"
    ]
    made.run(DOCS / "quickstart.md")
    return made


@pytest.mark.model
@pytest.mark.parametrize(
    "page", [page for page in PAGES if page != "quickstart" and commands(DOCS / f"{page}.md")]
)
def test_the_commands_of_a_page_run(page: str, begun: Commands) -> None:
    begun.run(DOCS / f"{page}.md")
    assert not any(ROOT.glob("outputs")) and not any(ROOT.glob("multirun*"))


def test_the_code_of_the_page_on_extending_runs() -> None:
    found: dict[str, Any] = {}
    tests = 0
    for kind, name, block in TITLED.findall(text(DOCS / "extend.md")):
        if kind == "python":
            before = set(found)
            found = {**names_of(name), **found}
            exec(
                compile(block, name, "exec", dont_inherit=True), found
            )  # our own page, as a reader would run it
            for made in set(found) - before:
                if made.startswith("test_"):
                    tests += 1
                    found[made]()
    assert tests == 4


def names_of(name: str) -> Mapping[str, Any]:
    """What stands in the file that a block goes into, where there is one."""
    file = ROOT / name
    return (
        vars(importlib.import_module(name.removesuffix(".py").replace("/", ".")))
        if file.exists()
        else {"__name__": "page"}
    )


def test_the_configurations_of_the_page_on_extending_are_right() -> None:
    blocks = {
        name: yaml.safe_load(block)
        for kind, name, block in TITLED.findall(text(DOCS / "extend.md"))
        if kind == "yaml"
    }
    assert cli.check(DataConfig, blocks["conf/data/riddles.yaml"]).hub is not None
    reward = blocks["conf/reward/boxed.yaml"]
    known = [term for term in reward["terms"] if term["name"] != "boxed"]
    assert len(known) == len(reward["terms"]) - 1
    cli.check(RewardConfig, {**reward, "terms": known})
    for file in blocks:
        assert (cli.CONF / Path(file).parts[1]).is_dir() and not (ROOT / file).exists()


def test_every_name_in_the_tables_exists() -> None:
    told = "".join(text(page) for page in (ROOT / "README.md", *DOCS.glob("*.md")))
    for group in ("data", "study", "reward", "objective", "switch", "select", "teacher", "engine"):
        for name in cli.options(group):
            assert f"`{name}`" in told or f"`{group}={name}`" in told or name == "local", (
                f"{group}={name}"
            )
