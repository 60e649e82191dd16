"""Run a command and report its seconds and the peaks of its anonymous and total memory.

    python benchmarks/peak_memory.py embed export CHECKPOINT OUT

Anonymous memory is what the command allocated itself; mapped files, which the system can drop,
count in the total only. Sampled every 20 ms from /proc, so Linux only.
"""

import subprocess
import sys
import time
from pathlib import Path

FIELDS = ("RssAnon", "VmRSS")


def read_kib(pid: int) -> dict[str, int]:
    """Read the wanted fields of /proc/PID/status, in KiB; empty when the process has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    return {key: int(value.split()[0]) for key, value in pairs if key in FIELDS}


def main() -> None:
    """Run the command and print one line on stderr."""
    start = time.perf_counter()
    process = subprocess.Popen(sys.argv[1:])
    peaks = dict.fromkeys(FIELDS, 0)
    while process.poll() is None:
        for key, value in read_kib(process.pid).items():
            peaks[key] = max(peaks[key], value)
        time.sleep(0.02)
    seconds = time.perf_counter() - start
    told = ", ".join(f"{key} {value / 1024:.0f} MiB" for key, value in peaks.items())
    print(f"{seconds:.1f} s, peak {told}", file=sys.stderr)
    raise SystemExit(process.returncode)


if __name__ == "__main__":
    main()
