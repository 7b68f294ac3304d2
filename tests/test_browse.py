"""Browsing runs: the real server over small runs, over HTTP and in Chromium."""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest
from conftest import ROOT, command, settings, started
from test_browser import CONTRAST, Browser, browser  # noqa: F401  (a fixture)
from test_migration import unpacked
from test_report import evaluation, row

from eval.browse.run_folders import RunFolders
from ratiocine.records import Pair
from ratiocine.runs import locks, open_run
from ratiocine.stores import CompletionStore, write_pairs

SCRIPT = "<script>document.title = 'hacked'</script><img src=x onerror=alert(1)>"
HOSTILE = "<img src=x onerror=alert(1)>&\"'"  # the name of a folder


@dataclass
class Site:
    """A running server."""

    root: Path
    port: int

    def address(self, path: str, /, **query: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}" + (f"?{urlencode(query)}" if query else "")

    def request(
        self, path: str, method: str = "GET", host: str | None = None
    ) -> tuple[int, str, http.client.HTTPMessage]:
        """Status, text and headers of a response; the path is sent as it is."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request(method, path, headers={} if host is None else {"Host": host})
        response = connection.getresponse()
        return response.status, response.read().decode(), response.headers

    def text(self, path: str, /, **query: str) -> str:
        status, text, _ = self.request(path + (f"?{urlencode(query)}" if query else ""))
        assert status == 200, text
        return text


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of all verbs, finished and not, some of them hostile or damaged."""
    root = tmp_path_factory.mktemp("browse") / "runs"
    unpacked(root, "pairs", "student", "rl", "study")
    evaluation(root / "a", 0.0, 10, 9)
    evaluation(root / "b", 1.0, 30, 9)
    evaluation(root / "other", 0.0, 1, 1, grader="another")
    hostile = row("sums", 0, "wrong", SCRIPT, prompt=SCRIPT, extracted=SCRIPT, reference=SCRIPT)
    flips = {"thought": True, "expected": False, "stop": "length"}
    rows = [hostile, *(row("sums", n, "wrong", f"number {n}", **flips) for n in range(1, 26))]
    evaluation(root / HOSTILE, None, 0, 0, rows=rows, model=SCRIPT)
    out = root / "hostile-pairs"
    run = open_run("distill", settings(limit=1, out=str(out)), {})
    with run.writing("pairs.parquet") as path:
        write_pairs(path, [Pair(SCRIPT, SCRIPT, SCRIPT, SCRIPT, SCRIPT, SCRIPT, SCRIPT, 1, 2, 3)])
    run.finish(data=SCRIPT, n=1)
    return root


@pytest.fixture(scope="module")
def site(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    out = tmp_path_factory.mktemp("server") / "out"
    process = started("eval.browse", str(root), "--port", "0", out=out)
    deadline = time.monotonic() + 60
    while (
        match := re.search(r"127\.0\.0\.1:(\d+)", out.read_text() if out.exists() else "")
    ) is None:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    yield Site(root, int(match[1]))
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 130


@pytest.fixture
def live(root: Path) -> Iterator[Path]:
    """An evaluation that this process runs: three completions, and the half of a fourth."""
    out = root / "live"
    values = {"model": {"name": "tiny"}, "benchmarks": ["demo"], "limit": 2, "samples": 1}
    run = open_run("eval", settings(**values, out=str(out)), {})
    file = out / "completions.partial.jsonl"
    CompletionStore(file).append(row("sums", n, "right", f"answer {n}") for n in range(4))
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:3]) + lines[3][:40])
    yield out
    locks.release(run.out)
    shutil.rmtree(out)


def test_all_runs_are_listed(site: Site) -> None:
    text = site.text("/")
    pages = text + site.text("/", page="2")
    for name in ("pairs", "student", "rl", "study", "a", "b"):
        assert f'href="/run?name={name}"' in pages
    assert "31.7 %" in pages  # 19 of 60 right
    assert "ratio 0, seed 0" in site.text("/", verb="eval")
    assert "train" in site.text("/", verb="train", text="ratio 0.5")
    assert "no runs match" in site.text("/", state="damaged")
    assert site.text("/", path="x", page="2", template="x", running="x")


