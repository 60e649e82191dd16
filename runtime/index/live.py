"""SQL for what belongs to a collection now: the chunks that are searched, and what is pending."""

CHUNKER_OF_FILE = (
    "coalesce((SELECT k.chunker_id FROM chunkings k WHERE k.file_id = f.id"
    " AND k.chunker_id = {chunker}),"
    " (SELECT max(k.chunker_id) FROM chunkings k WHERE k.file_id = f.id))"
)
"""A file's chunks are those of the collection's chunker; where it has none (an unreachable drive
after a change of chunk size, chunks taken over from another program), the newest others."""

LIVE_CHUNKS = (
    "collections co JOIN collection_files cf ON cf.collection_id = co.id"
    " JOIN files f ON f.id = cf.file_id AND f.state <> 'missing'"
    " JOIN chunks c ON c.file_id = f.id AND c.chunker_id = "
    + CHUNKER_OF_FILE.format(chunker="co.chunker_id")
)
"""FROM clause: aliases co, cf, f, c."""

PENDING = (
    "SELECT min(c.id), c.text_sha256, c.n_tokens FROM collection_files cf"
    " JOIN files f ON f.id = cf.file_id AND f.state <> 'missing'"
    " JOIN chunks c ON c.file_id = f.id AND c.chunker_id = "
    + CHUNKER_OF_FILE.format(chunker=":chunker")
    + " WHERE cf.collection_id = :collection AND NOT EXISTS (SELECT 1 FROM vectors v"
    " WHERE v.space_id = :space AND v.text_sha256 = c.text_sha256)"
    " GROUP BY c.text_sha256 ORDER BY min(c.id)"
)
"""Texts of a collection without a vector in a space: a query, so nothing can get out of step."""
