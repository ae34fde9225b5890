-- +goose Up

-- Small facts of this database; 'epoch' names its life and is made by its first user.
CREATE TABLE chatroom.meta (
    key   text COLLATE "C" PRIMARY KEY,
    value text NOT NULL
);

-- head is the seq of the room's last accepted event. Its row lock is what gives seqs out: dense, and in commit order.
-- Every accepted batch updates it, so a page keeps room for new versions of its rows (HOT updates touch no index).
CREATE TABLE chatroom.rooms (
    room       text COLLATE "C" PRIMARY KEY CHECK (room <> ''),
    head       bigint NOT NULL DEFAULT 0 CHECK (head >= 0),
    created_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02);

-- The permanent idempotency keys. Narrow, never pruned, not partitioned: the primary key is the promise. digest is the
-- SHA-256 of the text, so that another text under the same id is told apart when the event itself has long moved on.
-- There is no second index and no foreign key: both would be paid for on every message for ever, and (room, seq) is
-- unique already in the outbox and in the history.
CREATE TABLE chatroom.accepted (
    sender  text COLLATE "C" NOT NULL CHECK (sender <> ''),
    id      text COLLATE "C" NOT NULL CHECK (id <> ''),
    room    text COLLATE "C" NOT NULL CHECK (room <> ''),
    seq     bigint NOT NULL CHECK (seq > 0),
    digest  bytea NOT NULL CHECK (octet_length(digest) = 32),
    sent_at timestamptz NOT NULL,
    PRIMARY KEY (sender, id)
);

-- +goose Down
DROP TABLE chatroom.accepted;
DROP TABLE chatroom.rooms;
DROP TABLE chatroom.meta;
