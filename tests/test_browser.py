"""The report in a real browser: no error, no request, readable on a phone and in the dark."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grid
import pytest
from conftest import done
from grid import Point
from test_report import evaluation

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-pipe",
]


class Browser:
    """Chromium over its debugging pipe: `call` a command, keep every event."""

    def __init__(self, program: str, profile: Path) -> None:
        to_read, self.to = os.pipe()
        self.back, from_write = os.pipe()
        # bash, because dash knows no descriptor above 9
        script = f'exec "$@" 3<&{to_read} 4>&{from_write}'
        words = ["bash", "-c", script, "bash", program, *FLAGS, f"--user-data-dir={profile}"]
        self.process = subprocess.Popen(
            words, pass_fds=(to_read, from_write), stderr=subprocess.DEVNULL
        )
        os.close(to_read)
        os.close(from_write)
        self.buffer, self.number, self.events, self.session = b"", 0, list[dict[str, Any]](), ""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        self.number += 1
        message = {
            "id": self.number,
            "method": method,
            "params": params,
            **({"sessionId": self.session} if self.session else {}),
        }
        os.write(self.to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.read()
            if answer.get("id") == self.number:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def read(self) -> dict[str, Any]:
        while b"\0" not in self.buffer:
            data = os.read(self.back, 1 << 16)
            assert data, "the browser went away"
            self.buffer += data
        message, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(message)

    def value(self, expression: str) -> Any:
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)[
            "result"
        ].get("value")

    def resize(self, width: int) -> None:
        """The screen of a phone, or from 600 pixels on of a computer."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=740,
            deviceScaleFactor=2,
            mobile=width < 600,
        )

    def press(self, key: str, text: str = "", code: int = 0) -> None:
        values = {"key": key, "windowsVirtualKeyCode": code, **({"text": text} if text else {})}
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, **values)

    def tab_to(self, selector: str) -> None:
        """Press Tab until the element has the focus, as at most a hundred of them do."""
        for _ in range(100):
            self.press("Tab", code=9)
            if self.value(f"document.activeElement.matches({selector!r})"):
                return
        raise AssertionError(f"{selector} cannot be reached by the keyboard")

    def open(self, page: Path | str) -> None:
        """Load a file or an address; the events kept are those since."""
        self.events.clear()
        self.call("Page.navigate", url=page if isinstance(page, str) else page.as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self.read())


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of four arms."""
    root = tmp_path_factory.mktemp("page")
    folders = [
        evaluation(root / str(i), ratio, 5 * i, 10) for i, ratio in enumerate((None, 0.0, 0.5, 1.0))
    ]
    done("eval.report", *map(str, folders), "--out", str(root / "report.html"))
    return root / "report.html"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a small study with all its pictures."""
    root = tmp_path_factory.mktemp("study")
    points = [
        Point(model, ratio, seed=seed)
        for model in grid.SHAPES
        for ratio in (0.0, 0.5, 1.0)
        for seed in (0, 1)
    ]
    points += [Point("small", 0.5, "sequential", seed=seed) for seed in (0, 1)]
    grid.study(root, [*map(Point, grid.SHAPES), *points], problems=6)
    done("eval.report", str(root), "--out", str(root / "report.html"))
    return root / "report.html"


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    program = next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    if program is None:
        reason = "needs Chromium on PATH"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    found = Browser(program, tmp_path / "profile")
    for domain in ("Page", "Runtime", "Network", "Log"):
        found.call(f"{domain}.enable")
    yield found
    found.process.kill()
    found.process.wait()


