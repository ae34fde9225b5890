-- +goose Up

-- The history: one row for each event of a room. The primary key makes a redelivered event a no-op and is the keyset
-- that pages walk.
CREATE TABLE persister.messages (
    room      text COLLATE "C" NOT NULL CHECK (room <> ''),
    seq       bigint NOT NULL CHECK (seq > 0),
    kind      text NOT NULL CHECK (kind <> ''),
    id        text NOT NULL CHECK (id <> ''),
    sender    text NOT NULL CHECK (sender <> ''),
    body      text NOT NULL,
    sent_at   timestamptz NOT NULL,
    stored_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (room, seq)
);

-- +goose Down
DROP TABLE persister.messages;
