r"""First index of 2,000 files, an update with nothing changed, and one after an edit.

    python benchmarks/index_update.py --work /tmp/update

Copies 2,000 source files of the running Python's library and packages (or of `--source`), of at
most `--max-bytes` each, and indexes them with the bundled model.
"""

import argparse
import json
import shutil
import sysconfig
import time
from pathlib import Path

from machine import describe

from embedge import ProgressEvent, open_index
from embedge.runtime.memory import peak_rss

SUFFIXES = {".py", ".md", ".rst", ".txt", ".html", ".json", ".toml", ".cfg"}


def copy_files(sources: list[Path], target: Path, count: int, max_bytes: int) -> int:
    """Copy text files, smallest folders last; return their bytes."""
    total = copied = 0
    for source in sources:
        for path in sorted(source.rglob("*")):
            if copied == count:
                return total
            if path.suffix not in SUFFIXES or not path.is_file():
                continue
            if not 400 <= path.stat().st_size <= max_bytes:
                continue
            place = target / f"{copied % 40:02}" / f"{copied:05}{path.suffix}"
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place)
            copied += 1
            total += path.stat().st_size
    raise SystemExit(f"only {copied} files of that size below {', '.join(map(str, sources))}")


def main() -> None:
    """Index, update, edit, update, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--files", type=int, default=2_000)
    parser.add_argument("--max-bytes", type=int, default=4_000)
    parser.add_argument("--source", type=Path, action="append")
    parser.add_argument("--model", help="default: the bundled one")
    arguments = parser.parse_args()
    paths = sysconfig.get_paths()
    sources = arguments.source or [Path(paths["stdlib"]), Path(paths["purelib"])]
    folder = arguments.work / "files"
    size = 0
    if not folder.exists():
        size = copy_files(sources, folder, arguments.files, arguments.max_bytes)
    events: list[ProgressEvent] = []
    report: dict[str, object] = {"machine": describe(), "files": arguments.files, "bytes": size}
    with open_index(arguments.work / "index.db", model=arguments.model) as index:
        before = _peak_mb()
        first = index.add(folder, "files", confirm=True, progress=events.append)
        report["first"] = {
            "seconds": first.seconds,
            "passages": first.chunks_embedded,
            "reused": first.chunks_reused,
            "tokens": first.tokens,
            "tokens_per_s": round(first.tokens / first.seconds) if first.seconds else None,
            "progress_events": len(events),
            "peak_memory_mb": _peak_mb(),
            "peak_before_mb": before,
            "index_mb": round((arguments.work / "index.db").stat().st_size / 1e6, 1),
        }
        time.sleep(2.5)  # so that no file is young enough to be hashed once more
        index.update()
        times = []
        for _ in range(5):
            begun = time.perf_counter()
            index.update()
            times.append(time.perf_counter() - begun)
        report["unchanged_s"] = {"median": round(sorted(times)[2], 3), "best": round(min(times), 3)}
        edited = sorted(folder.rglob("*.py"))[0]
        text = edited.read_text("utf-8").splitlines()
        text.insert(len(text) // 2, "# One more line, in the middle of the file.")
        edited.write_text("\n".join(text), encoding="utf-8")
        after = index.update()
        report["after_one_edit"] = {"seconds": after.seconds, "passages": after.chunks_embedded}
        (folder / "00").rename(folder / "renamed")
        moved = index.update()
        report["after_a_folder_was_renamed"] = {
            "seconds": moved.seconds, "moved": moved.files_moved, "passages": moved.chunks_embedded
        }  # fmt: skip
    print(json.dumps(report, indent=1))


def _peak_mb() -> float:
    return round(peak_rss() / (1 << 20), 1)


if __name__ == "__main__":
    main()
