"""Pictures of a run: losses, validation scores, expert use by language."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

Row = Mapping[str, float | str]
SMOOTH = 20
"""Steps in the running mean of a loss curve."""


def draw_curves(rows: Sequence[Row], out: Path) -> None:
    """Write losses over student tokens (left) and validation scores (right) as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    for kind in ("pairs", "passages"):
        some = [row for row in rows if row["kind"] == kind]
        losses = np.array([float(row["loss"]) for row in some])
        width = max(1, min(SMOOTH, len(losses)))
        smooth = np.convolve(losses, np.ones(width) / width, mode="valid")
        tokens = [float(row["tokens"]) / 1e6 for row in some][width - 1 :]
        left.plot(tokens, smooth, label=kind)
    left.set(xlabel="million tokens", ylabel=f"loss, mean of {SMOOTH} steps")
    left.legend()
    checks = [row for row in rows if row["kind"] == "validation"]
    at = [float(row["tokens"]) / 1e6 for row in checks]
    for name in ("translation_384", "translation_128", "passage_384", "passage_128"):
        right.plot(at, [float(row[name]) for row in checks], marker="o", label=name)
    for name in ("translation_teacher", "passage_teacher"):
        right.plot(at, [float(row[name]) for row in checks], linestyle="--", label=name)
    right.set(xlabel="million tokens", ylabel="share found")
    right.legend(fontsize="small")
    figure.savefig(out, dpi=90, metadata={"Software": None})


def draw_expert_use(
    use: Mapping[str, npt.NDArray[np.float64]], layers: Sequence[int], out: Path
) -> None:
    """Write the share of routing slots by language as PNG.

    Args:
        use: language: (MoE layers, experts), rows sum to 1.
        layers: numbers of the MoE layers.
        out: picture file.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    languages = sorted(use)
    figure = Figure(figsize=(9, 0.2 * len(languages) + 1.2), layout="constrained")
    FigureCanvasAgg(figure)
    plots = figure.subplots(1, len(layers), squeeze=False)[0]
    for i, (plot, layer) in enumerate(zip(plots, layers, strict=True)):
        shares = np.stack([use[language][i] for language in languages])
        image = plot.imshow(shares, aspect="auto", vmin=0, vmax=0.4, cmap="viridis")
        plot.set(title=f"layer {layer}", xlabel="expert")
        plot.set_yticks(range(len(languages)), languages, fontsize="small")
        figure.colorbar(image, ax=plot, label="share of routing slots")
    figure.savefig(out, dpi=90, metadata={"Software": None})
