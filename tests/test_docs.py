"""The site: built strictly, asking for nothing outside, and naming every tool."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from conftest import ROOT

PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "launch" / "README.md"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    result = build(ROOT / "mkdocs.yml", out)
    assert result.returncode == 0, result.stderr[-3000:]
    return out


def build(config: Path, out: Path) -> subprocess.CompletedProcess[str]:
    # --quiet would silence what --strict counts
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", str(config), "-d", str(out)]
    env = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=300, env=env)


class Assets(HTMLParser):
    """What a page loads, without a click: sources, styles, icons and what styles import."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = {name: value or "" for name, value in attrs}
        names = ("src", "srcset", "data", "poster") + (
            ("href",) if tag in ("link", "use", "image") else ()
        )
        self.found += [told[name] for name in names if name in told]
        self.found += re.findall(r"url\(([^)]*)\)", told.get("style", ""))


def outside(page: str) -> list[str]:
    reader = Assets()
    reader.feed(page)
    return [asset for asset in reader.found if re.match(r"\s*['\"]?(\w+:)?//", asset)]


def test_pages_ask_for_nothing_outside(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) >= 14
    for page in pages:
        assert not outside(page.read_text(encoding="utf-8")), page.name
    for style in site.rglob("*.css"):
        assert not re.search(
            r"(@import|url\()\s*['\"]?(https?:)?//", style.read_text(encoding="utf-8")
        ), style.name


def test_what_is_outside_is_seen() -> None:
    assert (
        outside(
            '<script src="https://cdn.example/a.js"></script><link href="//fonts.example/b.css">'
        )
        != []
    )
    assert not outside('<a href="https://arxiv.org/abs/1">a paper</a><img src="assets/c.svg">')


def test_a_link_that_leads_nowhere_breaks_the_build(tmp_path: Path) -> None:
    for link in ("nowhere.md", "index.md#nowhere"):
        (tmp_path / "docs").mkdir(exist_ok=True)
        (tmp_path / "docs" / "index.md").write_text(
            f"# Here\n\n[there]({link})\n", encoding="utf-8"
        )
        own = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("nav:\n")[0]
        (tmp_path / "mkdocs.yml").write_text(own, encoding="utf-8")
        result = build(tmp_path / "mkdocs.yml", tmp_path / "site")
        assert result.returncode != 0, link
        assert "nowhere" in result.stderr


def test_every_link_of_the_readme_leads_somewhere() -> None:
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md"):
        shown = re.sub(r"<!--.*?-->", "", page.read_text(encoding="utf-8"), flags=re.S)
        for link in re.findall(r"\]\(([^)#]+)", shown):
            assert link.startswith("http") or (ROOT / link).exists(), f"{page.name}: {link}"


def tools() -> list[str]:
    """Every module that is called by `python -m`."""
    found = []
    for package in ("distill", "train", "rl", "eval", "launch", "bench"):
        for file in sorted((ROOT / package).glob("*.py")):
            if 'if __name__ == "__main__"' in file.read_text(encoding="utf-8"):
                found.append(package if file.stem == "__main__" else f"{package}.{file.stem}")
    return found


def test_every_tool_is_named() -> None:
    assert {"train", "train.merge", "eval.chat", "launch.dashboard", "bench.sft"} <= set(tools())
    told = "".join(
        page.read_text(encoding="utf-8") for page in PAGES if page.name != "CONTRIBUTING.md"
    )
    missing = [
        tool for tool in tools() if not re.search(rf"python -m {re.escape(tool)}(?![\w.])", told)
    ]
    assert not missing


def test_the_readme_fits_a_screen() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120
