"""`chunk` for strangers: limits that follow from the model, an overlap that always fits."""

from embedge.runtime.chunking import Chunk
from embedge.runtime.embedder import Embedder
from embedge.runtime.encode_options import CHUNK_OVERLAP
from embedge.runtime.long_text import MIN_TEXT_TOKENS
from embedge.runtime.serve.json_body import Fields
from embedge.runtime.serve.own_shapes import KINDS


def least_tokens(embedder: Embedder) -> int:
    """Return the smallest `max_tokens`: some text beside the prefix of documents."""
    return MIN_TEXT_TOKENS + _prefix_tokens(embedder)


def chunk_fields(embedder: Embedder, fields: Fields) -> list[Chunk]:
    """Cut the field `text`; `overlap` is at most half of what fits.

    Raises:
        BadField: a field is wrong.
    """
    limit = embedder.max_tokens
    text = fields.required_text("text")
    max_tokens = fields.integer("max_tokens", least_tokens(embedder), limit) or limit
    wanted = fields.integer("overlap", 0, limit)
    kind = fields.choice("kind", KINDS) or "text"
    room = max_tokens - _prefix_tokens(embedder) - embedder.loaded.tokens.n_special
    overlap = min(CHUNK_OVERLAP if wanted is None else wanted, room // 2)
    return embedder.chunk(text, max_tokens=max_tokens, overlap=overlap, kind=kind)


def _prefix_tokens(embedder: Embedder) -> int:
    prefix = embedder.space.identity.prompts.get("document", "")
    return len(embedder.loaded.encoder.prefix_tokens(prefix))
