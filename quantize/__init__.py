"""From an fp32 bundle to INT8 and Matryoshka bundles."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from embedge.quantize.pipeline import quantize_bundle as quantize_bundle
    from embedge.quantize.report import QuantizeReport as QuantizeReport

_HOME = {
    "QuantizeReport": "embedge.quantize.report",
    "quantize_bundle": "embedge.quantize.pipeline",
}

__all__ = ["QuantizeReport", "quantize_bundle"]


def __getattr__(name: str) -> object:
    """Import a public name on first use; they need the packages of the extra `[export]`."""
    if name not in _HOME:
        raise AttributeError(f"module 'embedge.quantize' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOME[name]), name)