def test_pairs_are_listed_by_their_teacher(tmp_path: Path) -> None:
    """`model` counts their tokens alone."""
    server = {"name": "openai", "model": "toy"}
    for name, teacher, model in (
        ("served", {"name": "openai", "engine": server}, "toy"),
        ("local", {"name": "transformers", "model": "qwen3-4b"}, "qwen3-4b"),
        ("reference", {"name": "reference", "engine": None}, ""),
    ):
        data = {"name": "local", "path": "data/mine.csv"}
        values = {"teacher": teacher, "data": data, "model": {"name": "smollm2-135m"}}
        run = open_run("distill", settings(**values, out=str(tmp_path / name)), {})
        run.finish(data="mine", n=1)
        found = RunFolders(tmp_path).get(name)
        assert (found.model, found.arm) == (model, f"{teacher['name']} on mine")


def test_every_page_of_every_verb(site: Site) -> None:
    assert re.search(r"<dd>\d+ pairs</dd>", site.text("/run", name="pairs"))
    assert "With its trace" in site.text("/pairs", name="pairs")
    for name in ("student", "rl"):
        assert "<svg" in site.text("/run", name=name)
    assert "rewards" not in site.text("/run", name="student").lower()
    assert site.text("/run", name="study").count('class="state finished"') >= 18
    assert "31.7 %" in site.text("/run", name="a")
    assert "1 to 20 of 60 answers" in site.text("/answers", name="a")
    assert "41 to 60 of 60 answers" in site.text("/answers", name="a", page="999")


def test_answers_are_filtered(site: Site) -> None:
    def found(**query: str) -> str:
        match = re.search(r'role="status">([^<]*)<', site.text("/answers", **query))
        assert match
        return match[1]

    assert found(name="a", verdict="wrong") == "1 to 20 of 41 answers"
    assert found(name="a", verdict="wrong", benchmark="names") == "1 to 11 of 11 answers"
    assert found(name=HOSTILE, truncated="on") == "1 to 20 of 25 answers"
    assert found(name=HOSTILE, flips="on", text="NUMBER 7") == "1 to 1 of 1 answers"
    assert found(name=HOSTILE, text="nothing such") == "no answers match"
    assert found(name="a", key="sums/3") == "1 to 1 of 1 answers"


def test_two_evaluations_are_compared_problem_by_problem(site: Site) -> None:
    text = site.text("/compare", a="a", b="b")
    expected = command(
        "eval.compare", str(site.root / "b"), "--against", str(site.root / "a")
    ).stdout
    difference = re.search(
        r"^sums .*?([+-][\d.]+) \(([+-][\d.]+) to ([+-][\d.]+)\)", expected, re.M
    )
    assert difference is not None
    low, high = (end.replace("-", "−") for end in difference.groups()[1:])
    assert f"{difference[1]}<small>{low} to {high}</small>" in text
    counts = {"both right": 19, "only A right": 0, "only B right": 20, "both wrong": 21}
    for outcome, n in counts.items():
        assert f"{outcome} ({n})" in text
    both = site.text("/compare", a="a", b="b", outcome="both", text="WHAT IS 3?")
    assert both.count("<article") == 2 and both.count("✓ right") == 4
    assert "grader versions" in site.text("/compare", a="a", b="other")
    assert "the same evaluation" in site.text("/compare", a="a", b="a")
    assert "no finished evaluation" in site.text("/compare", a="a", b="student")


def test_a_running_evaluation_shows_its_progress(site: Site, live: Path) -> None:
    text = site.text("/run", name="live")
    assert 'class="state running"' in text and "/refresh.js" in text
    assert "3 right" in text
    assert "/refresh.js" not in site.text("/run", name="live", refresh="off")
    answers = site.text("/answers", name="live")
    assert "1 to 3 of 3 answers" in answers and "cannot be read" not in answers
    file = live / "completions.partial.jsonl"
    CompletionStore(file).append([row("sums", 7, "wrong")])
    assert "1 to 4 of 4 answers" in site.text("/answers", name="live")
    locks.release(live)
    assert 'class="state unfinished"' in site.text("/run", name="live")


