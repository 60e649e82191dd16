"""Checkpoint to traced ONNX bundle."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from embedge.export.convert import export_checkpoint as export_checkpoint

__all__ = ["export_checkpoint"]


def __getattr__(name: str) -> object:
    """Import `export_checkpoint` on first use; it needs the packages of the extra `[export]`."""
    if name != "export_checkpoint":
        raise AttributeError(f"module 'embedge.export' has no attribute {name!r}")
    from embedge.export.convert import export_checkpoint

    return export_checkpoint
