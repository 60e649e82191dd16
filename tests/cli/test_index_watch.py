"""`embed index watch` in a process of its own, on a real folder."""

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from queue import Empty, Queue

import pytest

from embedge.cli.values import seconds
from embedge.models.errors import InvalidOption

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")

COMMAND = [sys.executable, "-c", "from embedge.cli import main; main()"]
PATIENCE_S = 60


class Watching:
    """A running watch whose lines can be waited for."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self._lines: Queue[str] = Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)

    def line(self) -> str:
        try:
            return self._lines.get(timeout=PATIENCE_S)
        except Empty:
            raise AssertionError("the watch said nothing") from None

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        code = self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        return code


@pytest.fixture
def watch(environment, embed, tmp_path) -> Iterator[Callable[..., Watching]]:
    """Index a folder and start a watch of it."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.txt").write_text("The first text.\n")
    assert embed("index", "add", "docs", "--db", "i.db").code == 0
    started: list[Watching] = []

    def start(*flags: str) -> Watching:
        process = subprocess.Popen(
            [*COMMAND, "index", "watch", "--db", "i.db", "--debounce", "0.2s", *flags],
            env=environment, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True,
        )  # fmt: skip
        started.append(Watching(process))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            each.process.kill()
            each.process.wait()
        assert each.process.stdout is not None
        each.process.stdout.close()


def test_a_new_file_is_indexed_and_sigterm_ends_it_cleanly(watch, embed, tmp_path):
    pytest.importorskip("watchfiles", reason="needs the extra watch")
    watching = watch()
    assert watching.line().startswith("docs: 1 files, 0 passages embedded")
    (tmp_path / "docs" / "b.txt").write_text("The second text, about boats.\n")
    assert watching.line().startswith("docs: 2 files (1 new), 1 passages embedded")
    (tmp_path / "docs" / "b.txt").unlink()
    assert watching.line().startswith("docs: 1 files (1 missing)")
    assert watching.end(signal.SIGTERM) == 143
    assert embed("index", "verify", "--db", "i.db").code == 0
    assert embed("index", "update", "--db", "i.db").text.startswith("docs: 1 files, 0 passages")


def test_without_events_the_interval_finds_what_is_new_and_ctrl_c_ends_it(
    watch, tmp_path, environment
):
    environment["PYTHONPATH"] = str(tmp_path / "without")
    (tmp_path / "without").mkdir()
    hook = "import sys; sys.modules['watchfiles'] = None\n"
    (tmp_path / "without" / "sitecustomize.py").write_text(hook)
    watching = watch("--interval", "0.3s")
    assert watching.line().startswith("docs: 1 files")
    (tmp_path / "docs" / "b.txt").write_text("The second text.\n")
    assert watching.line().startswith("docs: 2 files (1 new)")
    assert watching.end(signal.SIGINT) == 130


def test_a_watch_of_no_index_says_how_to_make_one(embed):
    done = embed("index", "watch", "--db", "none.db")
    assert (done.code, "embed index add" in done.error) == (2, True)


@pytest.mark.parametrize(
    ("text", "expected"), [("2s", 2), ("15m", 900), ("1.5 h", 5400), ("1D", 86400), ("2w", 1209600)]
)
def test_times_are_read(text, expected):
    assert seconds(text, "--interval") == expected


@pytest.mark.parametrize("text", ["", "0s", "15", "m", "-1s", "1y"])
def test_other_times_are_refused(text):
    with pytest.raises(InvalidOption, match="--interval"):
        seconds(text, "--interval")


def test_no_time_at_all_is_a_time_where_it_makes_sense():
    assert seconds("0d", "--grace", zero=True) == 0
    with pytest.raises(InvalidOption, match="--grace"):
        seconds("soon", "--grace", zero=True)
