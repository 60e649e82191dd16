"""Folders in, passages out, in one SQLite file (docs/index.md)."""

from embedge.runtime.index.index import Index, open_index
from embedge.runtime.index.results import (
    CollectionPlan,
    CollectionStatus,
    Explanation,
    FileEntry,
    GcReport,
    Hit,
    IndexStatus,
    Place,
    Plan,
    RootStatus,
    RunStatus,
    UpdateReport,
    VerifyReport,
)
from embedge.runtime.index.rows import Selection

__all__ = [
    "CollectionPlan",
    "CollectionStatus",
    "Explanation",
    "FileEntry",
    "GcReport",
    "Hit",
    "Index",
    "IndexStatus",
    "Place",
    "Plan",
    "RootStatus",
    "RunStatus",
    "Selection",
    "UpdateReport",
    "VerifyReport",
    "open_index",
]
