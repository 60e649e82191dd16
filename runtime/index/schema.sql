-- embedge index, schema version 1. Needs SQLite 3.37 (STRICT) with FTS5; no extension.
-- Writers register the SQL function embed_grams(text) before they open a transaction.
CREATE TABLE meta(
  key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;

CREATE TABLE spaces(                       -- one row per embedding space ever used here
  id INTEGER PRIMARY KEY,
  fingerprint TEXT NOT NULL UNIQUE,        -- "nv2m-9f3c1a72", see interface.md
  identity_json TEXT NOT NULL,             -- the exact object that was hashed
  model TEXT NOT NULL, revision TEXT NOT NULL, variant TEXT NOT NULL,
  dim INTEGER NOT NULL,                    -- width of `fine`
  coarse_dim INTEGER NOT NULL,             -- width of `coarse`, <= dim
  generation INTEGER NOT NULL DEFAULT 0,   -- +1 whenever vectors are deleted
  created_ms INTEGER NOT NULL) STRICT;

CREATE TABLE chunkers(
  id INTEGER PRIMARY KEY,
  fingerprint TEXT NOT NULL UNIQUE,        -- hash of spec_json
  spec_json TEXT NOT NULL) STRICT;

CREATE TABLE collections(
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  space_id INTEGER NOT NULL REFERENCES spaces,
  chunker_id INTEGER NOT NULL REFERENCES chunkers,
  start_update_ms INTEGER, last_update_ms INTEGER) STRICT;

CREATE TABLE roots(
  id INTEGER PRIMARY KEY,
  path TEXT NOT NULL UNIQUE,               -- absolute, as the user gave it
  volume_id TEXT,                          -- best effort, NULL when unknown
  state TEXT NOT NULL DEFAULT 'online' CHECK(state IN('online','offline','removed')),
  last_seen_ms INTEGER) STRICT;

CREATE TABLE collection_roots(
  collection_id INTEGER NOT NULL REFERENCES collections ON DELETE CASCADE,
  root_id INTEGER NOT NULL REFERENCES roots ON DELETE CASCADE,
  include_json TEXT, exclude_json TEXT,
  PRIMARY KEY(collection_id, root_id)) STRICT, WITHOUT ROWID;

CREATE TABLE files(
  id INTEGER PRIMARY KEY,
  root_id INTEGER NOT NULL REFERENCES roots ON DELETE CASCADE,
  rel_path TEXT NOT NULL,                  -- '/' separated, exactly as the system spells it
  size INTEGER, mtime_ns INTEGER, ctime_ns INTEGER, inode TEXT, sha256 BLOB,
  media_type TEXT, encoding TEXT, extractor TEXT,
  title TEXT, author TEXT, subject TEXT, keywords TEXT,
  state TEXT NOT NULL DEFAULT 'pending'    -- about reading the file, never about embedding it
    CHECK(state IN('pending','read','skipped','error','missing')),
  reason TEXT,                             -- code for skipped and error: binary, too_large, no_text, ...
  message TEXT, missing_since_ms INTEGER, scanned_ms INTEGER,
  UNIQUE(root_id, rel_path)) STRICT;
CREATE INDEX files_sha ON files(sha256);

CREATE TABLE collection_files(             -- which files the patterns of a collection select
  collection_id INTEGER NOT NULL REFERENCES collections ON DELETE CASCADE,
  file_id INTEGER NOT NULL REFERENCES files ON DELETE CASCADE,
  PRIMARY KEY(collection_id, file_id)) STRICT, WITHOUT ROWID;
CREATE INDEX collection_files_file ON collection_files(file_id);

CREATE TABLE chunkings(                    -- "this content was cut by this chunker"
  file_id INTEGER NOT NULL REFERENCES files ON DELETE CASCADE,
  chunker_id INTEGER NOT NULL REFERENCES chunkers,
  file_sha256 BLOB NOT NULL, extractor TEXT NOT NULL, n_chunks INTEGER NOT NULL,
  PRIMARY KEY(file_id, chunker_id)) STRICT, WITHOUT ROWID;

CREATE TABLE chunks(
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  file_id INTEGER NOT NULL, chunker_id INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  text TEXT NOT NULL,                      -- exactly what the model sees, without the task prefix
  text_sha256 BLOB NOT NULL,               -- SHA-256 of text in UTF-8
  overlap_chars INTEGER NOT NULL DEFAULT 0,-- leading characters repeated from the previous chunk
  char_start INTEGER NOT NULL, char_end INTEGER NOT NULL,
  line_start INTEGER, line_end INTEGER, page INTEGER,
  heading TEXT, n_words INTEGER NOT NULL, n_tokens INTEGER NOT NULL,
  UNIQUE(file_id, chunker_id, seq),
  FOREIGN KEY(file_id, chunker_id) REFERENCES chunkings ON DELETE CASCADE) STRICT;
CREATE INDEX chunks_sha ON chunks(text_sha256);

CREATE TABLE runs(
  id INTEGER PRIMARY KEY,
  kind TEXT NOT NULL, status TEXT NOT NULL CHECK(status IN('running','done','cancelled','failed')),
  started_ms INTEGER NOT NULL, ended_ms INTEGER,
  files_total INTEGER, files_done INTEGER, chunks_total INTEGER, chunks_done INTEGER,
  chunks_reused INTEGER, tokens_done INTEGER, errors INTEGER,
  tool_version TEXT, host_json TEXT) STRICT;

CREATE TABLE vectors(
  id INTEGER PRIMARY KEY AUTOINCREMENT,    -- never reused: the row order of the coarse cache
  space_id INTEGER NOT NULL REFERENCES spaces ON DELETE CASCADE,
  text_sha256 BLOB NOT NULL,
  coarse BLOB NOT NULL,                    -- coarse_dim bytes, uint8 = code + 128
  coarse_scale REAL NOT NULL,
  fine BLOB NOT NULL,                      -- dim x float16, little-endian, unit length
  n_tokens INTEGER NOT NULL,
  run_id INTEGER REFERENCES runs ON DELETE SET NULL,
  UNIQUE(space_id, text_sha256)) STRICT;

CREATE TABLE orphans(
  vector_id INTEGER PRIMARY KEY REFERENCES vectors ON DELETE CASCADE,
  since_ms INTEGER NOT NULL) STRICT;

CREATE VIRTUAL TABLE chunks_fts USING fts5(
  text, heading, content='chunks', content_rowid='id',
  tokenize="unicode61 remove_diacritics 2 categories 'L* N* Co Mn Mc'");
CREATE VIRTUAL TABLE chunks_gram USING fts5(grams, content='', tokenize='ascii');

CREATE TRIGGER chunks_ai AFTER INSERT ON chunks BEGIN
  INSERT INTO chunks_fts(rowid, text, heading) VALUES(new.id, new.text, new.heading);
  INSERT INTO chunks_gram(rowid, grams)    -- embed_grams(): see below
    SELECT new.id, embed_grams(new.text) WHERE embed_grams(new.text) <> '';
END;
CREATE TRIGGER chunks_ad AFTER DELETE ON chunks BEGIN
  INSERT INTO chunks_fts(chunks_fts, rowid, text, heading)
    VALUES('delete', old.id, old.text, old.heading);
  INSERT INTO chunks_gram(chunks_gram, rowid, grams)
    SELECT 'delete', old.id, embed_grams(old.text) WHERE embed_grams(old.text) <> '';
END;
CREATE TRIGGER chunks_bu BEFORE UPDATE OF id, text, heading, text_sha256 ON chunks BEGIN
  SELECT RAISE(ABORT, 'chunks are immutable: delete and insert');
END;
CREATE TRIGGER vectors_ad AFTER DELETE ON vectors BEGIN
  UPDATE spaces SET generation = generation + 1 WHERE id = old.space_id;
END;

PRAGMA application_id = 0x656D6264;        -- "embd"
PRAGMA user_version = 1;
