-- +goose Up

-- Times in these files are microseconds since 1970-01-01 UTC.

-- Small facts of this database; 'epoch' names its life and is made by its first user.
CREATE TABLE meta (
    key   TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- head is the seq of the room's last accepted event: dense, and in commit order.
CREATE TABLE rooms (
    room       TEXT NOT NULL PRIMARY KEY CHECK (room <> ''),
    head       INTEGER NOT NULL DEFAULT 0 CHECK (head >= 0),
    created_at INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000000 AS INTEGER))
) STRICT, WITHOUT ROWID;

-- The permanent idempotency keys: narrow, never pruned. digest is the SHA-256 of the text, so that another text under the
-- same id is told apart when the event itself has long moved on.
CREATE TABLE accepted (
    sender  TEXT NOT NULL CHECK (sender <> ''),
    id      TEXT NOT NULL CHECK (id <> ''),
    room    TEXT NOT NULL CHECK (room <> ''),
    seq     INTEGER NOT NULL CHECK (seq > 0),
    digest  BLOB NOT NULL CHECK (length(digest) = 32),
    sent_at INTEGER NOT NULL,
    PRIMARY KEY (sender, id)
) STRICT, WITHOUT ROWID;

-- +goose Down
DROP TABLE accepted;
DROP TABLE rooms;
DROP TABLE meta;