def test_nothing_is_requested_and_nothing_fails(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.value("1")
    requests = {
        e["params"]["request"]["url"]
        for e in browser.events
        if e.get("method") == "Network.requestWillBeSent"
    }
    assert {url for url in requests if not url.startswith("data:")} == {page.as_uri()}
    bad = [
        e
        for e in browser.events
        if e.get("method")
        in ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled")
    ]
    assert not bad


def test_it_fits_a_phone(browser: Browser, page: Path) -> None:
    browser.resize(360)
    browser.open(page)
    assert browser.value("innerWidth") == 360
    assert browser.value("document.documentElement.scrollWidth") <= 360


NARROWEST = """(() => { const cells = [...document.querySelectorAll("td.words, tbody th")]
  .filter((e) => e.getClientRects().length && e.textContent.trim().length > 14);
  return Math.min(...cells.map((e) => e.getBoundingClientRect().width)) })()"""


def test_the_first_screen_has_one_picture_and_five_lines(browser: Browser, study: Path) -> None:
    browser.open(study)
    top = "document.querySelector({!r}).getBoundingClientRect().top"
    places = [browser.value(top.format(name)) for name in ("#verdicts svg", "#summary", "h2")]
    assert places == sorted(places)
    assert places[0] < 150 and browser.value("document.querySelectorAll('#summary dt').length") == 5
    cells = "[...document.querySelectorAll('#verdicts .onwide svg text')].map((e) => e.textContent)"
    text = browser.value(f"{cells}.join(' ')")
    assert "inconclusive" in text and "tokens ×" in text and "(math-oe)" in text


def test_no_column_of_a_phone_breaks_a_word_a_line(browser: Browser, study: Path) -> None:
    browser.resize(400)
    browser.open(study)
    browser.value("document.querySelectorAll('details').forEach((one) => { one.open = true })")
    assert browser.value(NARROWEST) >= 75


CONTRAST = """(() => {
  const light = (c) => { const [r, g, b] = c.match(/\\d+/g)
    .map((v) => { v /= 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4 });
    return .2126 * r + .7152 * g + .0722 * b };
  const back = light(getComputedStyle(document.body).backgroundColor);
  return [...document.querySelectorAll("p, td, th, small, caption, h1, dd")]
    .map((e) => light(getComputedStyle(e).color))
    .map((text) => (Math.max(text, back) + .05) / (Math.min(text, back) + .05))
    .reduce((a, b) => Math.min(a, b)) })()"""


def test_it_can_be_read_in_the_light_and_in_the_dark(browser: Browser, page: Path) -> None:
    browser.open(page)
    colours = {}
    for scheme in ("light", "dark"):
        browser.call(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": scheme}],
        )
        colours[scheme] = browser.value("getComputedStyle(document.body).backgroundColor")
        assert browser.value(CONTRAST) >= 4.5
    assert colours["light"] != colours["dark"]


def test_the_filters_filter(browser: Browser, page: Path) -> None:
    browser.open(page)
    shown = "document.getElementById('shown').textContent"
    heads = "[...document.querySelectorAll('#answers h3')].map((e) => e.textContent).join()"
    choose = "form.{0}.value = '{1}'; form.dispatchEvent(new Event('input'))"
    assert browser.value(shown) == "1 to 20 of 240"
    browser.value(choose.format("benchmark", "sums"))
    assert browser.value(shown) == "1 to 20 of 160"
    assert set(browser.value(heads).split(",")) == {"sums"}
    browser.value(choose.format("benchmark", "names"))
    browser.value(choose.format("verdict", "wrong"))
    assert browser.value(shown) == "1 to 20 of 40"


LOOK = """(() => {
  const light = (c) => { const [r, g, b] = c.match(/[\\d.]+/g).slice(0, 3)
    .map((v) => { v /= 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4 });
    return .2126 * r + .7152 * g + .0722 * b };
  const back = light(getComputedStyle(document.body).backgroundColor);
  const against = (c) => { const own = light(c);
    return (Math.max(own, back) + .05) / (Math.min(own, back) + .05) };
  const seen = [...document.querySelectorAll("svg text")]
    .filter((e) => e.getClientRects().length && e.textContent.trim());
  const lines = [...document.querySelectorAll("svg path, svg use")]
    .filter((e) => e.getClientRects().length)
    .map((e) => getComputedStyle(e)).filter((style) => parseFloat(style.strokeWidth) >= 1.5
      && style.stroke !== "none" && parseFloat(style.strokeOpacity) > .9);
  return { texts: seen.length,
    text: Math.min(...seen.map((e) => against(getComputedStyle(e).fill))),
    size: Math.min(...seen.map((e) => e.getBoundingClientRect().height)),
    lines: lines.length, line: Math.min(...lines.map((style) => against(style.stroke))),
    width: document.documentElement.scrollWidth } })()"""


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_study_can_be_read_on_any_screen(
    browser: Browser, study: Path, width: int, scheme: str
) -> None:
    """No error, no request, no scrolling sideways; pictures whose text can be read and whose lines
    can be seen."""
    browser.resize(width)
    browser.call(
        "Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}]
    )
    browser.open(study)
    found = browser.value(LOOK)
    assert found["width"] <= width
    assert browser.value(CONTRAST) >= 4.5
    assert found["texts"] > 100 and found["text"] >= 4.5 and found["size"] >= 8
    assert found["lines"] > 20 and found["line"] >= 3
    browser.value("document.querySelectorAll('details').forEach((one) => { one.open = true })")
    assert browser.value("document.documentElement.scrollWidth") <= width
    requests = {
        e["params"]["request"]["url"]
        for e in browser.events
        if e.get("method") == "Network.requestWillBeSent"
    }
    assert {url for url in requests if not url.startswith("data:")} == {study.as_uri()}
    assert not [
        e
        for e in browser.events
        if e.get("method")
        in ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled")
    ]


def test_completions_are_filtered_by_the_keyboard(browser: Browser, study: Path) -> None:
    browser.open(study)
    shown, count = (
        "document.getElementById('shown').textContent",
        "document.querySelectorAll('.answer').length",
    )
    assert browser.value(shown) == "1 to 20 of 384"
    assert browser.value(count) == 20
    browser.tab_to("select[name=category]")
    assert browser.value("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    assert browser.value("document.activeElement.labels[0].textContent").startswith("Category")
    for letter in "math-oe":
        browser.press(letter, letter)
    assert browser.value(shown) == "1 to 20 of 96"
    assert browser.value(
        "[...document.querySelectorAll('#answers h3')].every((e) => "
        "e.textContent.startsWith('sums'))"
    )
    browser.tab_to("select[name=verdict]")
    browser.press("w", "w")
    wrong = browser.value(shown)
    assert wrong.startswith("1 to 20 of ") and wrong != "1 to 20 of 96"
    browser.tab_to("select[name=seed]")
    browser.press("1", "1")
    assert browser.value(
        "[...document.querySelectorAll('.answer strong')].every((e) => "
        "e.textContent.endsWith('seed 1'))"
    )
    browser.press("Home", code=36)
    assert browser.value(shown) == wrong
    browser.tab_to("button#next")
    browser.press("Enter", "\r", 13)
    assert browser.value(shown).startswith("21 to ")
    browser.value("document.querySelector('input[type=search]').focus()")
    for letter in "no such words":
        browser.press(letter, letter)
    assert browser.value(shown) == "no completion matches"
    assert browser.value(count) == 0


def test_a_study_reads_without_scripts(browser: Browser, study: Path) -> None:
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    browser.open(study)
    browser.call("Emulation.setScriptExecutionDisabled", value=False)
    assert browser.value(
        "document.querySelector('noscript').textContent.includes('need JavaScript')"
    )
    assert browser.value("document.querySelectorAll('figure svg').length") > 10
    assert browser.value("document.querySelectorAll('tbody tr').length") > 100
    assert browser.value("document.querySelectorAll('.answer').length") == 0
