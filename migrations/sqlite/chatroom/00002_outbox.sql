-- +goose Up

-- Events on their way to the persister. A row stays until the persister has announced it stored; published_at only
-- keeps it from being sent again at once.
CREATE TABLE outbox (
    id           INTEGER PRIMARY KEY,
    shard        INTEGER NOT NULL CHECK (shard >= 0),
    key          TEXT NOT NULL CHECK (key <> ''),
    seq          INTEGER NOT NULL CHECK (seq > 0),
    payload      BLOB NOT NULL,
    created_at   INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000000 AS INTEGER)),
    published_at INTEGER,
    attempts     INTEGER NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    UNIQUE (key, seq)
) STRICT;

-- What the relay fetches. The sweep walks (key, seq) instead: an index on published rows would be paid for on each.
CREATE INDEX outbox_unpublished ON outbox (shard, id) WHERE published_at IS NULL;

-- One process owns the file, so a lease has one taker here; the table is the same as in PostgreSQL.
CREATE TABLE outbox_leases (
    shard      INTEGER NOT NULL PRIMARY KEY CHECK (shard >= 0),
    owner      TEXT NOT NULL CHECK (owner <> ''),
    expires_at INTEGER NOT NULL
) STRICT;

-- +goose Down
DROP TABLE outbox_leases;
DROP TABLE outbox;
