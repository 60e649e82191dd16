"""One flipped bit, or an early end, in every region of every file of a bundle.

    python benchmarks/reliability/corruption.py [BUNDLE] [--regions 64]

Each file is cut into that many regions. A copy of the bundle with one bit flipped in a region, and
one whose file ends in it, must be refused by the full check and, because size or time of the file
changed, by the check that runs at every start. A damaged manifest is accepted only if it still says
the same (a missing last newline, `1E-05` for `1e-05`).
"""

import argparse
import random
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

from embedge.models.bundle import open_bundle
from embedge.models.errors import EmbedgeError
from embedge.models.manifest import MANIFEST_NAME, Manifest, read_manifest
from embedge.models.store import find_model


def is_refused(bundle: Path, cache: Path) -> bool:
    """Whether both checks refuse; one that does and one that does not is a fault."""
    answers = set()
    for verify in ("cached", "full"):
        try:
            open_bundle(bundle, verify=verify, cache_dir=cache)
            answers.add(False)
        except EmbedgeError:
            answers.add(True)
    if len(answers) > 1:
        sys.exit(f"the two checks of {bundle} disagree")
    return answers.pop()


def damage_file(
    file: Path, manifest: Manifest, regions: int, cache: Path, draw: random.Random
) -> Counter[str]:
    """Damage every region of one file in turn; the file is whole again afterwards."""
    content, bundle = file.read_bytes(), file.parent
    found: Counter[str] = Counter()
    step = max(1, len(content) // regions)
    for start in range(0, len(content), step):
        at = min(len(content) - 1, start + draw.randrange(step))
        flipped = content[at] ^ (1 << draw.randrange(8))
        for kind, damaged in (
            ("flip", content[:at] + bytes([flipped]) + content[at + 1 :]),
            ("truncate", content[:at]),
        ):
            file.write_bytes(damaged)
            refused = is_refused(bundle, cache)
            found[f"{kind} {'refused' if refused else 'accepted'}"] += 1
            if not refused and (file.name != MANIFEST_NAME or read_manifest(bundle) != manifest):
                sys.exit(f"{file.name}: {kind} at byte {at} was accepted")
    file.write_bytes(content)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", nargs="?", type=Path, default=None)
    parser.add_argument("--regions", type=int, default=64)
    options = parser.parse_args()
    draw = random.Random(1)
    source = options.bundle or find_model("bundled")
    with tempfile.TemporaryDirectory() as name:
        bundle, cache = Path(name) / "bundle", Path(name) / "cache"
        shutil.copytree(source, bundle)
        manifest = read_manifest(bundle)
        for file in sorted(bundle.iterdir()):
            found = damage_file(file, manifest, options.regions, cache, draw)
            print(f"{file.name}: {dict(found)}", flush=True)
        open_bundle(bundle, verify="full")


if __name__ == "__main__":
    main()
