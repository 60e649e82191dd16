-- What GPT4All's LocalDocs keeps in localdocs_v3.db. Times are milliseconds since 1970.
CREATE TABLE collections(id INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL,
  start_update_time INTEGER, last_update_time INTEGER, embedding_model TEXT);
CREATE TABLE folders(id INTEGER PRIMARY KEY AUTOINCREMENT, path TEXT UNIQUE NOT NULL);
CREATE TABLE collection_items(
  collection_id INTEGER NOT NULL REFERENCES collections(id),
  folder_id INTEGER NOT NULL REFERENCES folders(id),
  UNIQUE(collection_id, folder_id));
CREATE TABLE documents(id INTEGER PRIMARY KEY,
  folder_id INTEGER NOT NULL REFERENCES folders(id),
  document_time INTEGER NOT NULL, document_path TEXT UNIQUE NOT NULL);
CREATE TABLE chunks(id INTEGER PRIMARY KEY AUTOINCREMENT,
  document_id INTEGER NOT NULL REFERENCES documents(id),
  chunk_text TEXT NOT NULL, file TEXT NOT NULL,
  title TEXT, author TEXT, subject TEXT, keywords TEXT,
  page INTEGER, line_from INTEGER, line_to INTEGER,
  words INTEGER NOT NULL DEFAULT 0, tokens INTEGER NOT NULL DEFAULT 0);
CREATE TABLE embeddings(model TEXT NOT NULL,
  folder_id INTEGER NOT NULL REFERENCES folders(id),
  chunk_id INTEGER NOT NULL REFERENCES chunks(id),
  embedding BLOB NOT NULL,
  PRIMARY KEY(model, folder_id, chunk_id), UNIQUE(model, chunk_id));
CREATE VIRTUAL TABLE chunks_fts USING fts5(
  id UNINDEXED, document_id UNINDEXED, chunk_text, file, title, author, subject, keywords,
  content='chunks', content_rowid='id', tokenize='porter');
