"""The report in a real browser: no error, no request, readable on a phone and in the dark."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import done
from test_report import arm

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
        script = f'exec "$@" 3<&{to_read} 4>&{from_write}'  # bash, because dash knows no descriptor above 9
        words = ["bash", "-c", script, "bash", program, *FLAGS, f"--user-data-dir={profile}"]
        self.process = subprocess.Popen(words, pass_fds=(to_read, from_write), stderr=subprocess.DEVNULL)
        os.close(to_read)
        os.close(from_write)
        self.buffer, self.number, self.events, self.session = b"", 0, list[dict[str, Any]](), ""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

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
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def open(self, page: Path) -> None:
        self.call("Page.navigate", url=page.as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self.read())


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """A page with four arms, which is as wide as it gets."""
    folders = [arm(tmp_path / str(i), ratio, 5 * i, 10) for i, ratio in enumerate((None, 0.0, 0.5, 1.0))]
    done("eval.report", *map(str, folders), "--out", str(tmp_path / "report.html"))
    return tmp_path / "report.html"


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
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
    requests = {e["params"]["request"]["url"] for e in browser.events if e.get("method") == "Network.requestWillBeSent"}
    assert {url for url in requests if not url.startswith("data:")} == {page.as_uri()}
    bad = [
        e
        for e in browser.events
        if e.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled")
    ]
    assert not bad


def test_it_fits_a_phone(browser: Browser, page: Path) -> None:
    browser.call("Emulation.setDeviceMetricsOverride", width=360, height=740, deviceScaleFactor=2, mobile=True)
    browser.open(page)
    assert browser.value("innerWidth") == 360
    assert browser.value("document.documentElement.scrollWidth") <= 360


CONTRAST = """(() => {
  const light = (c) => { const [r, g, b] = c.match(/\\d+/g).map((v) => { v /= 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4 });
    return .2126 * r + .7152 * g + .0722 * b };
  const back = light(getComputedStyle(document.body).backgroundColor);
  return [...document.querySelectorAll("p, td, th, small, caption, h1, dd")].map((e) => light(getComputedStyle(e).color))
    .map((text) => (Math.max(text, back) + .05) / (Math.min(text, back) + .05)).reduce((a, b) => Math.min(a, b)) })()"""


def test_it_can_be_read_in_the_light_and_in_the_dark(browser: Browser, page: Path) -> None:
    browser.open(page)
    colours = {}
    for scheme in ("light", "dark"):
        browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        colours[scheme] = browser.value("getComputedStyle(document.body).backgroundColor")
        assert browser.value(CONTRAST) >= 4.5
    assert colours["light"] != colours["dark"]


def test_the_filters_filter(browser: Browser, page: Path) -> None:
    browser.open(page)
    shown = "[...document.querySelectorAll('.example')].filter((e) => e.offsetParent).map((e) => e.dataset.family).join()"
    everything = browser.value(shown)
    assert set(everything.split(",")) == {"names", "sums"}
    browser.value("family.value = 'sums'; family.dispatchEvent(new Event('change'))")
    assert set(browser.value(shown).split(",")) == {"sums"}
    browser.value("family.value = 'names'; verdict.value = 'wrong'; family.dispatchEvent(new Event('change'))")
    assert browser.value(shown) in ("", "names", "names,names")
    assert browser.value(shown) != everything