def test_an_interrupted_training_shows_its_progress(site: Site) -> None:
    out = site.root / "stopped"
    shutil.copytree(site.root / "student", out)
    for name in ("DONE", "manifest.json"):
        (out / name).unlink()
    file = out / "metrics.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(lines[0] + b'{"step": 2, "lo')
    stages = json.loads((out / "mixture.json").read_text())["stages"]
    steps = sum(stage["steps"] for stage in stages)
    text = site.text("/run", name="stopped")
    assert f"1 of {steps} steps" in text and 'class="state unfinished"' in text
    assert "<svg" in text and "is damaged" not in text
    shutil.rmtree(out)


def test_damage_is_one_line(site: Site, tmp_path: Path) -> None:
    broken = site.root / "broken"
    shutil.copytree(site.root / "a", broken)
    file = broken / "completions.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join([*lines[:4], b'{"crc": 1, "row": []}\n', *lines[5:]]))
    assert "line 5 cannot be read" in site.text("/answers", name="broken")
    assert "corrupt" in site.text("/compare", a="a", b="broken")
    for content in ("{}", "[", '{"schema_version": 2, "verb": "eval"}', "[" * 100_000):
        (broken / "manifest.json").write_text(content)
        assert 'class="warn"' in site.text("/run", name="broken")
        assert site.request("/answers?name=broken")[0] == 422
    assert site.text("/", state="damaged").count('class="state damaged"') == 1
    for name in ("manifest.json", "DONE"):
        shutil.copy(site.root / "a" / name, broken)
    scores = (broken / "scores.json").read_text()
    (broken / "scores.json").write_text(re.sub(r'"n": \d+', '"n": "many"', scores))
    assert 'class="warn"' in site.text("/run", name="broken")
    os.utime(broken / "DONE", (0, 1e13))
    os.rename(broken, os.fsencode(site.root) + b"/broken-\xff")
    assert "is not in UTF-8" in site.text("/", state="damaged")
    os.rename(os.fsencode(site.root) + b"/broken-\xff", broken)
    (broken / "DONE").unlink()
    assert 'class="state unfinished"' in site.text("/run", name="broken")
    curves = site.root / "student" / "metrics.jsonl"
    before = curves.read_bytes()
    curves.write_bytes(b'nonsense\n{"step": "x"}\n' + before + b'{"step": 3, "lo')
    text = site.text("/run", name="student")
    assert "line 1 is damaged" in text and "<svg" in text
    curves.write_bytes(before)
    shutil.rmtree(broken)
    shutil.copytree(site.root / "hostile-pairs", broken)
    (broken / "pairs.parquet").write_bytes(b"PAR1")
    status, text, _ = site.request("/pairs?name=broken")
    assert status == 422 and "no readable file of pairs" in text
    shutil.rmtree(broken)


def test_nothing_outside_is_reached(site: Site, tmp_path: Path) -> None:
    evaluation(tmp_path / "secret", None, 1, 1, model="top-secret")
    link, run = site.root / "link", site.root / "linked"
    link.symlink_to(tmp_path / "secret")
    shutil.copytree(tmp_path / "secret", run)
    (run / "completions.jsonl").unlink()
    (run / "completions.jsonl").symlink_to(tmp_path / "secret" / "completions.jsonl")
    pipe = site.root / "pipe"
    shutil.copytree(site.root / "a", pipe)
    (pipe / "completions.jsonl").unlink()
    os.mkfifo(pipe / "completions.jsonl")
    relative = os.path.relpath(tmp_path / "secret", site.root)
    for name in ("link", relative, str(tmp_path / "secret"), "..", "a/../b", "%2e%2e", "\0", "no"):
        status, text, _ = site.request(f"/run?name={quote(name)}")
        assert status == 404 and "top-secret" not in text, name
    assert "links are not followed" in site.text("/run", name="linked")
    assert "no regular file" in site.text("/run", name="pipe")
    for path in ("/answers?name=linked", "/answers?name=pipe"):
        assert site.request(path)[0] == 422
    for path in (
        "/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "//etc/passwd",
        "/refresh.js/..",
    ):
        assert site.request(path)[0] == 404
    link.unlink()
    for folder in (run, pipe):
        shutil.rmtree(folder)


