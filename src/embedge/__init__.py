"""Embed text on machines without a GPU: Nomic Embed Text v2 MoE on ONNX Runtime."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from embedge.models.errors import BackendError as BackendError
    from embedge.models.errors import BundleError as BundleError
    from embedge.models.errors import Cancelled as Cancelled
    from embedge.models.errors import CheckpointError as CheckpointError
    from embedge.models.errors import ConfigError as ConfigError
    from embedge.models.errors import EmbedgeError as EmbedgeError
    from embedge.models.errors import IndexDamaged as IndexDamaged
    from embedge.models.errors import IndexLocked as IndexLocked
    from embedge.models.errors import InputError as InputError
    from embedge.models.errors import InvalidOption as InvalidOption
    from embedge.models.errors import MemoryBudgetError as MemoryBudgetError
    from embedge.models.errors import MissingExtra as MissingExtra
    from embedge.models.errors import ModelIntegrityError as ModelIntegrityError
    from embedge.models.errors import ModelNotFound as ModelNotFound
    from embedge.models.errors import OfflineError as OfflineError
    from embedge.models.errors import Overloaded as Overloaded
    from embedge.models.errors import SpaceMismatch as SpaceMismatch
    from embedge.models.errors import TextTooLong as TextTooLong
    from embedge.models.space import Space as Space
    from embedge.runtime.cancel import CancelToken as CancelToken
    from embedge.runtime.chunking import Chunk as Chunk
    from embedge.runtime.embedder import Embedder as Embedder
    from embedge.runtime.index.index import Index as Index
    from embedge.runtime.index.index import open_index as open_index
    from embedge.runtime.index.results import Hit as Hit
    from embedge.runtime.progress import ProgressEvent as ProgressEvent
    from embedge.runtime.results import Embedded as Embedded
    from embedge.runtime.results import EncodeResult as EncodeResult
    from embedge.runtime.results import TextInfo as TextInfo

__version__ = "0.1.0"

_HOME = {
    "BackendError": "embedge.models.errors",
    "BundleError": "embedge.models.errors",
    "CancelToken": "embedge.runtime.cancel",
    "Cancelled": "embedge.models.errors",
    "CheckpointError": "embedge.models.errors",
    "Chunk": "embedge.runtime.chunking",
    "ConfigError": "embedge.models.errors",
    "Embedded": "embedge.runtime.results",
    "Embedder": "embedge.runtime.embedder",
    "EmbedgeError": "embedge.models.errors",
    "EncodeResult": "embedge.runtime.results",
    "Hit": "embedge.runtime.index.results",
    "Index": "embedge.runtime.index.index",
    "IndexDamaged": "embedge.models.errors",
    "IndexLocked": "embedge.models.errors",
    "InputError": "embedge.models.errors",
    "InvalidOption": "embedge.models.errors",
    "MemoryBudgetError": "embedge.models.errors",
    "MissingExtra": "embedge.models.errors",
    "ModelIntegrityError": "embedge.models.errors",
    "ModelNotFound": "embedge.models.errors",
    "OfflineError": "embedge.models.errors",
    "Overloaded": "embedge.models.errors",
    "ProgressEvent": "embedge.runtime.progress",
    "Space": "embedge.models.space",
    "SpaceMismatch": "embedge.models.errors",
    "TextInfo": "embedge.runtime.results",
    "TextTooLong": "embedge.models.errors",
    "open_index": "embedge.runtime.index.index",
}

__all__ = [*_HOME, "__version__"]


def __getattr__(name: str) -> object:
    """Import a public name on first use, so that `import embedge` stays cheap."""
    if name not in _HOME:
        raise AttributeError(f"module 'embedge' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
