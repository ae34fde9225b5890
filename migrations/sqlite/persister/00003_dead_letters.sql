-- +goose Up

-- Events that were refused for good. Where a broker runs it keeps them; one process has only this. The same bytes that are
-- refused again count up in their row, since the outbox publishes an accepted event again and again.
CREATE TABLE dead_letters (
    id           INTEGER PRIMARY KEY,
    key          TEXT NOT NULL UNIQUE CHECK (key <> ''),
    event_id     TEXT NOT NULL,
    type         TEXT NOT NULL,
    content_type TEXT NOT NULL,
    carrier      TEXT NOT NULL,
    topic        TEXT NOT NULL,
    reason       TEXT NOT NULL,
    attempts     INTEGER NOT NULL CHECK (attempts >= 0),
    first_seen   INTEGER NOT NULL,
    body         BLOB NOT NULL
) STRICT;

-- +goose Down
DROP TABLE dead_letters;
