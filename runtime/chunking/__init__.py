"""Cut text into passages: at natural places, with exact offsets, stable under edits."""

from embedge.runtime.chunking.chunk import Chunk, ChunkKind, TokenCounter
from embedge.runtime.chunking.chunker import chunk_text
from embedge.runtime.chunking.outline import Heading
from embedge.runtime.chunking.spec import ChunkerSpec

__all__ = ["Chunk", "ChunkKind", "ChunkerSpec", "Heading", "TokenCounter", "chunk_text"]
