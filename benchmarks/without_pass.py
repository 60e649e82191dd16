"""Quantize without one of the passes, to see what that pass is worth.

    python benchmarks/without_pass.py share_dispatch FP32 WITHOUT
    embed quantize FP32 WITH --no-measure
    embed bench -m WITHOUT --compare WITH --lengths 16,128

For passes that change only speed; the bundle's vectors are those of any other.
"""

import argparse
from pathlib import Path
from unittest import mock

from embedge.quantize import int8_graph, quantize_bundle

PASSES = ("share_dispatch", "merge_row_scales", "join_expert_offsets")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=PASSES)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    with mock.patch.object(int8_graph, options.name, return_value=[]):
        quantize_bundle(options.bundle, options.out, measure=False)


if __name__ == "__main__":
    main()