def test_only_reads_from_this_machine_are_answered(site: Site) -> None:
    before = {file: file.stat().st_mtime_ns for file in site.root.rglob("*")}
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        assert site.request("/", method)[0] == 405
    for host in ("evil.example", "127.0.0.1.evil.example", "localhost.", "", "[::1]"):
        assert site.request("/", host=host)[0] == 400, host
    assert site.request("/", host=f"localhost:{site.port}")[0] == 200
    _, _, headers = site.request("/run?name=a")
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "script-src 'self'" in policy
    for path in ("/", "/run?name=a", "/answers?name=a&text=1", "/compare?a=a&b=b"):
        site.request(path)
    assert {file: file.stat().st_mtime_ns for file in site.root.rglob("*")} == before


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (1280, "dark")])
def test_every_page_fits_and_hostile_text_is_inert(
    browser: Browser,  # noqa: F811
    site: Site,
    width: int,
    scheme: str,
) -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.call("Emulation.setEmulatedMedia", features=features)
    browser.resize(width)
    pages = [
        site.address("/"),
        *(site.address("/run", name=name) for name in ("rl", "student", "pairs", "study", HOSTILE)),
        site.address("/answers", name=HOSTILE),
        site.address("/pairs", name="pairs"),
        site.address("/pairs", name="hostile-pairs"),
        site.address("/run", name="hostile-pairs"),
        site.address("/compare", a="a", b=HOSTILE, outcome="neither"),
    ]
    for page in pages:
        browser.open(page)
        assert browser.value("document.documentElement.scrollWidth") <= width, page
        assert browser.value("document.querySelectorAll('img, script').length") == 0, page
        assert browser.value(CONTRAST) >= 4.5, page
        assert "hacked" not in browser.value("document.title")
        assert browser.value("document.querySelectorAll('h1, main, header nav').length") == 3
        assert browser.value(
            "[...document.querySelectorAll('select, input:not([type=hidden])')]"
            ".every((one) => one.labels.length === 1)"
        )
        requests = [
            event["params"]["request"]["url"]
            for event in browser.events
            if event.get("method") == "Network.requestWillBeSent"
        ]
        assert {url for url in requests if not url.startswith("data:")} == {page}
        bad = ("Runtime.exceptionThrown", "Log.entryAdded", "Page.javascriptDialogOpening")
        assert not [event for event in browser.events if event.get("method") in bad], page


def test_filters_work_in_a_browser_without_scripts(browser: Browser, site: Site) -> None:  # noqa: F811
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    browser.open(site.address("/run", name=HOSTILE))
    browser.call("Emulation.setScriptExecutionDisabled", value=False)
    links = "[...document.querySelectorAll('main a')].find((a) => a.text === 'mode flips').href"
    browser.open(browser.value(links))
    assert browser.value("document.querySelector('[role=status]').textContent").endswith(
        "of 25 answers"
    )
    browser.tab_to("input[type=search]")
    for letter in "ber 7":
        browser.press(letter, letter)
    browser.events.clear()
    browser.press("Enter", "\r", 13)
    while not any(event.get("method") == "Page.loadEventFired" for event in browser.events):
        browser.events.append(browser.read())
    assert browser.value("document.querySelector('[role=status]').textContent") == (
        "1 to 1 of 1 answers"
    )
    assert browser.value("document.querySelector('article pre + p, article h2').textContent")


def test_a_running_page_is_loaded_again(browser: Browser, site: Site, live: Path) -> None:  # noqa: F811
    browser.open(site.address("/"))
    assert browser.value("document.querySelectorAll('progress, .running').length") >= 1
    assert browser.value("document.scripts.length") == 1
    assert not [event for event in browser.events if event.get("method") == "Log.entryAdded"]


def test_wrong_arguments_are_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        file = tmp_path / "file"
        file.touch()
        for words, told in (
            ((str(tmp_path / "no"),), "does not exist"),
            ((str(file),), "is no folder"),
            ((str(tmp_path), "--port", port), f"--port {port} is taken"),
            ((str(tmp_path), "--port", "70000"), "from 0 to 65535"),
        ):
            result = command("eval.browse", *words)
            assert result.returncode == 2 and told in result.stderr
            assert result.stderr.startswith("browse: ") and result.stderr.count("\n") == 1
    missing = "import runpy, sys; sys.modules['uvicorn'] = None; sys.argv[1:] = ['.']"
    code = f"{missing}; runpy.run_module('eval.browse', run_name='__main__')"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (run.returncode, run.stderr.count("\n")) == (2, 1)
    assert "pip install -e '.[browse]'" in run.stderr
