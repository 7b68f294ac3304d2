"""The site: it builds strictly, loads nothing external and names every tool and renamed key."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from conftest import ROOT

from ratiocine import renames

PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "launch" / "README.md"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    result = build(ROOT / "mkdocs.yml", out)
    assert result.returncode == 0, result.stderr[-3000:]
    return out


def build(config: Path, out: Path) -> subprocess.CompletedProcess[str]:
    # --quiet would silence the warnings that --strict counts
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "-f",
        str(config),
        "-d",
        str(out),
    ]
    env = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, env=env)


class Assets(HTMLParser):
    """URLs that a page loads without a click: sources, style sheets, icons and URLs in styles."""

    def __init__(self) -> None:
        super().__init__()
        self.urls: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        names = ["src", "srcset", "data", "poster"]
        names += ["href"] if tag in ("link", "use", "image") else []
        self.urls += [values[name] for name in names if name in values]
        self.urls += re.findall(r"url\(([^)]*)\)", values.get("style", ""))


def external_assets(page: str) -> list[str]:
    parser = Assets()
    parser.feed(page)
    return [url for url in parser.urls if re.match(r"\s*['\"]?(\w+:)?//", url)]


def test_pages_load_nothing_external(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) >= 14
    for page in pages:
        assert not external_assets(page.read_text(encoding="utf-8")), page.name
    for style in site.rglob("*.css"):
        css = style.read_text(encoding="utf-8")
        assert not re.search(r"(@import|url\()\s*['\"]?(https?:)?//", css), style.name


def test_external_assets_are_detected() -> None:
    script = '<script src="https://cdn.example/a.js"></script>'
    sheet = '<link href="//fonts.example/b.css">'
    local = '<a href="https://arxiv.org/abs/1">a paper</a><img src="assets/c.svg">'
    assert len(external_assets(script + sheet)) == 2
    assert not external_assets(local)


@pytest.mark.parametrize("link", ["nowhere.md", "index.md#nowhere"])
def test_a_dead_link_breaks_the_build(link: str, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text(f"# Title\n\n[link]({link})\n", encoding="utf-8")
    settings = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("nav:\n")[0]
    (tmp_path / "mkdocs.yml").write_text(settings, encoding="utf-8")
    result = build(tmp_path / "mkdocs.yml", tmp_path / "site")
    assert result.returncode != 0
    assert "nowhere" in result.stderr


def test_links_of_the_readme_exist() -> None:
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md"):
        text = re.sub(r"<!--.*?-->", "", page.read_text(encoding="utf-8"), flags=re.S)
        for link in re.findall(r"\]\(([^)#]+)", text):
            assert link.startswith("http") or (ROOT / link).exists(), f"{page.name}: {link}"


def tools() -> list[str]:
    """Every module that is run by `python -m`."""
    found = []
    for package in ("distill", "train", "rl", "eval", "launch", "bench"):
        for file in sorted((ROOT / package).rglob("*.py")):
            text = file.read_text(encoding="utf-8")
            if 'if __name__ == "__main__"' in text and "refuse_renamed" not in text:
                parts = file.relative_to(ROOT).with_suffix("").parts
                found.append(".".join(part for part in parts if part != "__main__"))
    return found


def test_every_tool_is_documented() -> None:
    expected = {"train", "train.merge", "eval.chat", "eval.report", "launch.dashboard", "bench.sft"}
    assert expected <= set(tools())
    pages = [page for page in PAGES if page.name != "CONTRIBUTING.md"]
    text = "".join(page.read_text(encoding="utf-8") for page in pages)
    assert not [
        tool for tool in tools() if not re.search(rf"python -m {re.escape(tool)}(?![\w.])", text)
    ]


def test_every_renamed_key_is_documented() -> None:
    text = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    for verb, table in renames.RENAMED.items():
        for key in table:
            for name in (key, renames.new_key(verb, key) or ""):
                assert f"`{name.removeprefix('teacher.')}`" in text, f"{verb}: {key}"


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 110
