"""Write a checkpoint of the real model's size and tensor names with random weights.

    python benchmarks/full_size.py OUT

Speed, memory and file sizes do not depend on what the weights say, so this stands in for the real
model where its weights are not at hand. It has the real config and the real tokenizer.
"""

import argparse
import json
import lzma
import math
import shutil
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedge.models.checkpoint import tensor_shapes
from embedge.models.config import parse_config

_DATA = Path(__file__).resolve().parent.parent / "tests" / "data"
# Values drawn and written at a time.
_BLOCK = 1 << 22

SIDE_FILE = {
    "name": "full-size-random",
    "short_name": "random",
    "license": "Apache-2.0",
    "matryoshka": [768, 256],
    "max_tokens": 512,
    "prompts": {
        "classification": "classification: ",
        "clustering": "clustering: ",
        "document": "search_document: ",
        "query": "search_query: ",
    },
}


def write_checkpoint(folder: Path, seed: int = 0) -> None:
    """Write the folder; about 1.9 GB, in blocks of 16 MiB."""
    folder.mkdir(parents=True)
    text = (_DATA / "published-config.json").read_text(encoding="utf-8")
    (folder / "config.json").write_text(text, encoding="utf-8")
    (folder / "embedge-source.json").write_text(json.dumps(SIDE_FILE), encoding="utf-8")
    with (
        lzma.open(_DATA / "xlmr-tokenizer.json.xz") as packed,
        (folder / "tokenizer.json").open("wb") as plain,
    ):
        shutil.copyfileobj(packed, plain)
    shapes = tensor_shapes(parse_config(json.loads(text), "config.json"))
    write_weights(folder / "model.safetensors", shapes, seed)


def write_weights(path: Path, shapes: dict[str, tuple[int, ...]], seed: int) -> None:
    """Write random float32 tensors as safetensors, scaled so that activations stay near 1."""
    header, offset = {}, 0
    for name, shape in shapes.items():
        size = 4 * math.prod(shape)
        header[name] = {
            "dtype": "F32",
            "shape": list(shape),
            "data_offsets": [offset, offset + size],
        }
        offset += size
    text = json.dumps(header).encode()
    rng = np.random.default_rng(seed)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, shape in shapes.items():
            left = math.prod(shape)
            while left:
                block = rng.standard_normal(min(left, _BLOCK), dtype=np.float32)
                file.write(scaled(name, shape, block).data)
                left -= len(block)


def scaled(name: str, shape: tuple[int, ...], values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Give standard normal values the size of a trained tensor of this name."""
    if "norm" in name or "emb_ln" in name:
        return values * np.float32(0.1) + np.float32(name.endswith("weight"))
    if name.endswith("bias"):
        return values * np.float32(0.1)
    if "embeddings" in name:
        return values * np.float32(0.05)
    # w2 is stored as it is used, (inputs, outputs) per expert, with 3072 inputs.
    inputs = 3072 if name.endswith("w2") else shape[-1]
    return values * np.float32(1 / math.sqrt(inputs))


def main() -> None:
    """Parse the arguments and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    write_checkpoint(arguments.out, arguments.seed)
    size = sum(file.stat().st_size for file in arguments.out.iterdir())
    print(f"{arguments.out}: {size / 1e9:.2f} GB")


if __name__ == "__main__":
    main()
