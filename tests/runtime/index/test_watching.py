from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

from embedge.models.errors import Cancelled, IndexLocked
from embedge.runtime.cancel import CancelToken
from embedge.runtime.index import UpdateReport, volumes, watching
from embedge.runtime.index.volumes import is_network_path
from embedge.runtime.index.watching import NoEvents, WatchedFolders, watch


@dataclass
class FakeClock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class FakeIndex:
    """Counts runs; fails or cancels when told to."""

    folders: list[Path]
    cancel: CancelToken
    clock: FakeClock
    last_run: int = 1
    failures: dict[int, Exception] = field(default_factory=dict)
    runs: list[float] = field(default_factory=list)
    path: Path = Path("index.db")

    def update(self, collections=None, *, progress=None, cancel=None) -> UpdateReport:
        self.runs.append(self.clock.now)
        if len(self.runs) in self.failures:
            raise self.failures[len(self.runs)]
        if len(self.runs) >= self.last_run:
            self.cancel.cancel()
        return UpdateReport(collections=())

    def status(self):
        roots = tuple(SimpleNamespace(path=str(each), state="online") for each in self.folders)
        return SimpleNamespace(collections=(SimpleNamespace(name="docs", roots=roots),))


@dataclass
class FakeChanges:
    """Events at fixed times."""

    clock: FakeClock
    times: list[float]
    folders: Sequence[str] = ()

    def wait(self, seconds: float) -> bool:
        end = self.clock.now + seconds
        if self.times and self.times[0] <= end:
            self.clock.now = max(self.clock.now, self.times.pop(0))
            return True
        self.clock.now = end
        return False

    def close(self) -> None: ...


def runs_with(tmp_path, events: Sequence[float], n_runs: int, **options) -> list[float]:
    """When runs begin, with events at given times and instant runs."""
    clock, cancel = FakeClock(), CancelToken()
    index = FakeIndex([tmp_path], cancel, clock, last_run=n_runs)
    source = FakeChanges(clock, list(events))
    watch(
        index,
        cancel=cancel,
        on_run=lambda _report: None,
        on_problem=lambda error: pytest.fail(str(error)),
        open_changes=lambda _folders, _database, _cancel: source,
        clock=clock,
        **options,
    )
    return index.runs


def test_a_run_begins_two_seconds_after_the_last_change_of_a_burst(tmp_path):
    assert runs_with(tmp_path, [10.0, 11.0, 12.5, 40.0], 3) == [0.0, 14.5, 42.0]


def test_an_endless_burst_does_not_put_a_run_off_for_ever(tmp_path):
    events = [float(second) for second in range(100)]
    first, second = runs_with(tmp_path, events, 2)
    assert (first, 30 <= second <= 33) == (0.0, True)


def test_without_events_there_is_a_run_per_interval(tmp_path):
    assert runs_with(tmp_path, [], 3, interval_s=900) == [0.0, 900.0, 1800.0]


@pytest.mark.parametrize(
    ("name", "answer"), [("is_network_path", True), ("find_spec", None)], ids=["share", "no extra"]
)
def test_a_network_drive_and_without_watchfiles_every_folder_is_looked_at_every_minute(
    tmp_path, monkeypatch, name, answer
):
    clock, cancel = FakeClock(), CancelToken()
    monkeypatch.setattr(watching, name, lambda _argument: answer)
    monkeypatch.setattr(NoEvents, "wait", lambda _self, s: FakeChanges(clock, []).wait(s))
    index = FakeIndex([tmp_path], cancel, clock, last_run=3)
    watch(index, cancel=cancel, on_run=print, on_problem=print, clock=clock)
    assert index.runs == [0.0, 60.0, 120.0]


def test_a_failing_run_is_reported_and_the_watch_goes_on(tmp_path):
    clock, cancel = FakeClock(), CancelToken()
    index = FakeIndex([tmp_path], cancel, clock, last_run=3)
    index.failures[2] = IndexLocked("another process writes")
    problems: list[Exception] = []
    watch(
        index,
        cancel=cancel,
        on_run=lambda _report: None,
        on_problem=problems.append,
        open_changes=lambda *_arguments: FakeChanges(clock, []),
        clock=clock,
    )
    assert len(index.runs) == 3
    assert [str(each) for each in problems] == ["another process writes"]


def test_a_failing_first_run_ends_the_watch(tmp_path):
    clock, cancel = FakeClock(), CancelToken()
    index = FakeIndex([tmp_path], cancel, clock, failures={1: IndexLocked("busy")})
    with pytest.raises(IndexLocked):
        watch(index, cancel=cancel, on_run=print, on_problem=print, clock=clock)


def test_a_cancelled_run_ends_the_watch_quietly(tmp_path):
    clock, cancel = FakeClock(), CancelToken()
    index = FakeIndex([tmp_path], cancel, clock, failures={1: Cancelled("stop")})
    watch(index, cancel=cancel, on_run=print, on_problem=print, clock=clock)
    assert len(index.runs) == 1


def test_folders_that_cannot_be_watched_are_polled(tmp_path):
    def refuse(*_arguments: object) -> FakeChanges:
        raise OSError("inotify watch limit reached")

    clock, cancel = FakeClock(), CancelToken()
    index = FakeIndex([tmp_path], cancel, clock, last_run=1)
    problems: list[Exception] = []
    watch(
        index,
        cancel=cancel,
        on_run=lambda _report: None,
        on_problem=problems.append,
        open_changes=refuse,
        clock=clock,
    )
    assert "watch limit" in str(problems[0])


def test_real_changes_are_seen_and_those_of_the_index_are_not(tmp_path):
    pytest.importorskip("watchfiles", reason="needs the extra watch")
    cancel = CancelToken()
    changes = WatchedFolders([str(tmp_path)], tmp_path / "index.db", cancel)
    try:
        (tmp_path / "index.db-wal").write_text("x")
        assert not changes.wait(0.5)
        (tmp_path / "a.txt").write_text("x")
        assert changes.wait(10)
        cancel.cancel()
        assert not changes.wait(10)
    finally:
        changes.close()


def test_a_drive_that_is_back_under_its_name_is_watched_anew(tmp_path):
    drive, opened = tmp_path / "drive", []
    drive.mkdir()
    clock, cancel = FakeClock(), CancelToken()
    index = FakeIndex([drive], cancel, clock, last_run=4)

    def open_changes(folders: Sequence[str], *_rest: object) -> FakeChanges:
        opened.append(list(folders))
        return FakeChanges(clock, [])

    def swap(_report: UpdateReport) -> None:
        if len(index.runs) == 2:
            drive.rename(tmp_path / "other")
            drive.mkdir()

    watch(
        index,
        cancel=cancel,
        on_run=swap,
        on_problem=print,
        open_changes=open_changes,
        clock=clock,
    )
    assert opened == [[str(drive)], [str(drive)]]


def test_network_drives_are_known_by_their_mount(tmp_path, monkeypatch):
    mounts = tmp_path / "mounts"
    mounts.write_text(
        "/dev/sda / ext4 rw 0 0\nserver:/x /mnt/my\\040share nfs4 rw 0 0\n"
        "tmpfs /mnt/my\\040share/local tmpfs rw 0 0\n"
    )
    monkeypatch.setattr(volumes, "_MOUNTS", mounts)
    assert is_network_path(Path("/mnt/my share/docs"))
    assert not is_network_path(Path("/mnt/my share/local/docs"))
    assert not is_network_path(Path("/mnt/my"))
    monkeypatch.setattr(volumes, "_MOUNTS", tmp_path / "none")
    assert not is_network_path(Path("/mnt/my share/docs"))
