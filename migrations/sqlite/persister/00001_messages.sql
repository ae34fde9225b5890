-- +goose Up

-- Times in these files are microseconds since 1970-01-01 UTC.

-- The history: one row for each event of a room. The primary key makes a redelivered event a no-op and is the keyset
-- that pages walk.
CREATE TABLE messages (
    room      TEXT NOT NULL CHECK (room <> ''),
    seq       INTEGER NOT NULL CHECK (seq > 0),
    kind      TEXT NOT NULL CHECK (kind <> ''),
    id        TEXT NOT NULL CHECK (id <> ''),
    sender    TEXT NOT NULL CHECK (sender <> ''),
    body      TEXT NOT NULL,
    sent_at   INTEGER NOT NULL,
    stored_at INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000000 AS INTEGER)),
    PRIMARY KEY (room, seq)
) STRICT, WITHOUT ROWID;

-- +goose Down
DROP TABLE messages;
