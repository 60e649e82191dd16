import os
import subprocess
import sys

import pytest

from embedge.runtime.power import _linux_on_battery


def make_supply(folder, name: str, kind: str, **values: str) -> None:
    supply = folder / name
    supply.mkdir()
    for key, value in {"type": kind, **values}.items():
        (supply / key).write_text(value + "\n")


@pytest.mark.parametrize(("online", "expected"), [("0", True), ("1", False)])
def test_a_laptop_is_on_battery_when_its_cable_is_out(tmp_path, online, expected):
    make_supply(tmp_path, "AC", "Mains", online=online)
    make_supply(tmp_path, "BAT0", "Battery")
    assert _linux_on_battery(tmp_path) is expected


def test_a_desktop_with_a_wireless_mouse_is_not(tmp_path):
    make_supply(tmp_path, "AC", "Mains", online="0")
    make_supply(tmp_path, "mouse", "Battery", scope="Device")
    assert not _linux_on_battery(tmp_path)
    assert not _linux_on_battery(tmp_path / "none")


@pytest.mark.skipif(sys.platform == "win32", reason="no nice values")
def test_priority_is_lowered_once():
    code = (
        "import os; from embedge.runtime.power import lower_priority; before = os.nice(0);"
        "lower_priority(); lower_priority(); print(before, os.nice(0))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    before, after = map(int, done.stdout.split())
    assert after == max(before, 10)
    assert before == os.nice(0)
