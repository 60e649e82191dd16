"""The search page in a real browser: `embed index browse` and headless Chromium.

Skipped with one line where there is no Chromium (Debian: `apt install chromium`).
"""

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="the search page: no Chromium on this machine"),
    pytest.mark.skipif(sys.platform == "win32", reason="the search page: pipes of POSIX"),
    pytest.mark.slow,
]
pytest.importorskip("uvicorn", reason="the search page: needs the extra server")

EMBED = [sys.executable, "-c", "from embedge.cli import main; main()"]
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
    "--disable-background-networking --disable-component-update --remote-debugging-pipe"
).split()
# The protocol wants its pipes as descriptors 3 and 4.
STARTER = """
import fcntl, os, sys
pipes = [fcntl.fcntl(int(each), fcntl.F_DUPFD, 10) for each in sys.argv[1:3]]
os.dup2(pipes[0], 3)
os.dup2(pipes[1], 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
PATIENCE_S = 60
SHOTS = os.environ.get("EMBEDGE_SCREENSHOTS")  # a folder: keep what the browser shows


class Browser:
    """Chromium's debugging protocol over two pipes: JSON messages that end with a zero byte."""

    def __init__(self, profile: Path) -> None:
        to_read, self._write = os.pipe()
        self._read, to_write = os.pipe()
        assert CHROMIUM is not None
        starter = [sys.executable, "-c", STARTER, str(to_read), str(to_write)]
        self._process = subprocess.Popen(
            [*starter, CHROMIUM, *FLAGS, f"--user-data-dir={profile}"],
            pass_fds=(to_read, to_write), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        os.close(to_read)
        os.close(to_write)
        self._rest = b""
        self._number = 0
        self.log: list[dict[str, Any]] = []
        self._session: str | None = None

    def attach(self) -> None:
        """Open a page."""
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self.ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **parameters: object) -> dict[str, Any]:
        self._number += 1
        message: dict[str, object] = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer)
                return answer["result"]
            self.log.append(answer)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            block = os.read(self._read, 1 << 16)
            assert block, "Chromium has ended"
            self._rest += block
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)

    def see(self, expression: str) -> Any:
        """The value of an expression on the page."""
        found = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait_for(self, expression: str) -> Any:
        """The first true value of an expression."""
        end = time.monotonic() + PATIENCE_S
        while not (value := self.see(expression)):
            assert time.monotonic() < end, f"never true: {expression}"
            time.sleep(0.05)
        return value

    def open(self, address: str) -> None:
        self.ask("Page.navigate", url=address)
        self.wait_for(
            "document.readyState == 'complete' && document.querySelector('#query') !== null"
        )

    def press(self, key: str) -> None:
        text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
        code = {"Enter": 13, "Tab": 9, "ArrowDown": 40, "ArrowUp": 38, "/": 191}.get(key, 0)
        for kind in ("keyDown", "keyUp"):
            self.ask(
                "Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code,
                text=text if kind == "keyDown" else "",
            )  # fmt: skip

    def type(self, text: str) -> None:
        self.ask("Input.insertText", text=text)

    def shot(self, name: str) -> bytes:
        data = base64.b64decode(self.ask("Page.captureScreenshot", format="png")["data"])
        if SHOTS:
            Path(SHOTS, f"{name}.png").write_bytes(data)
        return data

    def problems(self) -> list[str]:
        """What the page complained about: exceptions, refused scripts, missing files."""
        kinds = ("Runtime.exceptionThrown", "Log.entryAdded")
        return [json.dumps(each["params"]) for each in self.log if each.get("method") in kinds]

    def close(self) -> None:
        os.close(self._write)
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._read)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts in two folders; one has markup in its name and in its text."""
    root = tmp_path_factory.mktemp("texts")
    (root / "home").mkdir()
    (root / "work").mkdir()
    filler = " ".join(f"Sentence number {n} says nothing of interest." for n in range(60))
    (root / "home" / "lease.md").write_text(
        f"# The lease\n\n{filler}\n\nTo renew the lease, write three months before it ends.\n"
    )
    (root / "home" / "a<img src=x onerror=alert(1)>.txt").write_text(
        "The boiler <script>alert(2)</script> & the boat.\n"
    )
    (root / "home" / "hebrew.txt").write_text("חוזה השכירות מתחדש כל שנה.\n")
    (root / "work" / "plan.md").write_text("# Plan\n\nThe lease of the office ends in May.\n")
    return root


@pytest.fixture(scope="module")
def address(folders: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the page is, key included, for an index of both folders."""
    database = tmp_path_factory.mktemp("index") / "index.db"
    flags = ["--db", str(database), "--quiet"]
    subprocess.run(
        [*EMBED, "index", "add", str(folders / "home"), str(folders / "work"), *flags], check=True
    )
    server = subprocess.Popen(
        [*EMBED, "index", "browse", "--port", "0", *flags], stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    yield server.stdout.readline().strip()
    server.send_signal(signal.SIGTERM)
    assert server.wait(PATIENCE_S) == 128 + signal.SIGTERM
    server.stdout.close()


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    browser = Browser(tmp_path / "profile")
    try:
        browser.attach()
        yield browser
    finally:
        browser.close()


@pytest.fixture
def search(browser: Browser, address: str) -> Callable[[str], list[str]]:
    """Open the page, type a query and press Enter; the names of the hits."""

    def run(words: str) -> list[str]:
        browser.open(address)
        browser.wait_for("document.activeElement.id == 'query'")
        browser.type(words)
        browser.press("Enter")
        browser.wait_for("results.children.length || !problem.hidden")
        return browser.see("Array.from(results.querySelectorAll('h3'), (each) => each.textContent)")

    return run


def test_a_query_shows_passages_with_its_words_marked(browser, search):
    assert "lease.md" in search("renew the lease")
    marked = browser.see("Array.from(document.querySelectorAll('mark'), (m) => m.textContent)")
    assert {word.lower() for word in marked} >= {"renew", "lease"}
    assert "passages in" in browser.see("summary.textContent")
    assert len(browser.shot("wide")) > 10_000
    assert browser.problems() == []


def test_text_and_names_never_become_markup(browser, search):
    names = search("boiler")
    assert names[0] == "a<img src=x onerror=alert(1)>.txt"
    assert browser.see("document.querySelectorAll('main img, main script').length") == 0
    assert "<script>alert(2)</script>" in browser.see("results.textContent")
    assert browser.problems() == []


def test_a_file_of_the_index_opens_as_text(browser, search, address):
    search("boiler")
    link = browser.see("results.querySelector('a').href")
    browser.ask("Page.navigate", url=link)
    browser.wait_for("document.contentType == 'text/plain' && document.body !== null")
    assert "The boiler <script>" in browser.see("document.body.textContent")


def test_a_collection_can_be_chosen_and_the_address_remembers_it(browser, search):
    assert "plan.md" in search("lease")
    browser.see("document.querySelector('input[value=home]').click()")
    browser.wait_for("location.search.includes('collection=home') && results.ariaBusy != 'true'")
    browser.wait_for("!results.textContent.includes('plan.md')")
    browser.ask("Page.reload")
    browser.wait_for("document.readyState == 'complete' && results.children.length")
    assert browser.see("query.value") == "lease"
    assert browser.see("document.querySelector('input[value=home]').checked")
    assert "plan.md" not in browser.see("results.textContent")


def test_everything_is_reached_by_keyboard(browser, search):
    search("lease")
    here = "document.activeElement"
    browser.press("ArrowDown")
    assert browser.see(f"results.children[0].contains({here}) && {here}.tagName") == "A"
    browser.press("ArrowDown")
    assert browser.see(f"results.children[1].contains({here})")
    outline = browser.see(f"getComputedStyle({here}).outlineStyle")
    assert outline == "solid"
    browser.press("ArrowUp")
    browser.press("ArrowUp")
    assert browser.see(f"{here}.id") == "query"
    browser.press("Tab")
    browser.press("/")
    assert browser.see(f"{here}.id == 'query' && query.value") == "lease"


def test_a_long_passage_opens_and_closes(browser, search):
    search("renew the lease")
    button = "results.querySelector('.more:not([hidden])')"
    browser.wait_for(button + " !== null")
    assert browser.see(f"{button}.ariaExpanded") == "false"
    before = browser.see(f"{button}.parentElement.offsetHeight")
    browser.see(f"{button}.click()")
    assert browser.see(f"{button}.ariaExpanded") == "true"
    assert browser.see(f"{button}.parentElement.offsetHeight") > before


def test_a_screen_reader_hears_names_for_every_control(browser, search):
    search("lease")
    tree = browser.ask("Accessibility.getFullAXTree")["nodes"]
    told = [
        (each["role"]["value"], each.get("name", {}).get("value", ""))
        for each in tree
        if not each.get("ignored")
    ]
    controls = ("button", "link", "searchbox", "checkbox", "radio", "group", "list", "alert")
    nameless = [role for role, name in told if role in controls and not name and role != "alert"]
    assert nameless == []
    assert ("searchbox", "What are you looking for?") in told
    assert {"search", "main", "status", "list", "heading"} <= {role for role, _ in told}


def test_it_fits_a_phone_and_a_dark_screen(browser, search):
    browser.ask(
        "Emulation.setDeviceMetricsOverride",
        width=360,
        height=740,
        deviceScaleFactor=2,
        mobile=True,
    )
    features = [{"name": "prefers-color-scheme", "value": "dark"}]
    browser.ask("Emulation.setEmulatedMedia", features=features)
    search("השכירות")
    assert browser.see("document.documentElement.scrollWidth") <= 360
    assert browser.see("getComputedStyle(document.body).backgroundColor") == "rgb(22, 22, 21)"
    assert browser.see("getComputedStyle(results.querySelector('.passage')).direction") == "rtl"
    assert len(browser.shot("phone-dark")) > 10_000


def test_the_state_of_the_index_is_a_table(browser, address):
    browser.open(address)
    browser.see("document.querySelector('summary').click()")
    rows = browser.wait_for(
        "document.querySelectorAll('#status tr').length == 3 &&"
        " document.querySelector('#status').innerText"
    )
    assert "home" in rows
    assert "work" in rows
    browser.shot("status")


def test_without_the_key_nothing_is_shown(browser, address):
    browser.ask("Page.navigate", url=address.partition("?")[0])
    browser.wait_for("document.body && document.body.textContent.includes('terminal')")
    assert browser.see("document.querySelector('#query')") is None
