"""The tables of a new SQLite database. Made from `core/store/schema.py` by `make docs`."""

MIGRATED = (
    "sessions_and_messages",
    "full_text_index",
    "model_calls",
    "embeddings",
    "identity",
    "tree_and_shelves",
    "words",
    "owners",
    "desks",
    "news_and_seals",
    "titles",
    "members",
    "acting",
)
STATEMENTS = (
    'CREATE TABLE "_sqlite_migrations" (\n   "id" INTEGER PRIMARY KEY,\n   "migration_set" '
    'TEXT,\n   "name" TEXT,\n   "applied_at" TEXT\n)',
    'CREATE UNIQUE INDEX "idx__sqlite_migrations_migration_set_name"\n    ON '
    '"_sqlite_migrations" ("migration_set", "name")',
    'CREATE TABLE sessions (\n            id text PRIMARY KEY, title text NOT NULL, model '
    'text NOT NULL,\n            created double precision NOT NULL, updated double '
    'precision NOT NULL,\n            message_count integer NOT NULL DEFAULT 0, parent '
    "text, settings text NOT NULL DEFAULT '{}', name text NOT NULL DEFAULT '', used bigint "
    'NOT NULL DEFAULT 0, turn text, pinned integer NOT NULL DEFAULT 0, shelf text NOT NULL '
    "DEFAULT 'open', trashed double precision, tags text NOT NULL DEFAULT '', words text "
    "NOT NULL DEFAULT '', member text NOT NULL DEFAULT '')",
    'CREATE TABLE meta (key text PRIMARY KEY, value text NOT NULL)',
    'CREATE TABLE "messages" (\n        number integer PRIMARY KEY, id text NOT NULL '
    'UNIQUE,\n        session_id text NOT NULL REFERENCES sessions (id) ON DELETE '
    'CASCADE,\n        position integer NOT NULL, role text NOT NULL, state text NOT NULL, '
    'active integer NOT NULL DEFAULT 1,\n        created double precision NOT NULL, owner '
    'text, digest integer, model text, finish text, usage text,\n        parts text NOT '
    "NULL, words text NOT NULL, parent text, tools text NOT NULL DEFAULT '')",
    'CREATE TABLE "chunks" (\n        message_id text NOT NULL REFERENCES messages (id) ON '
    'DELETE CASCADE, seq integer NOT NULL,\n        kind text NOT NULL, part integer NOT '
    'NULL, text text NOT NULL, extra text, PRIMARY KEY (message_id, seq))',
    'CREATE INDEX messages_session ON messages (session_id, position)',
    "CREATE INDEX messages_streaming ON messages (state) WHERE state = 'streaming'",
    'CREATE TABLE model_calls (\n        id text PRIMARY KEY NOT NULL, created double '
    'precision NOT NULL, session_id text NOT NULL, provider text NOT NULL,\n        model '
    'text NOT NULL, host text NOT NULL, first_seconds double precision, seconds double '
    'precision NOT NULL,\n        input_tokens integer, output_tokens integer, '
    'cached_tokens integer, speed double precision, cost double precision,\n        retries '
    'integer NOT NULL, fallbacks integer NOT NULL, finish text, error text, member text NOT '
    "NULL DEFAULT '')",
    'CREATE INDEX model_calls_created ON model_calls (created)',
    'CREATE TABLE embeddings (\n        id text PRIMARY KEY NOT NULL, model text NOT NULL, '
    'hash text NOT NULL, vector blob NOT NULL, UNIQUE (model, hash))',
    'CREATE INDEX sessions_named ON sessions (name)',
    'CREATE TABLE deleted_sessions (id text PRIMARY KEY)',
    'CREATE INDEX sessions_listed ON sessions (shelf, pinned, used, id, name, title, model, '
    'created, updated, message_count, parent, tags)',
    'CREATE INDEX sessions_used ON sessions (used)',
    "CREATE VIRTUAL TABLE messages_fts USING fts5 (words, tools, content='messages', "
    'content_rowid=\'number\',\n        tokenize="unicode61 remove_diacritics 0 categories '
    '\'L* N* Co Mn Mc\'", prefix=\'2 3\')',
    'CREATE TRIGGER messages_ai AFTER INSERT ON messages BEGIN\n        INSERT INTO '
    'messages_fts (rowid, words, tools) VALUES (new.number, new.words, new.tools); END',
    'CREATE TRIGGER messages_ad AFTER DELETE ON messages BEGIN\n        INSERT INTO '
    "messages_fts (messages_fts, rowid, words, tools) VALUES ('delete', old.number, "
    'old.words, old.tools); END',
    'CREATE TRIGGER messages_au AFTER UPDATE OF words, tools ON messages BEGIN\n        '
    "INSERT INTO messages_fts (messages_fts, rowid, words, tools) VALUES ('delete', "
    'old.number, old.words, old.tools);\n        INSERT INTO messages_fts (rowid, words, '
    'tools) VALUES (new.number, new.words, new.tools); END',
    'CREATE TABLE shares (\n        session_id text NOT NULL REFERENCES sessions (id) ON '
    'DELETE CASCADE, reader text NOT NULL,\n        may_write integer NOT NULL DEFAULT 0, '
    'PRIMARY KEY (session_id, reader))',
    'CREATE TABLE accounts (name text PRIMARY KEY, password text NOT NULL, created double '
    "precision NOT NULL, seal text NOT NULL DEFAULT '', subject text NOT NULL DEFAULT '')",
)
