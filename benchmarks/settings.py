"""Which settings of ONNX Runtime and which token budget are fastest, paired in one run.

    python benchmarks/settings.py BUNDLE [--rounds 7] [--variant int8]

Every round runs every setting once, so that a busy moment of the machine hits all of them; the
table shows medians and, for latency, the CPU time that a call burns.
"""

import argparse
import statistics
import time
from pathlib import Path

import numpy as np

from embedge import Embedder
from embedge.models.bundle import Bundle, open_bundle
from embedge.runtime.cpu import choose_variant, cpu_features, cpu_model
from embedge.runtime.engine import Engine

SHAPES = ((1, 16), (16, 128), (4, 512))
BUDGETS = (512, 1024, 2048, 4096, 8192)
# spinning, arena, threads
SETTINGS = (
    (False, True, 2), (True, True, 2), (False, False, 2), (True, False, 2), (False, True, 1),
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--variant")
    options = parser.parse_args()
    bundle = open_bundle(options.bundle)
    variant = options.variant or choose_variant(bundle)[0]
    print(f"{bundle.manifest.name} {variant}; {cpu_model()}, {', '.join(cpu_features())}\n")
    compare_settings(bundle, variant, options.rounds)
    compare_budgets(options.bundle, variant, options.rounds)


def compare_settings(bundle: Bundle, variant: str, rounds: int) -> None:
    print("| batch | spinning | arena | threads | ms | CPU ms | tokens/s |")
    print("|---|---|---|---|---|---|---|")
    engines = [
        Engine(bundle, variant, bundle.manifest.full_dim, threads, spinning=spinning, arena=arena)
        for spinning, arena, threads in SETTINGS
    ]
    for texts, length in SHAPES:
        ids = np.random.default_rng(0).integers(5, 60000, (texts, length))
        mask = np.ones_like(ids)
        # Many short runs or few long ones: about the same time per measurement.
        repeats = max(1, 2048 // (texts * length))
        times: list[list[tuple[float, float]]] = [[] for _ in engines]
        for round_number in range(rounds + 1):
            for engine, measured in zip(engines, times, strict=True):
                wall, cpu = time.perf_counter(), time.process_time()
                for _ in range(repeats):
                    engine.run(ids, mask)
                if round_number:  # the first one warms up
                    measured.append(
                        (
                            (time.perf_counter() - wall) / repeats,
                            (time.process_time() - cpu) / repeats,
                        )
                    )
        for (spinning, arena, threads), measured in zip(SETTINGS, times, strict=True):
            wall, cpu = (statistics.median(column) for column in zip(*measured, strict=True))
            print(
                f"| {texts} x {length} | {'on' if spinning else 'off'} | "
                f"{'on' if arena else 'off'} | {threads} | {wall * 1e3:.2f} | {cpu * 1e3:.2f} | "
                f"{texts * length / wall:.0f} |"
            )
    for engine in engines:
        engine.close()


def compare_budgets(path: Path, variant: str, rounds: int) -> None:
    """Embed a mix of lengths with different token budgets."""
    rng = np.random.default_rng(1)
    words = ["river", "Haus", "мир", "学习", "computer", "nuit", "मौसम", "language"]
    lengths = np.clip(rng.lognormal(4.0, 1.0, 300), 2, 480).astype(int)
    texts = [" ".join(rng.choice(words, size=length)) for length in lengths]
    print("\n| tokens per batch | tokens/s |\n|---|---|")
    with Embedder(path, variant=variant) as embedder:
        total = sum(embedder.count_tokens(texts))
        times: dict[int, list[float]] = {budget: [] for budget in BUDGETS}
        for round_number in range(rounds // 2 + 2):
            for budget, measured in times.items():
                begun = time.perf_counter()
                embedder.encode(texts, batch_tokens=budget, long_text="truncate")
                if round_number:
                    measured.append(time.perf_counter() - begun)
    for budget, measured in times.items():
        print(f"| {budget} | {total / statistics.median(measured):.0f} |")


if __name__ == "__main__":
    main()
