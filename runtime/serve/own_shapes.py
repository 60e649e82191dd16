"""Fields and limits of our own routes and methods, which refuse what they do not know."""

from typing import TYPE_CHECKING, get_args

from embedge.runtime.chunking import ChunkKind

if TYPE_CHECKING:
    from embedge.runtime.index.results import Mode

SEARCH_FIELDS = frozenset("query limit mode collections min_score path explain".split())
CHUNK_FIELDS = frozenset("text max_tokens overlap kind".split())
# Not taken from the index: a server without one never loads it.
SEARCH_MODES: "tuple[Mode, ...]" = ("hybrid", "vector", "text")
KINDS: tuple[str, ...] = get_args(ChunkKind)
MAX_HITS = 1000


def checked_mode(name: str | None) -> "Mode":
    """Return the mode of that name, `hybrid` for None; the name is known to be one."""
    return next((mode for mode in SEARCH_MODES if mode == name), "hybrid")
